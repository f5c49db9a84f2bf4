"""The 404 budget: whoever looks for what is not there is slowed down, and nobody else."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_redis import get_redis_connection
from pytest_django import Settings

from analytics import recorder
from analytics.heartbeat import Heartbeat
from linklayer import ratelimits
from linklayer.tier1 import tier1
from shortlinks import services

pytestmark = pytest.mark.django_db(transaction=True)

URL = "https://www.python.org/"
GUESSER, NEIGHBOUR = "203.0.113.7", "203.0.113.8"
BUDGET, BEYOND = 5, 2  # names; names a second
MOMENT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)

Ask = Callable[..., Any]


@pytest.fixture(autouse=True)
def limited(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    recorder.close()
    settings.SPOOL_DIR = tmp_path
    settings.RATELIMIT_ENABLE = True
    settings.NOT_FOUND_RATE = f"{BUDGET}/d"
    settings.WEB_CONCURRENCY = 1
    settings.LINKTREE_BASE_URL = ""
    monkeypatch.setattr(Heartbeat, "start", lambda self: None)
    monkeypatch.setattr(ratelimits, "_local", ratelimits.LocalWindows())
    yield
    recorder.close()


@pytest.fixture
def ask(client: Client) -> Ask:
    def send(path: str, address: str = GUESSER) -> Any:
        return client.get(path, REMOTE_ADDR=address)

    return send


def guesses(ask: Ask, number: int, path: str = "/guess-{}") -> tuple[list[int], int]:
    """Ask for names that are nowhere, each once; returns the statuses, and how often the database was asked."""
    begun = time.monotonic_ns()
    with CaptureQueriesContext(connection) as queries:
        statuses = [ask(path.format(f"{begun}-{position}")).status_code for position in range(number)]
    return statuses, len(queries)


def test_beyond_its_budget_an_address_reads_the_database_twice_a_second(ask: Ask) -> None:
    with time_machine.travel(MOMENT, tick=False) as clock:
        statuses, reads = guesses(ask, 40)
        assert statuses == [404] * (BUDGET + BEYOND) + [429] * (40 - BUDGET - BEYOND)
        assert reads == BUDGET + BEYOND
        for _ in range(3):
            clock.shift(timedelta(seconds=1))
            statuses, reads = guesses(ask, 40)
            assert (statuses.count(404), statuses.count(429), reads) == (BEYOND, 40 - BEYOND, BEYOND)


def test_a_refusal_says_how_long_to_wait(ask: Ask) -> None:
    with time_machine.travel(MOMENT, tick=False):
        guesses(ask, 40)
        refused = ask("/one-more")
        assert (refused.status_code, refused["Retry-After"]) == (429, "1")
        assert ask("/@one-more").status_code == 429
        assert ask("/api/profiles/one-more")["Content-Type"] == "application/problem+json"


def test_guesses_leave_nothing_in_redis_but_the_count(ask: Ask) -> None:
    with time_machine.travel(MOMENT, tick=False):
        guesses(ask, 10)
        before = get_redis_connection("reads").dbsize()
        guesses(ask, 200)
        assert get_redis_connection("reads").dbsize() == before <= 4  # two counts, the epoch, the lock of conftest


def test_what_a_cache_knows_is_answered_to_a_guesser(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    services.create_short_link(url=URL, slug="known")
    monkeypatch.setattr(tier1, "is_started", True)
    with time_machine.travel(MOMENT, tick=False):
        assert ask("/known", NEIGHBOUR).status_code == 302
        assert ask("/known-nowhere", NEIGHBOUR).status_code == 404
        guesses(ask, 40)
        for _ in range(10):
            assert ask("/known").status_code == 302
            assert ask("/known-nowhere").status_code == 404
        assert ask("/not-asked-before").status_code == 429
    tier1.flush()


def test_a_neighbour_of_a_guesser_behind_one_address_gets_to_a_cold_link_within_a_second(ask: Ask) -> None:
    services.create_short_link(url=URL, slug="cold")
    with time_machine.travel(MOMENT, tick=False) as clock:
        guesses(ask, 40)
        assert ask("/cold").status_code == 429
        clock.shift(timedelta(seconds=1))
        assert ask("/cold").status_code == 302


def test_only_names_that_are_not_there_cost_anything(ask: Ask) -> None:
    slugs = [f"there-{number}" for number in range(3 * BUDGET)]
    for slug in slugs:
        services.create_short_link(url=URL, slug=slug)
    with time_machine.travel(MOMENT, tick=False):
        assert {ask(f"/{slug}").status_code for slug in slugs} == {302}
        assert {ask("/no slug").status_code for _ in range(3 * BUDGET)} == {404}  # no slug has a space: nobody is asked
        assert guesses(ask, BUDGET)[0] == [404] * BUDGET


def test_another_address_has_a_budget_of_its_own(ask: Ask) -> None:
    with time_machine.travel(MOMENT, tick=False):
        guesses(ask, 40)
        assert ask("/elsewhere", NEIGHBOUR).status_code == 404


@pytest.mark.parametrize("path", ["/@{}", "/api/profiles/{}", "/api/profiles/{}/links", "/api/links/{}/stats"])
def test_usernames_and_statistics_are_guessed_no_faster(ask: Ask, path: str) -> None:
    with time_machine.travel(MOMENT, tick=False):
        statuses, _ = guesses(ask, 20, path)
    assert statuses == [404] * (BUDGET + BEYOND) + [429] * (20 - BUDGET - BEYOND)


def test_what_the_home_page_made_is_guessed_no_faster(ask: Ask) -> None:
    with time_machine.travel(MOMENT, tick=False):
        statuses, _ = guesses(ask, 20, "/?made={}")
    assert statuses == [200] * (BUDGET + BEYOND) + [429] * (20 - BUDGET - BEYOND)


def test_it_can_be_switched_off(ask: Ask, settings: Settings) -> None:
    settings.RATELIMIT_ENABLE = False
    assert guesses(ask, 40) == ([404] * 40, 40)


@pytest.mark.usefixtures("no_redis")
def test_without_redis_each_process_counts_for_itself(ask: Ask) -> None:
    begun = time.monotonic()
    statuses, reads = guesses(ask, 40)
    seconds = time.monotonic() - begun
    assert set(statuses) == {404, 429}
    assert statuses.count(404) == reads
    assert BUDGET + BEYOND <= reads <= BUDGET + BEYOND * (seconds + 1)
