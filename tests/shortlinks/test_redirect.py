"""`GET /<slug>` through Django's view: what is answered, what is counted, how soon an edit shows."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from pytest_django import Settings

from analytics import recorder
from analytics.contracts import Event, Series, decode_event
from analytics.frames import RECORD_MARK, scan
from analytics.heartbeat import Heartbeat
from analytics.models import QuarterHour
from analytics.segments import OPEN, SEALED, list_segments
from linklayer import warming
from linklayer.public_reads import Answer
from linklayer.tier1 import tier1
from shortlinks import resolver, services
from shortlinks.contracts import ShortLinkRecord
from shortlinks.models import ShortLink
from tests.servers.running import RunningServer

URL = "https://www.python.org/?a=1"

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)  # for real: forgetting happens after the commit


Clicks = Callable[[], list[Event]]


@pytest.fixture(autouse=True)
def clicks(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clicks]:
    """Read back the clicks that went to the spool, in their order."""

    def recorded() -> list[Event]:
        data = b"".join(segment.path.read_bytes() for segment in list_segments(tmp_path, OPEN, SEALED))
        return [decode_event(frame.payload(data)) for frame in scan(data) if frame.mark == RECORD_MARK]

    recorder.close()
    settings.SPOOL_DIR = tmp_path
    monkeypatch.setattr(Heartbeat, "start", lambda self: None)  # it has tests of its own, and would hold a connection
    yield recorded
    recorder.close()


@pytest.fixture
def link() -> ShortLinkRecord:
    return services.create_short_link(url=URL, slug="Go-1", profile_id=9)


def test_a_slug_redirects_to_its_destination(client: Client, link: ShortLinkRecord) -> None:
    response = client.get("/Go-1")
    assert response.status_code == 302
    assert response["Location"] == URL
    assert response["Cache-Control"] == "private, max-age=0"
    assert response["Referrer-Policy"]
    assert response.content == b""


@pytest.mark.parametrize("status_code", [301, 302, 307, 308])
def test_a_link_answers_its_own_status(client: Client, link: ShortLinkRecord, status_code: int) -> None:
    services.change_short_link(link.id, status_code=status_code)
    assert client.get("/Go-1").status_code == status_code


@committed
def test_only_a_get_that_redirects_is_a_click(client: Client, link: ShortLinkRecord, clicks: Clicks) -> None:
    got, headed = client.get("/Go-1"), client.head("/Go-1")
    assert (headed.status_code, headed["Location"], headed.content) == (302, got["Location"], b"")
    services.disable_short_link(link.id)
    client.get("/Go-1")
    client.get("/unknown")
    assert [(click.link_id, click.profile_id, click.slug_version) for click in clicks()] == [(link.id, 9, 1)]


def test_other_methods_are_not_allowed(link: ShortLinkRecord) -> None:
    response = Client(enforce_csrf_checks=True).post("/Go-1")
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        "/unknown",
        "/go-1",
        "/GO-1",
        "/Go-1/",
        "/Go-1%2F",
        "/%2e%2e",
        "/ab",
        "/" + "x" * 5000,
        "/%00%00%00",
        "/caf%C3%A9",
        "/Go-1%0A",
    ],
)
def test_what_is_not_there_is_a_404_page(client: Client, link: ShortLinkRecord, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert b"Nothing here" in response.content


def test_the_404_page_never_repeats_what_was_asked(client: Client, db: None) -> None:
    assert client.get("/unknown-1").content == client.get("/unknown-2").content


@committed
def test_a_disabled_and_a_retired_link_are_gone(client: Client, link: ShortLinkRecord) -> None:
    services.disable_short_link(link.id)
    disabled = client.get("/Go-1")
    services.enable_short_link(link.id)
    assert client.get("/Go-1").status_code == 302
    services.retire_short_link(link.id)
    retired = client.get("/Go-1")
    assert disabled.status_code == retired.status_code == 410
    assert disabled.content == retired.content
    assert "default-src 'none'" in retired["Content-Security-Policy"]


def test_a_link_cached_before_its_expiry_does_not_redirect_after_it(client: Client, link: ShortLinkRecord) -> None:
    services.change_short_link(link.id, expires_at=datetime.now(UTC) + timedelta(seconds=60))
    assert client.get("/Go-1").status_code == 302
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61)):
        assert client.get("/Go-1").status_code == 410


def test_the_front_door_is_told_when_an_answer_will_change(link: ShortLinkRecord) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=60)
    services.change_short_link(link.id, expires_at=moment)
    found = resolver.redirect_reads.resolve("Go-1")
    assert found is not None
    assert resolver.redirect_read.expires_at(found) == moment.timestamp()
    with time_machine.travel(moment + timedelta(seconds=1)):
        assert resolver.redirect_read.expires_at(found) is None
        assert resolver.redirect_read.answer(found).status == 410


@committed
def test_an_edit_shows_at_once_and_a_new_link_ends_its_absence(client: Client, link: ShortLinkRecord) -> None:
    assert client.get("/Go-1")["Location"] == URL
    services.change_short_link(link.id, url="https://www.djangoproject.com/")
    assert client.get("/Go-1")["Location"] == "https://www.djangoproject.com/"
    assert client.get("/later").status_code == 404
    services.create_short_link(url=URL, slug="later")
    assert client.get("/later").status_code == 302


def test_a_cached_link_asks_the_database_nothing(
    client: Client, link: ShortLinkRecord, django_assert_num_queries: Any
) -> None:
    client.get("/Go-1")
    with django_assert_num_queries(0):
        assert client.get("/Go-1").status_code == 302


def test_an_odd_path_asks_neither_cache_nor_database(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert client.get("/admin.php").status_code == 404
        assert resolver.redirect_read.key("/admin") is None
        assert resolver.redirect_read.key("/a/b") is None
        assert resolver.redirect_read.key("/") is None


def test_a_destination_that_the_rules_refuse_since_does_not_redirect(client: Client, link: ShortLinkRecord) -> None:
    ShortLink.objects.filter(pk=link.id).update(destination="http://10.0.0.1/", policy_version=0)
    assert client.get("/Go-1").status_code == 410


def test_a_destination_that_still_passes_redirects_whatever_its_age(client: Client, link: ShortLinkRecord) -> None:
    ShortLink.objects.filter(pk=link.id).update(policy_version=0)
    assert client.get("/Go-1").status_code == 302


def test_warming_offers_the_busiest_first_then_the_newest(link: ShortLinkRecord) -> None:
    ids = [services.create_short_link(url=URL, slug=f"warm-{number}").id for number in range(3)]
    for link_id, humans in ((ids[1], 5), (999_999, 4), (link.id, 3)):
        QuarterHour.objects.create(
            series=Series.LINK_CLICKS, subject_id=link_id, starts_at=datetime.now(UTC), humans=humans, bots=0
        )
    for at_once in (1, 2, 500):
        things = [thing for batch in resolver.warm.batches(at_once) for thing in batch]
        assert [entry.key for (entry,) in things] == ["warm-1", "Go-1", "warm-2", "warm-0"]
    assert resolver.warm.count() == 4


def test_warming_takes_one_query_for_many_links(link: ShortLinkRecord, django_assert_num_queries: Any) -> None:
    for number in range(20):
        services.create_short_link(url=URL, slug=f"many-{number}")
    with django_assert_num_queries(3):  # how many there are, who is busy, one page
        assert sum(warming.warmed(resolver.warm, resolver.warm.count(), per_second=1000)) == 21


def test_a_warmed_link_needs_no_query(link: ShortLinkRecord, django_assert_num_queries: Any) -> None:
    assert list(warming.warmed(resolver.warm, 10, per_second=1000)) == [1]
    with django_assert_num_queries(0):
        found = resolver.redirect_reads.resolve("Go-1")
    assert found is not None
    assert (found.source, found.value.url) == ("hit-l2", URL)


def test_an_answer_is_the_same_however_the_cache_found_it(link: ShortLinkRecord) -> None:
    answers: set[Answer] = set()
    for _ in range(2):
        found = resolver.redirect_reads.resolve("Go-1")
        assert found is not None
        answers.add(resolver.redirect_read.answer(found))
    assert len(answers) == 1
    assert not len(tier1)


@committed
def test_with_the_database_down_known_links_redirect_and_unknown_ones_are_503(
    client: Client, link: ShortLinkRecord, postgres: RunningServer
) -> None:
    client.get("/Go-1")
    connection.close()
    postgres.stop()
    try:
        assert client.get("/Go-1").status_code == 302
        unknown = client.get("/unknown")
        written = client.post("/api/links", {"url": URL}, content_type="application/json")
    finally:
        connection.close()
        postgres.start()
    assert unknown.status_code == written.status_code == 503
    assert int(unknown["Retry-After"]) >= 1
    assert b"One moment" in unknown.content
    assert written["Content-Type"] == "application/problem+json"
