"""Writes of the ledger: taking in a batch, rolling up, pruning. Called by tasks; a repeat changes nothing.

Outages are not failures: what the database refuses because of itself is raised for the caller to try again (the shipper
sends again what is not stored). What the data are to blame for ends as one dead letter per bad row.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, timedelta
from uuid import UUID, uuid5

import structlog
from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.utils import timezone as clock

from analytics import frames, metrics, partitions, rollup
from analytics.ingest import COLUMNS, BadRecord, Row, Span, Sums, add_up, moment, prepare
from analytics.models import DailySalt, IngestedBatch
from linklayer import dead_letters
from linklayer.backoff import equal_jitter_seconds
from linklayer.errors import Unavailable

logger = structlog.get_logger(__name__)

TRIES = 3
# A clock may be wrong. Ahead by more than a day is not believed; behind, an outage of weeks may be the honest reason,
# so the bound there is what retention would drop anyway.
AHEAD = timedelta(days=1)
BATCH_IDS_KEPT = timedelta(days=90)  # longer than any dead letter waits for its replay
PRUNED_AT_ONCE = 50_000
ROLL_UP_SECONDS = 30.0  # of one call, below the worker's time limit; the next one goes on

INGEST_TASK = "analytics.ingest_clicks"


def ingest_batch(batch_id: UUID, data: bytes, *, is_replay: bool = False) -> bool:
    """Store the records of a batch with all that must never disagree with them, in one transaction.

    data: whole frames. Returns False, and changes nothing, if the batch is stored already. Bad records become dead
    letters in the same transaction; is_replay: data is one of those letters, and if it is still bad that is raised.
    Raises ValueError when data is not frames; OperationalError, InterfaceError, Unavailable when the database cannot.
    """
    now = clock.now()
    earliest = now - timedelta(days=settings.CLICK_RETENTION_DAYS)
    span = Span(_microseconds(earliest.timestamp()), _microseconds((now + AHEAD).timestamp()))
    rows, bad = prepare(data, span)
    if is_replay:
        if bad:
            raise ValueError(bad[0].reason)
        return _stored(batch_id, rows, bad, bisect=False, is_replay=True)
    for tries in range(1, TRIES + 1):
        try:
            return _stored(batch_id, rows, bad, bisect=False, is_replay=False)
        except (DataError, IntegrityError, ValueError) as error:  # ValueError: text that UTF-8 cannot say
            logger.warning("batch_refused", batch=str(batch_id), tries=tries, error=repr(error))
            time.sleep(equal_jitter_seconds(tries, base_seconds=0.1, cap_seconds=1.0))
    return _stored(batch_id, rows, bad, bisect=True, is_replay=False)


def roll_up() -> int:
    """Add what was stored since to the dimensions and daily uniques; each batch exactly once.

    Returns the number of rows that were rolled up; ends after about 30 s, for the next call to go on.
    """
    give_up_at = time.monotonic() + ROLL_UP_SECONDS
    rows = 0
    while time.monotonic() < give_up_at:
        rolled_up = rollup.roll_up_some()
        rows += rolled_up
        if not rolled_up:
            break
    return rows


def make_partitions() -> list[str]:
    """Make the click table's missing partitions from yesterday to 7 days ahead; return their names."""
    made = partitions.make_partitions(clock.now().astimezone(UTC).date())
    if made:
        logger.info("partitions_made", names=made)
    return made


def prune() -> None:
    """Destroy the salts of past days, and drop what is needed no more: visitors of past days, old batch ids."""
    today = clock.now().astimezone(UTC).date()
    DailySalt.objects.filter(day__lt=today).delete()
    # Yesterday's visitors may still be met by a batch that was late.
    while _pruned_visitors(today - timedelta(days=1)):
        pass
    IngestedBatch.objects.filter(is_rolled_up=True, stored_at__lt=clock.now() - BATCH_IDS_KEPT).delete()


