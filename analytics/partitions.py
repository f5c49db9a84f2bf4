"""The daily partitions of the click table: made ahead, so that rows never wait for one.

A day whose partition is missing costs nothing but its place: its rows land in the DEFAULT partition, and are moved when
the partition is made after all.
"""

from datetime import UTC, date, datetime, time, timedelta

from django.db import connection, transaction
from psycopg import sql

DAYS_AHEAD = 7
DAYS_BEHIND = 1  # the backlog of a short outage belongs to yesterday
_LOCK = 7_204_001  # advisory: one maker at a time

_STATEMENTS = (
    "CREATE TABLE {name} (LIKE analytics_click INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
    "LOCK TABLE analytics_click_default IN ACCESS EXCLUSIVE MODE",
    "INSERT INTO {name} SELECT * FROM analytics_click_default WHERE time >= {start} AND time < {end}",
    "DELETE FROM analytics_click_default WHERE time >= {start} AND time < {end}",
    "ALTER TABLE analytics_click ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})",
)


def make_partitions(today: date) -> list[str]:
    """Make the missing partitions from yesterday to 7 days ahead; return the names of those made.

    today: a UTC day. Each is made in a transaction of its own, which locks the DEFAULT partition and nothing that an
    insert of today needs. Raises django.db.OperationalError when a lock is not had in time; a repeat goes on.
    """
    made = []
    for offset in range(-DAYS_BEHIND, DAYS_AHEAD + 1):
        name = _make_partition(today + timedelta(days=offset))
        if name is not None:
            made.append(name)
    return made


def partition_name(day: date) -> str:
    """Return the table of a UTC day: analytics_click_20260302."""
    return f"analytics_click_{day:%Y%m%d}"


@transaction.atomic
def _make_partition(day: date) -> str | None:
    name = partition_name(day)
    start = datetime.combine(day, time(), UTC)
    bounds = {"start": sql.Literal(start), "end": sql.Literal(start + timedelta(days=1)), "name": sql.Identifier(name)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
        if cursor.fetchone()[0]:
            return None
        # Built apart and attached: CREATE TABLE ... PARTITION OF would lock out every insert, and is refused while
        # DEFAULT holds rows of the day.
        for statement in _STATEMENTS:
            cursor.execute(sql.SQL(statement).format(**bounds).as_string(None))
    return name
