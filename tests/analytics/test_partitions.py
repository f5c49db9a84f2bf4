"""The days of the click table: made ahead, and no row is lost where one is missing."""

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection

from analytics.models import Click
from analytics.partitions import make_partitions, partition_name
from analytics.services import ingest_batch
from tests.analytics.makers import batch_of, make_event

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_partition_but_default() -> None:
    """Other tests may have left some; what this one does is rolled back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'analytics_click'::regclass")
        for (name,) in cursor.fetchall():
            if name != "analytics_click_default":
                cursor.execute(f'DROP TABLE "{name}"')


def rows_in(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT count(*) FROM "{table}"')
        return int(cursor.fetchone()[0])


def today() -> date:
    return datetime.now(UTC).date()


def test_partitions_exist_from_yesterday_to_seven_days_ahead() -> None:
    assert make_partitions(today()) == [partition_name(today() + timedelta(days=n)) for n in range(-1, 8)]
    assert all(rows_in(partition_name(today() + timedelta(days=n))) == 0 for n in range(-1, 8))


def test_making_them_again_changes_nothing() -> None:
    make_partitions(today())
    assert make_partitions(today()) == []


def test_a_row_lands_in_its_day() -> None:
    make_partitions(today())
    ingest_batch(uuid4(), batch_of(make_event()))
    assert (rows_in(partition_name(today())), rows_in("analytics_click_default")) == (1, 0)


def test_with_the_maker_dead_for_eight_days_rows_land_in_default_and_none_is_lost() -> None:
    make_partitions(today() - timedelta(days=9))
    ingest_batch(uuid4(), batch_of(make_event(), make_event()))
    assert (rows_in("analytics_click_default"), Click.objects.count()) == (2, 2)


def test_a_partition_made_late_takes_its_rows_out_of_default() -> None:
    month_old = int((datetime.now(UTC) - timedelta(days=30)).timestamp() * 1e6)
    ingest_batch(uuid4(), batch_of(make_event(), make_event(), make_event(time=month_old)))
    make_partitions(today())
    assert (rows_in(partition_name(today())), rows_in("analytics_click_default")) == (2, 1)
    assert Click.objects.count() == 3
