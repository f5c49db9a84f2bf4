"""The limit per address, with Redis and without it."""

from contextlib import suppress

import pytest
from django.http import HttpRequest
from django.test import RequestFactory
from pytest_django.fixtures import Settings

from linklayer.errors import TooManyRequests
from linklayer.ratelimits import LocalWindows, check_rate


@pytest.fixture(autouse=True)
def limited(settings: Settings) -> None:
    settings.RATELIMIT_ENABLE = True
    settings.WEB_CONCURRENCY = 2


def request_from(address: str) -> HttpRequest:
    return RequestFactory().post("/", REMOTE_ADDR=address)


def allowed(address: str, tries: int, rate: str = "5/d") -> int:
    """Return how many of the tries pass."""
    passed = 0
    for _ in range(tries):
        with suppress(TooManyRequests):
            check_rate(request_from(address), group="test", rate=rate)
            passed += 1
    return passed


def test_the_limit_holds_per_address() -> None:
    assert (allowed("203.0.113.1", 8), allowed("203.0.113.2", 8)) == (5, 5)


def test_a_refusal_says_how_long_to_wait() -> None:
    allowed("203.0.113.5", 5)
    with pytest.raises(TooManyRequests) as refused:
        check_rate(request_from("203.0.113.5"), group="test", rate="5/d")
    assert 1 <= (refused.value.retry_after_seconds or 0) <= 86_400


def test_neighbours_in_a_64_share_the_limit() -> None:
    assert allowed("2001:db8::1", 3) + allowed("2001:db8::2", 5) == 5


def test_it_can_be_switched_off(settings: Settings) -> None:
    settings.RATELIMIT_ENABLE = False
    assert allowed("203.0.113.3", 8) == 8


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_redis")
def test_without_redis_each_process_allows_its_share() -> None:
    """Five a day over two processes: two each, never all and never nobody."""
    assert allowed("203.0.113.4", 8) == 2
    assert allowed("2001:db8:4::1", 1) + allowed("2001:db8:4::2", 5) == 2  # one /64 is one source, here too


def test_the_local_count_is_bounded() -> None:
    windows = LocalWindows()
    for number in range(10_100):
        windows.count(str(number), "5/m")
    assert len(windows._counts) == 10_000
