"""Runs a scenario: all contenders in turn, round after round, so that what else the machine does meets them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from tests.bench.contenders import Contender
from tests.bench.load import put_load
from tests.bench.load_client import Orders
from tests.bench.measurement import Measurement, Spread
from tests.bench.scenarios import Scenario

# Before each run the machine is to come to rest: a peer that answers first and stores later would otherwise store
# while the next one is measured. We look this long, this often, and then go on all the same.
_LOOK_SECONDS = 0.5
_LOOKS = 60
_AT_REST_PERCENT = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one contender. cpu_seconds: used by its serving processes meanwhile. rss_bytes: of the largest."""

    measurement: Measurement
    cpu_seconds: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Result:
    """All runs of one contender in one scenario, in the order they took place."""

    contender: Contender
    runs: tuple[Run, ...]

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
    def errors(self) -> dict[str, int]:
        """{what went wrong: how often}, over all runs."""
        kinds = sorted({kind for run in self.runs for kind in run.measurement.errors})
        return {kind: sum(run.measurement.errors.get(kind, 0) for run in self.runs) for kind in kinds}


@dataclass(frozen=True, slots=True)
class Rounds:
    """The results of one scenario. busy_percent: of all processors, used while nothing was measured, per run."""

    results: list[Result]
    busy_percent: Spread


def run_scenario(
    scenario: Scenario,
    contenders: Sequence[Contender],
    *,
    rounds: int,
    seconds: float,
    warm_up_seconds: float,
    after_run: Callable[[Contender, Measurement], None],
) -> Rounds:
    """Measure every contender that takes part, once per round, each round beginning with another one.

    A load of warm_up_seconds goes before, in which every slug is to reach every process. after_run is called after each
    load, the first ones included; it may wait.
    """
    taking_part = [contender for contender in contenders if scenario.name in contender.paths]
    for contender in taking_part:
        after_run(contender, _run(scenario, contender, seconds=warm_up_seconds).measurement)
    runs: dict[str, list[Run]] = {contender.name: [] for contender in taking_part}
    busy: list[float] = []
    for number in range(rounds):
        turn = number % len(taking_part)
        for contender in taking_part[turn:] + taking_part[:turn]:
            busy.append(_busy_percent_at_rest())
            run = _run(scenario, contender, seconds=seconds)
            runs[contender.name].append(run)
            after_run(contender, run.measurement)
    results = [Result(contender, tuple(runs[contender.name])) for contender in taking_part]
    return Rounds(results, Spread.of(busy))


def _busy_percent_at_rest() -> float:
    """Wait until the machine is at rest, for 30 s at most; return what is still used of all its processors."""
    for _ in range(_LOOKS):
        busy: float = psutil.cpu_percent(interval=_LOOK_SECONDS)
        if busy <= _AT_REST_PERCENT:
            break
    return busy


def _run(scenario: Scenario, contender: Contender, *, seconds: float) -> Run:
    paths = contender.paths[scenario.name]
    before = contender.cpu_seconds()
    measurement = put_load(Orders(contender.host, contender.port, paths, scenario.connections, seconds))
    return Run(measurement, contender.cpu_seconds() - before, contender.largest_rss_bytes())
