"""Everything about a subject's numbers but the live totals: time series, uniques, top values.

Read from the aggregates, never from the rows, so the time does not grow with the number of clicks. Served through the
cache for 900 s and dated by `asOf`.
"""

from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.utils import timezone as clock

from analytics.contracts import Series
from analytics.periods import Period, period_until
from linklayer.cache import CachedReads, Lifetime, Loaded

TOP_VALUES = 10
STATS_LIFETIME = Lifetime(soft_seconds=900, serve_behind_seconds=24 * 3600, hard_seconds=24 * 3600, deadline_seconds=5)
# The dimension in the table, its key in the answer, and the word for "nothing was sent"; None: such rows do not exist.
DIMENSIONS: dict[str, tuple[str, str | None]] = {
    "country": ("countries", "unknown"),
    "region": ("regions", None),
    "referrer": ("referrers", "direct"),
    "browser": ("browsers", "unknown"),
    "os": ("operatingSystems", "unknown"),
    "device": ("devices", "unknown"),
    "language": ("languages", "unknown"),
    "utm_source": ("utmSources", None),
    "utm_medium": ("utmMediums", None),
    "utm_campaign": ("utmCampaigns", None),
    "bot": ("bots", None),
}


def breakdowns(series: Series, subject_id: int, *, period: str, timezone: str) -> dict[str, Any]:
    """Return the numbers of a period that ends now, JSON-able:

    {"period", "timezone", "granularity", "from", "to", "asOf": ISO-8601 UTC,
     "inPeriod": {"clicks", "humans", "bots"}, "uniques": sum of UTC-day uniques of human visitors,
     "timeSeries": [{"start", "clicks", "humans", "bots"}, ...] without holes, ascending,
     "top": {"countries": [{"value", "clicks"}, ...], ...}} with human clicks, the most frequent first ("bots": bots).
    uniques and top are counted by UTC day: over all UTC days that the period touches. Raises InvalidInput.
    """
    as_of = clock.now()
    wanted = period_until(as_of, period, timezone)
    buckets = _time_series(series, subject_id, wanted)
    return {
        "period": wanted.name,
        "timezone": wanted.timezone,
        "granularity": wanted.granularity,
        "from": _iso(wanted.starts_at),
        "to": _iso(wanted.ends_at),
        "asOf": _iso(as_of),
        "inPeriod": {name: sum(bucket[name] for bucket in buckets) for name in ("clicks", "humans", "bots")},
        "uniques": _uniques(series, subject_id, wanted),
        "timeSeries": buckets,
        "top": _top(series, subject_id, wanted),
    }


def _load(key: str) -> Loaded:
    series, subject_id, period, timezone = key.split(":", 3)
    value = breakdowns(Series(int(series)), int(subject_id), period=period, timezone=timezone)
    return Loaded(version=int(clock.now().timestamp() * 1000), value=value)


stats_reads = CachedReads("stats", STATS_LIFETIME, _load)


def stats_key(series: Series, subject_id: int, *, period: str, timezone: str) -> str:
    """Return the cache key of one subject's breakdowns."""
    return f"{series.value}:{subject_id}:{period}:{timezone}"


def _time_series(series: Series, subject_id: int, period: Period) -> list[dict[str, Any]]:
    counted = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT width_bucket(starts_at, %s::timestamptz[]), sum(humans)::bigint, sum(bots)::bigint"
            " FROM analytics_quarterhour"
            " WHERE series = %s AND subject_id = %s AND starts_at >= %s AND starts_at < %s GROUP BY 1",
            [list(period.bucket_starts), series.value, subject_id, period.starts_at, period.ends_at],
        )
        for number, humans, bots in cursor.fetchall():
            counted[number] = (humans, bots)
    buckets = []
    for number, start in enumerate(period.bucket_starts, start=1):
        humans, bots = counted.get(number, (0, 0))
        buckets.append({"start": _iso(start), "clicks": humans + bots, "humans": humans, "bots": bots})
    return buckets


def _uniques(series: Series, subject_id: int, period: Period) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(visitors), 0)::bigint FROM analytics_dayuniques"
            " WHERE series = %s AND subject_id = %s AND day BETWEEN %s AND %s",
            [series.value, subject_id, *period.utc_days],
        )
        return int(cursor.fetchone()[0])


def _top(series: Series, subject_id: int, period: Period) -> dict[str, list[dict[str, Any]]]:
    top: dict[str, list[dict[str, Any]]] = {key: [] for key, _ in DIMENSIONS.values()}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT dimension, value, clicks FROM ("
            " SELECT dimension, value, sum(CASE dimension WHEN 'bot' THEN bots ELSE humans END)::bigint AS clicks,"
            " row_number() OVER (PARTITION BY dimension ORDER BY"
            "  sum(CASE dimension WHEN 'bot' THEN bots ELSE humans END) DESC, value) AS place"
            " FROM analytics_daydimension"
            " WHERE series = %s AND subject_id = %s AND day BETWEEN %s AND %s GROUP BY dimension, value"
            ") AS ranked WHERE place <= %s AND clicks > 0 ORDER BY dimension, place",
            [series.value, subject_id, *period.utc_days, TOP_VALUES],
        )
        for dimension, value, clicks in cursor.fetchall():
            key, nothing = DIMENSIONS[dimension]
            top[key].append({"value": value or nothing, "clicks": clicks})
    return top


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
