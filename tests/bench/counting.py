"""The benchmark's last word: every answered redirect is a click that is stored, every profile read a view, once.

The load client knows how many answers it read. wrk stops without waiting for the answers under way, so that up to one
per connection and run may have been sent unread: its count is a lower bound, and that many more the upper one. The
bundled client waits for every answer, and its count is exact.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.bench.measurement import Measurement

Kind = Literal["click", "view"]
KINDS: tuple[Kind, ...] = ("click", "view")

# Web processes tell the ledger once a second what they have accepted.
_HEARTBEAT_SECONDS = 3.0
_NOT_ANSWERED = frozenset({"connection", "timeout"})


@dataclass(frozen=True, slots=True)
class Answered:
    """How many requests a client saw answered: so many read, and at most so many more sent to it unread."""

    read: int = 0
    unread: int = 0

    @classmethod
    def of(cls, measurement: Measurement) -> "Answered":
        """Count a run of load. Answers outside 2xx and 3xx are neither clicks nor views."""
        failed = sum(count for what, count in measurement.errors.items() if what not in _NOT_ANSWERED)
        return cls(measurement.requests - failed, measurement.unread)

    def plus(self, other: "Answered") -> "Answered":
        return Answered(self.read + other.read, self.unread + other.unread)


@dataclass(frozen=True, slots=True)
class Stored:
    """The events of one kind, as each table counts them."""

    rows: int
    totals: int
    quarter_hours: int

    def minus(self, earlier: "Stored") -> "Stored":
        return Stored(
            self.rows - earlier.rows, self.totals - earlier.totals, self.quarter_hours - earlier.quarter_hours
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The same events counted in each place. accepted, dropped: as the web processes say; the rest is stored."""

    accepted: int
    dropped: int
    batches: int
    stored: Mapping[Kind, Stored]

    @property
    def rows(self) -> int:
        return sum(stored.rows for stored in self.stored.values())

    def minus(self, earlier: "Ledger") -> "Ledger":
        """Return what came since an earlier count."""
        return Ledger(
            self.accepted - earlier.accepted,
            self.dropped - earlier.dropped,
            self.batches - earlier.batches,
            {kind: stored.minus(earlier.stored[kind]) for kind, stored in self.stored.items()},
        )

    def problems(self, answered: Mapping[Kind, Answered]) -> list[str]:
        """Return one sentence for each way in which the places differ; none if all events are there, once."""
        found = []
        if self.batches != self.rows:
            found.append(f"batches say {self.batches}, rows say {self.rows}")
        if self.accepted != self.rows + self.dropped:
            found.append(f"web accepted {self.accepted}, stored are {self.rows}, dropped {self.dropped}")
        if self.dropped:
            found.append(f"{self.dropped} were dropped")
        for kind, stored in self.stored.items():
            others = {"totals": stored.totals, "quarter hours": stored.quarter_hours}
            found += [
                f"{name} say {count} {kind}s, rows say {stored.rows}"
                for name, count in others.items()
                if count != stored.rows
            ]
            low, high = answered[kind].read, answered[kind].read + answered[kind].unread
            if not low <= stored.rows <= high:
                found.append(f"answered {low} to {high}, stored are {stored.rows} {kind}s")
        return found


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What clients saw answered, and what our ledger says of the same time."""

    answered: Mapping[Kind, Answered]
    ledger: Ledger

    def problems(self) -> list[str]:
        """Return one sentence for each way in which they differ or the ledger differs from itself."""
        return self.ledger.problems(self.answered)


def ledger() -> Ledger:
    """Count the events in every place; waits up to 3 s for the web processes' own count to come in."""
    deadline = time.monotonic() + _HEARTBEAT_SECONDS
    while (counted := _counted()).accepted < counted.rows + counted.dropped and time.monotonic() < deadline:
        time.sleep(0.2)
    return counted


def _counted() -> Ledger:
    from analytics.models import Click, IngestedBatch, ProcessGeneration, Series

    generations = ProcessGeneration.objects.values_list("accepted", "dropped")
    return Ledger(
        accepted=sum(accepted for accepted, _ in generations),
        dropped=sum(dropped for _, dropped in generations),
        batches=sum(IngestedBatch.objects.values_list("records", flat=True)),
        stored={
            "click": _stored(Click.Kind.CLICK, Series.LINK_CLICKS),
            "view": _stored(Click.Kind.VIEW, Series.PROFILE_VIEWS),
        },
    )


def _stored(kind: int, series: int) -> Stored:
    from django.db.models import F, Sum

    from analytics.models import Click, QuarterHour, Total

    both = Sum(F("humans") + F("bots"))
    return Stored(
        rows=Click.objects.filter(kind=kind).count(),
        totals=Total.objects.filter(series=series).aggregate(sum=both)["sum"] or 0,
        quarter_hours=QuarterHour.objects.filter(series=series).aggregate(sum=both)["sum"] or 0,
    )
