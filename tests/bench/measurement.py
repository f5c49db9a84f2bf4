"""What one run of a load client measured, and how runs are put together."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_EXACT_BELOW_US = 1_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run. requests: answers that the client read whole. seconds: from the first request to the last answer.

    p50_ms, p99_ms: latency of an answer as a client in a closed loop sees it, in milliseconds. errors: {what went
    wrong: count}, be it a status outside 2xx and 3xx ("404"), "connection" or "timeout". unread: at most so many
    further requests may have been answered, unread by a client that stops without waiting; 0 for one that drains.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: Mapping[str, int]
    unread: int = 0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


class Latencies:
    """Counts of latencies, exact to the microsecond below 1 ms and to three digits above; they can be added up."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: Counter[int] = Counter(counts or {})

    def add(self, seconds: float) -> None:
        microseconds = int(seconds * 1e6)
        step = 1
        while microseconds // step >= _EXACT_BELOW_US:
            step *= 10
        self.counts[microseconds // step * step] += 1

    def percentile_ms(self, percent: float) -> float:
        """Return the smallest latency in milliseconds that so many percent of all do not exceed; 0 if there is none."""
        rank = percent / 100 * self.counts.total()
        seen = 0
        for microseconds in sorted(self.counts):
            seen += self.counts[microseconds]
            if seen >= rank:
                return microseconds / 1000
        return 0.0


def merged(parts: Iterable[tuple[Counter[int], Counter[str], float]]) -> Measurement:
    """Put together what several processes of one run measured at once: (latency counts, errors, seconds) of each."""
    latencies, errors, seconds = Latencies(), Counter[str](), 0.0
    for counts, failed, duration in parts:
        latencies.counts.update(counts)
        errors.update(failed)
        seconds = max(seconds, duration)
    return Measurement(
        requests=latencies.counts.total(),
        seconds=seconds,
        p50_ms=latencies.percentile_ms(50),
        p99_ms=latencies.percentile_ms(99),
        errors=dict(errors),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and extremes of the same figure over several runs."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> "Spread":
        values = list(figures)
        return cls(statistics.median(values), min(values), max(values))
