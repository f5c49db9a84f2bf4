"""Warming by itself: once, at its pace, and never longer than it helps; on a real Valkey and PostgreSQL."""

import itertools
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from django.db import connection
from django_redis import get_redis_connection
from structlog.testing import capture_logs

from linklayer import tier2, warming
from linklayer.breaker import Breaker
from linklayer.tier1 import tier1
from shortlinks import resolver
from shortlinks.models import ShortLink
from tests.servers.running import RunningServer
from tests.test_story import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def free_lock() -> None:
    """Take the lock from the test run, which holds it against the web processes of other tests."""
    get_redis_connection("reads").delete(tier2.made_key("lock:" + warming.LOCK_NAME))


@pytest.fixture
def links() -> None:
    ShortLink.objects.bulk_create(
        ShortLink(slug=f"warm-{number}", destination="https://example.com/") for number in range(25)
    )


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between batches in seconds, noted and not taken; nothing else takes time."""
    seconds: list[float] = []
    set_clock(monkeypatch, seconds.append)
    return seconds


def set_clock(monkeypatch: pytest.MonkeyPatch, sleep: Callable[[float], object]) -> None:
    monkeypatch.setattr(warming, "time", SimpleNamespace(time=time.time, monotonic=lambda: 0.0, sleep=sleep))


def events() -> list[str]:
    """What one warm-up says."""
    with capture_logs() as logs:
        warming._warm_hottest()
    return [entry["event"] for entry in logs]


def are_warm(*numbers: int) -> list[bool]:
    return [tier2.get(f"link:warm-{number}") is not None for number in numbers]


@pytest.mark.usefixtures("links")
def test_it_warms_what_is_hottest_at_fifty_a_second(pauses: list[float]) -> None:
    assert events() == ["cache_warm_up_begins", "cache_warmed"]
    assert are_warm(0, 12, 24) == [True, True, True]
    assert pauses == [pytest.approx(links / 50) for links in (10, 10, 5)]


@pytest.mark.usefixtures("links")
def test_it_rests_as_long_as_it_works_however_slow_the_database_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    seconds = itertools.count(step=3.0)  # each look at the clock is three seconds later
    clock = SimpleNamespace(time=time.time, monotonic=lambda: next(seconds), sleep=pauses.append)
    monkeypatch.setattr(warming, "time", clock)
    assert list(warming.warmed(resolver.warm, 25, per_second=50)) == [10, 10, 5]
    assert pauses == [3.0, 3.0, 3.0]


@pytest.mark.usefixtures("links", "pauses")
def test_it_runs_once_a_minute_however_many_see_a_reason() -> None:
    assert events() == ["cache_warm_up_begins", "cache_warmed"]
    assert events() == []


@pytest.mark.usefixtures("links")
def test_it_ends_when_redis_loses_its_data_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then another warms from the start: the two would come to twice the pace."""
    batches = 0

    def flushed(_seconds: float) -> None:
        nonlocal batches
        batches += 1
        get_redis_connection("reads").flushall()

    set_clock(monkeypatch, flushed)
    assert events() == ["cache_warm_up_begins", "cache_warmed"]
    assert batches == 1
    assert are_warm(0, 24) == [False, False]


@pytest.mark.usefixtures("links")
def test_without_the_database_it_gives_up(postgres: RunningServer) -> None:
    connection.close()
    postgres.stop()
    try:
        assert events() == ["cache_warm_up_begins", "cache_warm_up_given_up"]
    finally:
        postgres.start()


def test_it_is_begun_by_web_processes_only_and_when_the_breaker_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr(warming, "_warm_hottest", lambda: begun.append(1))
    warming.begin()
    assert not begun
    monkeypatch.setattr(tier1, "is_started", True)
    order: list[str] = []
    breaker = Breaker(
        probe=lambda: order.append("probe"),
        before_close=lambda: order.append("told"),
        after_close=lambda: order.append("closed" if not breaker.is_open else "open"),
        on_change=lambda _is_open: None,
        probe_seconds=0.01,
    )
    breaker.open()
    eventually(lambda: order == ["probe", "told", "closed"])
    tier2.breaker._after_close()
    eventually(lambda: begun == [1])