def _pruned_visitors(before: date) -> int:
    """Delete some visitors of days before; in portions, for there may be millions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM analytics_dailyvisitor WHERE ctid = ANY(ARRAY("
            "SELECT ctid FROM analytics_dailyvisitor WHERE day < %s LIMIT %s))",
            [before, PRUNED_AT_ONCE],
        )
        return int(cursor.rowcount)


# --- one batch


def _stored(batch_id: UUID, rows: list[Row], bad: list[BadRecord], *, bisect: bool, is_replay: bool) -> bool:
    try:
        with transaction.atomic():
            number = _claim(batch_id, rows, len(rows) + len(bad))
            if number is None:
                metrics.batches_repeated.inc()
                return False
            refused: list[BadRecord] = []
            if bisect:
                rows = list(_copy_bisected(number, rows, refused))
            else:
                _copy(number, rows)
            if rows:
                _add(add_up(rows))
            _bury(batch_id, [*bad, *refused])
            _note_generations(rows, [*bad, *refused], is_replay=is_replay)
    except (DataError, IntegrityError, OperationalError, InterfaceError):
        raise
    except DatabaseError as error:
        # A table that is not migrated yet, a server that became read-only: not the data's fault.
        raise Unavailable(f"the database refused a batch: {error}") from error
    metrics.clicks_stored.inc(len(rows))
    return True


def _claim(batch_id: UUID, rows: list[Row], records: int) -> int | None:
    """Enter the batch id and return the batch's number; None if it is there. A rival's insert is waited for."""
    times = [row.microseconds for row in rows]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_ingestedbatch (id, records, first_at, last_at, is_rolled_up)"
            " VALUES (%s, %s, %s, %s, false) ON CONFLICT (id) DO NOTHING RETURNING number",
            [batch_id, records, moment(min(times)) if times else None, moment(max(times)) if times else None],
        )
        claimed = cursor.fetchone()
    return int(claimed[0]) if claimed else None


_COPY = f"COPY analytics_click (batch, {', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_COPY_TYPES = ["int8", *COLUMNS.values()]


def _copy(number: int, rows: list[Row]) -> None:
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for row in rows:
            copy.write_row((number, *row.values))


def _copy_bisected(number: int, rows: list[Row], refused: list[BadRecord]) -> Iterator[Row]:
    """Copy what can be copied and yield it; halve what is refused until the bad rows stand alone."""
    if not rows:
        return
    try:
        with transaction.atomic():
            _copy(number, rows)
    except (DataError, IntegrityError, ValueError) as error:
        if len(rows) == 1:
            refused.append(BadRecord(rows[0].frame, rows[0].event.generation, repr(error)))
            return
        middle = len(rows) // 2
        yield from _copy_bisected(number, rows[:middle], refused)
        yield from _copy_bisected(number, rows[middle:], refused)
    else:
        yield from rows


def _add(sums: Sums) -> None:
    """Upsert the aggregates in the order of their keys: two batches at once then cannot deadlock."""
    quarters = sorted(sums.quarters.items())
    totals = sorted(sums.totals.items())
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_quarterhour AS q (series, subject_id, starts_at, humans, bots)"
            " SELECT series, subject_id, to_timestamp(quarter * 900), humans, bots"
            " FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
            " AS new (series, subject_id, quarter, humans, bots)"
            " ON CONFLICT (series, subject_id, starts_at)"
            " DO UPDATE SET humans = q.humans + EXCLUDED.humans, bots = q.bots + EXCLUDED.bots",
            _columns((*key, *counts) for key, counts in quarters),
        )
        cursor.execute(
            "INSERT INTO analytics_total AS t (series, subject_id, humans, bots)"
            " SELECT * FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[], %s::bigint[])"
            " ON CONFLICT (series, subject_id)"
            " DO UPDATE SET humans = t.humans + EXCLUDED.humans, bots = t.bots + EXCLUDED.bots",
            _columns((*key, *counts) for key, counts in totals),
        )


def _columns(rows: Iterable[tuple[int, ...]]) -> list[str]:
    """Return rows of numbers as one array literal per column; psycopg's own lists take five times as long."""
    return ["{" + ",".join(map(str, column)) + "}" for column in zip(*rows, strict=True)]


def _bury(batch_id: UUID, bad: list[BadRecord]) -> None:
    """Make one dead letter of each bad record, itself a batch of one with an id of its own, ready to be replayed."""
    for record in bad:
        letter_id = str(uuid5(batch_id, record.frame.hex()))
        dead_letters.bury(
            INGEST_TASK,
            dead_letters.task_body(letter_id, frames.to_text(record.frame), is_replay=True),
            {"lang": "py", "task": INGEST_TASK, "id": letter_id},
            record.reason,
            dedupe_key=letter_id,
        )
    if bad:
        metrics.clicks_dead_lettered.inc(len(bad))


def _note_generations(rows: list[Row], bad: list[BadRecord], *, is_replay: bool) -> None:
    """Count into the ledger what this transaction stores or sets aside, by the process that took it in."""
    stored: Counter[int] = Counter(row.event.generation for row in rows)
    # A replayed letter moves from one column to the other.
    dead = Counter({generation: -count for generation, count in stored.items()}) if is_replay else Counter[int]()
    dead.update(record.generation for record in bad if record.generation is not None)
    highest: dict[int, int] = {}
    for row in rows:
        highest[row.event.generation] = max(highest.get(row.event.generation, 0), row.event.sequence)
    generations = sorted({*stored, *dead})
    if not generations:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_processgeneration AS g"
            " (generation, host, accepted, ring, dropped, stored, dead_lettered, highest_sequence)"
            " SELECT generation, '', 0, 0, 0, stored, dead, highest"
            " FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
            " AS new (generation, stored, dead, highest)"
            " ON CONFLICT (generation) DO UPDATE SET stored = g.stored + EXCLUDED.stored,"
            " dead_lettered = g.dead_lettered + EXCLUDED.dead_lettered,"
            " highest_sequence = greatest(g.highest_sequence, EXCLUDED.highest_sequence)",
            _columns((one, stored[one], dead[one], highest.get(one, 0)) for one in generations),
        )


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)
