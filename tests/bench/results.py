"""What was measured of one contender in one scenario: its runs, and what they have in common."""

from dataclasses import dataclass

from tests.bench.contenders import Contender
from tests.bench.measurement import Measurement, Spread


@dataclass(frozen=True, slots=True)
class Sample:
    """What the parts behind web have done until a moment.

    at: time.monotonic() of the moment. pipeline_cpu_seconds: of shipper and clicks worker. tier2_hits, tier2_misses:
    keys that tier 2 was asked for, by whomever. segments_waiting: sealed, not yet stored.
    """

    at: float
    pipeline_cpu_seconds: float
    tier2_hits: int
    tier2_misses: int
    segments_waiting: int


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one contender. cpu_seconds: used by its serving processes meanwhile. rss_bytes: of the largest.

    began, ended: our parts then, whoever was loaded. beside: what the second client saw, if there was one.
    """

    measurement: Measurement
    cpu_seconds: float
    rss_bytes: int
    began: Sample
    ended: Sample
    beside: Measurement | None = None

    @property
    def pipeline_share(self) -> float:
        """Processor time of the pipeline per second: 1.0 is a whole core."""
        used = self.ended.pipeline_cpu_seconds - self.began.pipeline_cpu_seconds
        return used / (self.ended.at - self.began.at)

    @property
    def pipeline_was_busy(self) -> bool:
        """Whether it had work when the run began and still had when it ended."""
        return self.began.segments_waiting > 0 and self.ended.segments_waiting > 0

    @property
    def tier2_reads_per_answer(self) -> float:
        """Keys that tier 2 was asked for, per answer: what tier 1 did not hold."""
        reads = self.ended.tier2_hits + self.ended.tier2_misses - self.began.tier2_hits - self.began.tier2_misses
        return reads / max(1, self.measurement.requests)

    @property
    def tier2_misses_per_answer(self) -> float:
        return (self.ended.tier2_misses - self.began.tier2_misses) / max(1, self.measurement.requests)


@dataclass(frozen=True, slots=True)
class Result:
    """All runs of one contender in one scenario, in the order they took place. body_bytes: of one of its answers."""

    contender: Contender
    runs: tuple[Run, ...]
    body_bytes: int

    @property
    def rate(self) -> Spread:
        return Spread.of(run.measurement.rate for run in self.runs)

    @property
    def p50_ms(self) -> Spread:
        return Spread.of(run.measurement.p50_ms for run in self.runs)

    @property
    def p99_ms(self) -> Spread:
        return Spread.of(run.measurement.p99_ms for run in self.runs)

    @property
    def cpu_microseconds(self) -> Spread:
        """Processor time of the serving processes per answer; 0 where they cannot be seen."""
        return Spread.of(run.cpu_seconds / max(1, run.measurement.requests) * 1e6 for run in self.runs)

    @property
    def rss_bytes(self) -> int:
        return max(run.rss_bytes for run in self.runs)

    @property
    def beside(self) -> list[Measurement]:
        return [run.beside for run in self.runs if run.beside is not None]

    @property
    def errors(self) -> dict[str, int]:
        """{what went wrong: how often}, over all runs, also of what was asked beside them."""
        every = [run.measurement.errors for run in self.runs] + [measured.errors for measured in self.beside]
        kinds = sorted({kind for errors in every for kind in errors})
        return {kind: sum(errors.get(kind, 0) for errors in every) for kind in kinds}
