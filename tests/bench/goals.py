"""What we hold ourselves to: each goal judges a scenario's results by medians."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tests.bench.results import Result

Results = Mapping[str, Result]
"""{contender's name: its result}"""

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a goal was met. value: the figure that was judged; said: the same in words."""

    value: float
    said: str
    is_reached: bool


class Goal(Protocol):
    """`str()` of it says in words what is wanted."""

    def judge(self, ours: Result, others: Results) -> Verdict | None:
        """Return None if whom it compares us with took no part."""


@dataclass(frozen=True, slots=True)
class RateGoal:
    """Our rate divided by that contender's is to be at least this."""

    contender: str
    at_least: float

    def __str__(self) -> str:
        return f"rate at least {self.at_least:g} times that of {self.contender}"

    def judge(self, ours: Result, others: Results) -> Verdict | None:
        if self.contender not in others:
            return None
        theirs = others[self.contender].rate.median
        ratio = ours.rate.median / theirs if theirs else 0.0
        return Verdict(ratio, f"{ratio:.2f} times", ratio >= self.at_least)


@dataclass(frozen=True, slots=True)
class P99Goal:
    """Our 99th percentile divided by that contender's is to be at most this."""

    contender: str
    at_most: float

    def __str__(self) -> str:
        return f"p99 at most {self.at_most:g} times that of {self.contender}"

    def judge(self, ours: Result, others: Results) -> Verdict | None:
        if self.contender not in others:
            return None
        theirs = others[self.contender].p99_ms.median
        ratio = ours.p99_ms.median / theirs if theirs else float("inf")
        return Verdict(ratio, f"{ratio:.2f} times", ratio <= self.at_most)


@dataclass(frozen=True, slots=True)
class MemoryGoal:
    """Our largest serving process is to take at most this many megabytes."""

    at_most_megabytes: int

    def __str__(self) -> str:
        return f"web process at most {self.at_most_megabytes} MB"

    def judge(self, ours: Result, _others: Results) -> Verdict | None:
        megabytes = ours.rss_bytes / MEGABYTE
        return Verdict(megabytes, f"{megabytes:.0f} MB", megabytes <= self.at_most_megabytes)
