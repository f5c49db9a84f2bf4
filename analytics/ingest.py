"""From the records of a batch to what is stored: decoded, enriched, and added up. No database here."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from analytics import frames
from analytics.agents import Agent, agent_of
from analytics.contracts import Event, Kind, Series, decode_event, generation_of
from analytics.referrers import campaign, referrer_domain

_QUARTER_MICROSECONDS = 900 * 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The columns of a row in the order of `Row.values`, with the types of binary COPY; `batch` stands before them.
COLUMNS: dict[str, str] = {
    "time": "timestamptz",
    "generation": "int8",
    "sequence": "int8",
    "link_id": "int8",
    "profile_id": "int8",
    "slug_version": "int8",
    "visitor": "int8",
    "kind": "int2",
    "is_bot": "bool",
    "is_private": "bool",
    "bot_kind": "text",
    "country": "text",
    "region": "text",
    "address": "text",
    "user_agent": "text",
    "browser": "text",
    "os": "text",
    "device": "text",
    "referrer": "text",
    "referrer_domain": "text",
    "language": "text",
    "query": "text",
    "utm_source": "text",
    "utm_medium": "text",
    "utm_campaign": "text",
}


class Row(NamedTuple):
    """One event, ready to be stored. microseconds: its time after clamping, since 1970, UTC."""

    frame: bytes
    event: Event
    microseconds: int
    is_bot: bool
    values: tuple[Any, ...]


class BadRecord(NamedTuple):
    """A record that cannot be stored, with the reason for an operator."""

    frame: bytes
    generation: int | None
    reason: str


class Span(NamedTuple):
    """The earliest and latest time that is believed, in microseconds since 1970."""

    earliest: int
    latest: int


@dataclass(frozen=True, slots=True)
class Sums:
    """A batch added up: (series, subject) or (series, subject, quarter hours since 1970) -> [humans, bots]."""

    totals: dict[tuple[int, int], list[int]]
    quarters: dict[tuple[int, int, int], list[int]]


def prepare(data: bytes, span: Span) -> tuple[list[Row], list[BadRecord]]:
    """Decode and enrich every record of a batch; those that are no events are set aside.

    Raises ValueError if data is not whole frames from start to end.
    """
    rows: list[Row] = []
    bad: list[BadRecord] = []
    position = 0
    for found in frames.scan(data):
        if found.start != position:
            break
        position = found.end
        payload, frame = found.payload(data), data[found.start : found.end]
        try:
            rows.append(_row(frame, decode_event(payload), span))
        except ValueError as error:
            bad.append(BadRecord(frame, generation_of(payload), f"not an event: {error}"))
    if position != len(data):
        raise ValueError(f"the batch is damaged at byte {position}")
    return rows, bad


def moment(microseconds: int) -> datetime:
    """Return an aware UTC moment."""
    return _EPOCH + timedelta(microseconds=microseconds)


def add_up(rows: Iterable[Row]) -> Sums:
    """Count the rows of a batch by what they are counted for."""
    totals: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    quarters: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        quarter = row.microseconds // _QUARTER_MICROSECONDS
        for series, subject_id in _subjects(row.event):
            totals[series, subject_id][row.is_bot] += 1
            quarters[series, subject_id, quarter][row.is_bot] += 1
    return Sums(totals, quarters)


def _subjects(event: Event) -> Iterator[tuple[int, int]]:
    if event.kind is Kind.CLICK:
        if event.link_id is not None:
            yield Series.LINK_CLICKS.value, event.link_id
        if event.profile_id is not None:
            yield Series.PROFILE_CLICKS.value, event.profile_id
    elif event.profile_id is not None:
        yield Series.PROFILE_VIEWS.value, event.profile_id


def _row(frame: bytes, event: Event, span: Span) -> Row:
    agent = agent_of(event.user_agent, event.purpose)
    microseconds = min(max(event.time, span.earliest), span.latest)
    return Row(frame, event, microseconds, agent.is_bot, _values(event, microseconds, agent))


def _values(event: Event, microseconds: int, agent: Agent) -> tuple[Any, ...]:
    known = Agent(agent.bot_kind) if event.is_private else agent
    return (
        moment(microseconds),
        event.generation,
        event.sequence,
        event.link_id,
        event.profile_id,
        event.slug_version,
        event.visitor,
        event.kind.value,
        known.is_bot,
        event.is_private,
        known.bot_kind,
        event.country,
        event.region,
        event.address,
        "" if event.is_private else event.user_agent,
        known.browser,
        known.os,
        known.device,
        event.referrer,
        referrer_domain(event.referrer) if event.referrer else "",
        event.language,
        event.query,
        *campaign(event.query),
    )
