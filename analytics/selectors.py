"""Reads of the numbers, for the APIs and the admin. Totals are live; what else there is comes through the cache."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import F, Sum
from django.utils import timezone as clock

from analytics.breakdowns import stats_key, stats_reads
from analytics.contracts import Series
from analytics.models import QuarterHour, Total
from analytics.periods import DEFAULT_PERIOD, DEFAULT_TIMEZONE, check_period
from linklayer.errors import Unavailable


def link_totals(link_id: int) -> dict[str, int]:
    """Return {"clicks", "humans", "bots"} of a link since ever, clicks = humans + bots; zeros for an unknown link."""
    return _totals(Series.LINK_CLICKS, link_id)


def profile_totals(profile_id: int) -> dict[str, dict[str, int]]:
    """Return {"views": {...}, "clicks": {...}} of a profile since ever, each as `link_totals`."""
    return {"views": _totals(Series.PROFILE_VIEWS, profile_id), "clicks": _totals(Series.PROFILE_CLICKS, profile_id)}


def click_counts(link_ids: Iterable[int]) -> dict[int, int]:
    """Return all clicks since ever by link id; links without a click are not in it."""
    totals = Total.objects.filter(series=Series.LINK_CLICKS, subject_id__in=list(link_ids))
    return dict(totals.values_list("subject_id", F("humans") + F("bots")))


def busiest_links(limit: int | None) -> list[int]:
    """Return the ids of the links that were clicked in the last 24 hours, the most clicked first (then by id)."""
    return _busiest(Series.LINK_CLICKS, limit)


def busiest_profiles(limit: int | None) -> list[int]:
    """Return the ids of the profiles that were viewed in the last 24 hours, the most viewed first (then by id)."""
    return _busiest(Series.PROFILE_VIEWS, limit)


def _busiest(series: Series, limit: int | None) -> list[int]:
    recent = (
        QuarterHour.objects.filter(series=series, starts_at__gte=clock.now() - timedelta(days=1))
        .values("subject_id")
        .annotate(count=Sum(F("humans") + F("bots")))
        .order_by("-count", "subject_id")
        .values_list("subject_id", flat=True)
    )
    return list(recent[:limit])


def link_stats(
    link_id: int, *, period: str = DEFAULT_PERIOD, timezone: str = DEFAULT_TIMEZONE, fresh: bool = False
) -> dict[str, Any]:
    """Return {"totals": live, since ever} and the breakdowns of the period (`breakdowns.breakdowns`), dated by "asOf".

    fresh: read the breakdowns now and not from the cache.
    Raises InvalidInput naming `period` or `timezone`; Unavailable when neither cache nor database answers.
    """
    check_period(period, timezone)
    return {
        "totals": link_totals(link_id),
        **_cached(Series.LINK_CLICKS, link_id, period=period, timezone=timezone, fresh=fresh),
    }


def profile_stats(
    profile_id: int, *, period: str = DEFAULT_PERIOD, timezone: str = DEFAULT_TIMEZONE, fresh: bool = False
) -> dict[str, Any]:
    """Return {"totals": {"views", "clicks", "clickThrough"}, "views": breakdowns, "clicks": breakdowns}.

    clickThrough: human clicks per human view since ever, rounded to four places, None without a view.
    Raises as `link_stats`.
    """
    check_period(period, timezone)
    totals = profile_totals(profile_id)
    views = totals["views"]["humans"]
    click_through = round(totals["clicks"]["humans"] / views, 4) if views else None
    return {
        "totals": {**totals, "clickThrough": click_through},
        "views": _cached(Series.PROFILE_VIEWS, profile_id, period=period, timezone=timezone, fresh=fresh),
        "clicks": _cached(Series.PROFILE_CLICKS, profile_id, period=period, timezone=timezone, fresh=fresh),
    }


def _totals(series: Series, subject_id: int) -> dict[str, int]:
    found = Total.objects.filter(series=series, subject_id=subject_id).values_list("humans", "bots").first()
    humans, bots = found or (0, 0)
    return {"clicks": humans + bots, "humans": humans, "bots": bots}


def _cached(series: Series, subject_id: int, *, period: str, timezone: str, fresh: bool) -> dict[str, Any]:
    key = stats_key(series, subject_id, period=period, timezone=timezone)
    found = stats_reads.refresh(key) if fresh else stats_reads.resolve(key)
    if found is None:
        raise Unavailable("the numbers cannot be read right now")
    value: dict[str, Any] = found.value
    return value
