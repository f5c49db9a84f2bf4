"""Taking in a batch: once, whole, and with its bad rows set aside one by one."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, DataError, connection

from analytics import services
from analytics.contracts import Kind, Series
from analytics.frames import record_frame
from analytics.models import Click, IngestedBatch, ProcessGeneration, QuarterHour, Total
from analytics.services import ingest_batch
from analytics.tasks import ingest_clicks
from linklayer.errors import Unavailable
from linklayer.models import DeadLetter
from tests.analytics.makers import FIREFOX, GENERATION, GOOGLEBOT, IPHONE, batch_of, make_event, raw_batch, raw_event

pytestmark = pytest.mark.django_db


def total(link_id: int = 1, series: Series = Series.LINK_CLICKS) -> tuple[int, int] | None:
    return Total.objects.filter(series=series, subject_id=link_id).values_list("humans", "bots").first()


def test_a_batch_is_stored_with_rows_aggregate_and_total() -> None:
    assert ingest_batch(uuid4(), batch_of(*(make_event(link_id=1 + n % 2) for n in range(10))))
    assert Click.objects.count() == 10
    assert total(1) == total(2) == (5, 0)
    assert sum(QuarterHour.objects.values_list("humans", flat=True)) == 10


def test_the_same_batch_twice_changes_nothing() -> None:
    batch_id, data = uuid4(), batch_of(make_event(), make_event())
    assert ingest_batch(batch_id, data)
    assert not ingest_batch(batch_id, data)
    assert (Click.objects.count(), total(), IngestedBatch.objects.count()) == (2, (2, 0), 1)


def test_a_row_says_what_the_visitor_told() -> None:
    ingest_batch(uuid4(), batch_of(make_event(user_agent=IPHONE)))
    row = Click.objects.get()
    assert (row.browser, row.os, row.device) == ("Mobile Safari", "iOS", "mobile")
    assert (row.referrer_domain, row.language, row.country) == ("example.co.uk", "de-ch", "CH")
    assert (row.utm_source, row.utm_medium, row.utm_campaign) == ("letter", "mail", "May")


@pytest.mark.parametrize(
    ("user_agent", "purpose", "kind"),
    [
        (GOOGLEBOT, "", "search"),
        ("", "", "empty"),
        ("curl/8.15.0", "", "library"),
        ("facebookexternalhit/1.1", "", "preview"),
        ("GPTBot/1.2", "", "ai"),
        (FIREFOX, "prefetch;prerender", "prefetch"),
        (FIREFOX, "", ""),
    ],
)
def test_machines_are_counted_apart(user_agent: str, purpose: str, kind: str) -> None:
    ingest_batch(uuid4(), batch_of(make_event(user_agent=user_agent, purpose=purpose)))
    assert Click.objects.get().bot_kind == kind
    assert total() == ((0, 1) if kind else (1, 0))


def test_a_click_counts_for_its_profile_and_a_view_for_none_but_it() -> None:
    view = make_event(kind=Kind.VIEW, link_id=None, profile_id=9)
    ingest_batch(uuid4(), batch_of(make_event(profile_id=9), make_event(), view))
    assert total(9, Series.PROFILE_CLICKS) == total(9, Series.PROFILE_VIEWS) == (1, 0)
    assert total(1) == (2, 0)


def test_a_private_visitor_is_a_number_and_nothing_else() -> None:
    ingest_batch(uuid4(), batch_of(make_event(is_private=True, visitor=None, user_agent=GOOGLEBOT)))
    row = Click.objects.get()
    assert (row.user_agent, row.browser, row.os, row.visitor) == ("", "", "", None)
    assert row.is_bot  # the verdict is kept, what it came from is not


@pytest.mark.parametrize(("days", "kept"), [(400, 1), (-400, -90), (-3, -3)])
def test_a_time_that_cannot_be_is_clamped(days: int, kept: int) -> None:
    now = datetime.now(UTC)
    ingest_batch(uuid4(), batch_of(make_event(time=int((now + timedelta(days=days)).timestamp() * 1e6))))
    assert abs(Click.objects.get().time - now - timedelta(days=kept)) < timedelta(minutes=1)


BAD = [
    raw_event(user_agent="a\0b"),
    raw_event(link_id=2**63),
    raw_event(link_id=0),
    raw_event(link_id=None),
    raw_event(time=-1),
    raw_event(time="yesterday"),
    raw_event(kind=7),
    raw_event(query=None),
    ["short"],
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_is_set_aside_alone_with_its_reason(bad: list[Any]) -> None:
    good = [raw_event() for _ in range(9)]
    assert ingest_batch(uuid4(), raw_batch(*good[:4], bad, *good[4:]))
    assert (Click.objects.count(), total()) == (9, (9, 0))
    letter = DeadLetter.objects.get()
    assert letter.source == "analytics.ingest_clicks"
    assert letter.reason


def test_bad_rows_one_in_fifty_cost_no_good_one_and_the_ledger_adds_up() -> None:
    rows = [raw_event(user_agent="a\0b") if n % 50 == 7 else raw_event() for n in range(500)]
    assert ingest_batch(uuid4(), raw_batch(*rows))
    generation = ProcessGeneration.objects.get(generation=GENERATION)
    assert (Click.objects.count(), DeadLetter.objects.count()) == (490, 10)
    assert (generation.stored, generation.dead_lettered) == (490, 10)


def test_a_batch_with_a_bad_row_that_comes_again_buries_nothing_twice() -> None:
    batch_id, data = uuid4(), raw_batch(raw_event(), raw_event(user_agent="\0"))
    assert ingest_batch(batch_id, data)
    assert not ingest_batch(batch_id, data)
    assert DeadLetter.objects.count() == 1


def test_text_that_utf_8_cannot_say_is_set_aside() -> None:
    frame = batch_of(make_event(user_agent="XXX"))
    broken = raw_batch(raw_event()) + record_frame(frame[8:].replace(b"XXX", b"\xed\xa0\x80"))
    assert ingest_batch(uuid4(), broken)
    assert (Click.objects.count(), DeadLetter.objects.count()) == (1, 1)


def test_a_replayed_letter_is_stored_once_it_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(services, "_copy", _refuse)
        ingest_batch(uuid4(), batch_of(make_event()))
    assert Click.objects.count() == 0
    args, kwargs, _ = json.loads(bytes(DeadLetter.objects.get().body))
    for _ in range(2):
        ingest_clicks(*args, **kwargs)
    generation = ProcessGeneration.objects.get(generation=GENERATION)
    assert (Click.objects.count(), generation.stored, generation.dead_lettered) == (1, 1, 0)


def _refuse(*_: object) -> None:
    raise DataError("refused")


def test_a_replayed_letter_that_is_still_bad_says_so() -> None:
    with pytest.raises(ValueError, match="not an event"):
        ingest_batch(uuid4(), raw_batch(["short"]), is_replay=True)
    assert IngestedBatch.objects.count() == 0


@pytest.mark.parametrize("data", [b"garbage", batch_of(make_event())[:-1], batch_of(make_event()) + b"tail"])
def test_bytes_that_are_not_whole_frames_are_refused_whole(data: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        ingest_batch(uuid4(), data)
    assert Click.objects.count() == 0


def test_a_missing_table_is_an_outage_and_not_the_fault_of_the_data() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE analytics_total RENAME TO analytics_gone")
    with pytest.raises(Unavailable):
        ingest_batch(uuid4(), batch_of(make_event()))
    assert DeadLetter.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_eight_workers_at_once_count_exactly() -> None:
    batches = [(uuid4(), batch_of(*(make_event(link_id=1 + n % 7) for n in range(50)))) for _ in range(16)]
    errors: list[Exception] = []

    def work(mine: Iterator[Any]) -> None:
        try:
            for batch_id, data in mine:
                ingest_batch(batch_id, data)
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    # Every batch is taken in twice, by different workers at about the same time.
    threads = [threading.Thread(target=work, args=(iter(batches[n % 4 :: 4]),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Click.objects.count() == 800
    assert sum(Total.objects.values_list("humans", flat=True)) == 800
    assert sum(QuarterHour.objects.values_list("humans", flat=True)) == 800
    assert ProcessGeneration.objects.get(generation=GENERATION).stored == 800
