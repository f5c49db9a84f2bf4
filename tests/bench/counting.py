"""The benchmark's last word: every redirect that was answered is a click that is stored, once.

The load client knows how many answers it read. wrk stops without waiting for the answers under way, so that up to one
per connection and run may have been sent unread: its count is a lower bound, and that many more the upper one. The
bundled client waits for every answer, and its count is exact.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.bench.measurement import Measurement

# Web processes tell the ledger once a second what they have accepted.
_HEARTBEAT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Answered:
    """How many redirects a client saw answered: so many read, and at most so many more sent to it unread."""

    read: int = 0
    unread: int = 0

    def plus(self, measurement: Measurement) -> "Answered":
        """Add a run of load. Answers outside 2xx and 3xx were no redirects and are no clicks."""
        failed = sum(measurement.errors.get(what, 0) for what in measurement.errors if what not in _NOT_ANSWERED)
        return Answered(self.read + measurement.requests - failed, self.unread + measurement.unread)


_NOT_ANSWERED = frozenset({"connection", "timeout"})


@dataclass(frozen=True, slots=True)
class Ledger:
    """The same clicks counted in each place. accepted, dropped: as the web processes say; the rest is stored."""

    accepted: int
    dropped: int
    batches: int
    rows: int
    totals: int
    quarter_hours: int

    def problems(self, answered: Answered) -> list[str]:
        """Return one sentence for each way in which the places differ; none if all clicks are there, once."""
        found = []
        stored = {"batches": self.batches, "totals": self.totals, "quarter hours": self.quarter_hours}
        found += [f"{name} say {count}, rows say {self.rows}" for name, count in stored.items() if count != self.rows]
        if self.accepted != self.rows + self.dropped:
            found.append(f"web accepted {self.accepted}, stored are {self.rows}, dropped {self.dropped}")
        if self.dropped:
            found.append(f"{self.dropped} clicks were dropped")
        if not answered.read <= self.rows <= answered.read + answered.unread:
            found.append(f"answered {answered.read} to {answered.read + answered.unread}, stored are {self.rows}")
        return found


def ledger() -> Ledger:
    """Count the clicks in every place; waits up to 3 s for the web processes' own count to come in."""
    deadline = time.monotonic() + _HEARTBEAT_SECONDS
    while (counted := _counted()).accepted < counted.rows + counted.dropped and time.monotonic() < deadline:
        time.sleep(0.2)
    return counted


def _counted() -> Ledger:
    from analytics.models import Click, IngestedBatch, ProcessGeneration, QuarterHour, Series, Total

    of_links = {"series": Series.LINK_CLICKS}
    generations = ProcessGeneration.objects.values_list("accepted", "dropped")
    return Ledger(
        accepted=sum(accepted for accepted, _ in generations),
        dropped=sum(dropped for _, dropped in generations),
        batches=sum(IngestedBatch.objects.values_list("records", flat=True)),
        rows=Click.objects.filter(kind=Click.Kind.CLICK).count(),
        totals=_sum(Total.objects.filter(**of_links).values_list("humans", "bots")),
        quarter_hours=_sum(QuarterHour.objects.filter(**of_links).values_list("humans", "bots")),
    )


def _sum(pairs: Iterable[tuple[int, int]]) -> int:
    return sum(humans + bots for humans, bots in pairs)
