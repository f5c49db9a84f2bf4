"""The numbers: live totals, breakdowns that add up in any timezone, and each row rolled up exactly once."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine

from analytics import periods, rollup
from analytics.breakdowns import breakdowns
from analytics.contracts import Kind, Series
from analytics.models import DailySalt, DailyVisitor, DayDimension, DayUniques, IngestedBatch
from analytics.selectors import busiest_links, click_counts, link_stats, link_totals, profile_stats
from analytics.services import ingest_batch, prune, roll_up
from linklayer.errors import InvalidInput
from tests.analytics.makers import GOOGLEBOT, batch_of, make_event

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 11, 12, 0, tzinfo=UTC)


def at(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def ingest(*events: Any) -> None:
    ingest_batch(uuid4(), batch_of(*events))


def top(series: Series = Series.LINK_CLICKS, subject_id: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = breakdowns(series, subject_id, period="7d", timezone="UTC")["top"]
    return found


def test_totals_are_live_and_add_up() -> None:
    ingest(make_event(), make_event(user_agent=GOOGLEBOT), make_event(link_id=2))
    assert link_totals(1) == {"clicks": 2, "humans": 1, "bots": 1}
    assert click_counts([1, 2, 3]) == {1: 2, 2: 1}
    assert link_totals(3) == {"clicks": 0, "humans": 0, "bots": 0}


def test_totals_move_on_while_the_breakdowns_rest_in_the_cache() -> None:
    ingest(make_event())
    before = link_stats(1)
    ingest(make_event())
    after = link_stats(1)
    assert (before["totals"]["clicks"], after["totals"]["clicks"]) == (1, 2)
    assert after["asOf"] == before["asOf"]
    assert after["inPeriod"]["clicks"] == 1
    assert link_stats(1, fresh=True)["inPeriod"]["clicks"] == 2


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Kathmandu", "Pacific/Chatham", "America/St_Johns", "Europe/Zurich"])
@pytest.mark.parametrize("period", periods.PERIODS)
def test_the_time_series_adds_up_without_holes_in_any_timezone(period: str, timezone: str) -> None:
    with time_machine.travel(NOON, tick=False):
        ingest(*(make_event(time=at(NOON - timedelta(minutes=7 * n))) for n in range(100)))
        stats = breakdowns(Series.LINK_CLICKS, 1, period=period, timezone=timezone)
    starts = [bucket["start"] for bucket in stats["timeSeries"]]
    assert sum(bucket["clicks"] for bucket in stats["timeSeries"]) == stats["inPeriod"]["clicks"] == 100
    assert len(starts) == {"24h": 24, "7d": 7, "30d": 30, "90d": 90, "365d": 365}[period]
    assert starts == sorted(set(starts))


def test_a_click_belongs_to_the_day_of_the_timezone_that_was_asked_for() -> None:
    evening = datetime(2026, 3, 10, 18, 20, tzinfo=UTC)  # five past midnight of the 11th in Kathmandu, at +05:45
    with time_machine.travel(NOON, tick=False):
        ingest(make_event(time=at(evening)), make_event(time=at(evening - timedelta(minutes=10))))
        stats = breakdowns(Series.LINK_CLICKS, 1, period="7d", timezone="Asia/Kathmandu")
    assert [bucket["clicks"] for bucket in stats["timeSeries"]][-2:] == [1, 1]
    assert stats["timeSeries"][-1]["start"] == "2026-03-10T18:15:00Z"


def test_days_of_summer_time_have_no_hole_between_them() -> None:
    with time_machine.travel(datetime(2026, 4, 2, tzinfo=UTC), tick=False):
        period = periods.period_until(datetime.now(UTC), "7d", "Europe/Zurich")
    bounds = [*period.bucket_starts, period.ends_at]
    hours = [(end - start) / timedelta(hours=1) for start, end in itertools.pairwise(bounds)]
    assert hours == [24, 24, 23, 24, 24, 24, 24]


def test_top_values_count_people_and_bots_apart() -> None:
    ingest(make_event(country="CH"), make_event(country="CH"), make_event(country=""), make_event(user_agent=GOOGLEBOT))
    roll_up()
    assert top()["countries"] == [{"value": "CH", "clicks": 2}, {"value": "unknown", "clicks": 1}]
    assert top()["bots"] == [{"value": "search", "clicks": 1}]
    assert top()["referrers"] == [{"value": "example.co.uk", "clicks": 3}]
    assert top()["utmCampaigns"] == [{"value": "May", "clicks": 3}]


def test_a_unique_visitor_counts_once_a_day_however_often_and_in_how_many_batches() -> None:
    for _ in range(3):
        ingest(make_event(visitor=1), make_event(visitor=2), make_event(visitor=None, is_private=True))
        ingest(make_event(visitor=3, user_agent=GOOGLEBOT))
        roll_up()
    assert breakdowns(Series.LINK_CLICKS, 1, period="7d", timezone="UTC")["uniques"] == 2


def test_each_batch_is_rolled_up_exactly_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "ROWS_AT_ONCE", 25)
    for _ in range(7):
        ingest(*(make_event() for _ in range(10)))
    assert roll_up() == 70
    assert roll_up() == 0
    ingest(make_event())
    assert roll_up() == 1
    assert sum(DayDimension.objects.filter(dimension="browser").values_list("humans", flat=True)) == 71
    assert not IngestedBatch.objects.filter(is_rolled_up=False).exists()


@pytest.mark.django_db(transaction=True)
def test_a_roll_up_that_fails_counts_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(make_event())
    with monkeypatch.context() as patch:
        patch.setattr(rollup, "_UNIQUES", "SELECT 1 / 0")
        with pytest.raises(Exception, match="division by zero"):
            roll_up()
    roll_up()
    assert DayDimension.objects.get(dimension="browser").humans == 1


def test_a_profile_has_views_clicks_and_what_they_lead_to() -> None:
    views = [make_event(kind=Kind.VIEW, link_id=None, profile_id=9) for _ in range(4)]
    ingest(*views, make_event(profile_id=9))
    roll_up()
    stats = profile_stats(9)
    assert stats["totals"]["clickThrough"] == 0.25
    assert (stats["views"]["inPeriod"]["clicks"], stats["clicks"]["inPeriod"]["clicks"]) == (4, 1)
    assert (stats["views"]["uniques"], stats["clicks"]["uniques"]) == (1, 1)


@pytest.mark.parametrize(
    ("period", "timezone", "field"),
    [("1y", "UTC", "period"), ("", "UTC", "period"), ("7d", "Mars/Olympus", "timezone"), ("7d", "../etc", "timezone")],
)
def test_a_period_or_timezone_that_we_do_not_know_is_named(period: str, timezone: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        link_stats(1, period=period, timezone=timezone)
    assert list(refused.value.errors) == [field]


def test_the_busiest_links_of_late_come_first() -> None:
    old = at(datetime.now(UTC) - timedelta(days=3))
    ingest(*(make_event(link_id=5) for _ in range(3)), make_event(link_id=6), *(make_event(link_id=7, time=old),) * 9)
    assert busiest_links(10) == [5, 6]
    assert busiest_links(1) == [5]


def test_pruning_destroys_past_salts_and_keeps_the_counts() -> None:
    today = datetime.now(UTC).date()
    DailySalt.objects.create(day=today - timedelta(days=1), salt=b"old")
    DailySalt.objects.create(day=today, salt=b"new")
    ingest(make_event(time=at(datetime.now(UTC) - timedelta(days=2))), make_event())
    roll_up()
    prune()
    assert list(DailySalt.objects.values_list("day", flat=True)) == [today]
    assert list(DailyVisitor.objects.values_list("day", flat=True)) == [today]
    assert sum(DayUniques.objects.values_list("visitors", flat=True)) == 2
