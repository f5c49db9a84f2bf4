"""The roll-up: dimensions and daily uniques, in plain SQL, from the rows of batches that were not rolled up yet.

A batch and its rows become visible in the same commit, so whoever sees the batch sees all its rows; marking it in the
transaction that adds them counts each row exactly once.
"""

from datetime import datetime
from typing import NamedTuple

from django.db import connection, transaction

ROWS_AT_ONCE = 50_000
_LOCK = 7_204_002  # advisory: one roll-up at a time, so that none waits for the rows of another


class _Batches(NamedTuple):
    numbers: list[int]
    first_at: datetime | None
    last_at: datetime | None
    rows: int


# A click counts for its link, and for its profile if it has one; a view counts for its profile.
_PICKED = """
picked AS (
    SELECT subject.series, subject.id AS subject_id, (click.time AT TIME ZONE 'UTC')::date AS day, click.*
    FROM analytics_click AS click
    CROSS JOIN LATERAL (VALUES
        (1::smallint, CASE WHEN click.kind = 1 THEN click.link_id END),
        (2::smallint, CASE WHEN click.kind = 2 THEN click.profile_id END),
        (3::smallint, CASE WHEN click.kind = 1 THEN click.profile_id END)
    ) AS subject (series, id)
    WHERE click.batch = ANY(%(numbers)s) AND click.time BETWEEN %(first_at)s AND %(last_at)s AND subject.id IS NOT NULL
)
"""

# What a person did not send counts as '' (unknown, direct); campaigns, regions and bots count where there is one.
_DIMENSIONS = f"""
WITH {_PICKED}
INSERT INTO analytics_daydimension AS d (series, subject_id, day, dimension, value, humans, bots)
SELECT series, subject_id, day, sort.dimension, sort.value,
       count(*) FILTER (WHERE NOT is_bot), count(*) FILTER (WHERE is_bot)
FROM picked CROSS JOIN LATERAL (VALUES
    ('country', country, true), ('referrer', referrer_domain, true), ('browser', browser, true), ('os', os, true),
    ('device', device, true), ('language', language, true), ('region', region, false), ('bot', bot_kind, false),
    ('utm_source', utm_source, false), ('utm_medium', utm_medium, false), ('utm_campaign', utm_campaign, false)
) AS sort (dimension, value, counts_empty)
WHERE sort.value <> '' OR sort.counts_empty
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (series, subject_id, day, dimension, value)
DO UPDATE SET humans = d.humans + EXCLUDED.humans, bots = d.bots + EXCLUDED.bots
"""  # noqa: S608 - constants of this module only

_UNIQUES = f"""
WITH {_PICKED}, fresh AS (
    INSERT INTO analytics_dailyvisitor (series, subject_id, day, visitor)
    SELECT DISTINCT series, subject_id, day, visitor FROM picked WHERE visitor IS NOT NULL AND NOT is_bot
    ORDER BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING
    RETURNING series, subject_id, day
)
INSERT INTO analytics_dayuniques AS u (series, subject_id, day, visitors)
SELECT series, subject_id, day, count(*) FROM fresh GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (series, subject_id, day) DO UPDATE SET visitors = u.visitors + EXCLUDED.visitors
"""  # noqa: S608 - as above


@transaction.atomic
def roll_up_some() -> int:
    """Roll up the oldest waiting batches, about 50,000 rows of them; return how many rows.

    0: nothing waits, or another process is at it.
    """
    batches = _waiting_batches()
    if not batches.numbers:
        return 0
    facts = {"numbers": batches.numbers, "first_at": batches.first_at, "last_at": batches.last_at}
    with connection.cursor() as cursor:
        if batches.first_at is not None:
            cursor.execute(_DIMENSIONS, facts)
            cursor.execute(_UNIQUES, facts)
        cursor.execute(
            "UPDATE analytics_ingestedbatch SET is_rolled_up = true WHERE number = ANY(%s)", [batches.numbers]
        )
    return batches.rows


def _waiting_batches() -> _Batches:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return _Batches([], None, None, 0)
        cursor.execute(
            "SELECT coalesce(array_agg(number), '{}'), min(first_at), max(last_at), coalesce(sum(records), 0)::bigint"
            " FROM (SELECT number, first_at, last_at, records, sum(records) OVER (ORDER BY number) AS running"
            "  FROM analytics_ingestedbatch WHERE NOT is_rolled_up) AS waiting WHERE running - records < %s",
            [ROWS_AT_ONCE],
        )
        return _Batches(*cursor.fetchone())
