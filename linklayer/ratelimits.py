"""Rate limits per client address: INCR + EXPIRE in Redis by django-ratelimit, a local count while Redis is away.

Fixed windows: up to twice the rate can pass around a window's edge. Without Redis each process allows its share of the
rate, never an unlimited number and never nobody. Redirects and cached reads are not limited; `Guesses` limits looking
for what is not there.
"""

import ipaddress
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

from linklayer import metrics, tier2
from linklayer.breaker import Open
from linklayer.errors import NotFound, TooManyRequests

logger = structlog.get_logger(__name__)

LOCAL_ADDRESSES = 10_000
IPV6_PREFIX = 64  # what one household gets: who has one address has all of them
# Beyond NOT_FOUND_RATE: whoever shares an address with a guesser still gets to what no cache holds.
OVER_BUDGET_RATE = "2/s"
_PERIOD_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def check_rate(request: HttpRequest, *, group: str, rate: str) -> None:
    """Count this request; rate: "<number>/<s|m|h|d>" per client address (IPv6: per /64).

    Raises TooManyRequests with the seconds to wait.
    """
    if settings.RATELIMIT_ENABLE:
        _refuse_over(_usage(request, group, rate), group, rate)


class Guesses:
    """The 404 budget of one request: NOT_FOUND_RATE names per address that are looked up and not there.

    An address that has spent it may look up two names a second, there or not; the others are refused before the
    source is asked. What a cache knows, also that there is no such thing, costs nothing and is never refused. Equal
    names asked for at the same moment count each.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._has_looked_up = False
        self._is_redis_up = True

    def before_loading(self, is_redis_up: bool) -> None:
        """Allow this request to ask the source, however often. Raises TooManyRequests with the seconds to wait.

        is_redis_up: False to count here without trying Redis, which has just kept the visitor waiting.
        """
        if self._has_looked_up or not settings.RATELIMIT_ENABLE:
            return
        self._has_looked_up, self._is_redis_up = True, is_redis_up
        spent = _usage(self._request, "not-found", settings.NOT_FOUND_RATE, increment=0, is_redis_up=is_redis_up)
        if spent.count >= spent.limit:
            group = "over-not-found"
            _refuse_over(
                _usage(self._request, group, OVER_BUDGET_RATE, is_redis_up=is_redis_up), group, OVER_BUDGET_RATE
            )

    def not_found(self) -> None:
        """Spend one of the budget, if the source had to be asked to know it."""
        if self._has_looked_up:
            _usage(self._request, "not-found", settings.NOT_FOUND_RATE, is_redis_up=self._is_redis_up)


@contextmanager
def guessing(request: HttpRequest) -> Iterator[None]:
    """The 404 budget around a lookup that no cache stands before: NotFound spends it. Raises TooManyRequests."""
    guesses = Guesses(request)
    guesses.before_loading(True)
    try:
        yield
    except NotFound:
        guesses.not_found()
        raise


@dataclass(frozen=True, slots=True)
class Usage:
    """What an address has used of a rate in this window, the limit, and the seconds to the window's end."""

    count: int
    limit: int
    wait_seconds: int


def _refuse_over(usage: Usage, group: str, rate: str) -> None:
    if usage.count > usage.limit:
        metrics.rate_limited.labels(group).inc()
        raise TooManyRequests(f"at most {rate} from one address", retry_after_seconds=max(1, usage.wait_seconds))


def _usage(request: HttpRequest, group: str, rate: str, *, increment: int = 1, is_redis_up: bool = True) -> Usage:
    """Count this request (increment 1) or only look (0)."""
    source = _source(request.META["REMOTE_ADDR"])
    if is_redis_up:
        try:
            tier2.breaker.check()
            usage = get_usage(
                request, group=group, key=lambda _group, _request: source, rate=rate, increment=bool(increment)
            )
            # What Redis has evicted between two calls counts as too much.
            count = max(usage["count"], usage["limit"] + 1) if usage["should_limit"] else usage["count"]
            return Usage(count, usage["limit"], usage["time_left"])
        except Open:
            pass
        except (RedisError, ConnectionInterrupted, OSError) as error:
            logger.warning("rate_limit_local", group=group, error=type(error).__name__)
            tier2.breaker.failed()
    return _local.count(f"{group} {source}", rate, increment)


def _source(address: str) -> str:
    """Return whom a limit counts: an IPv4 address, or the /64 of an IPv6 one."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network(f"{address}/{IPV6_PREFIX}", strict=False).network_address)


class LocalWindows:
    """Fixed windows in this process, for the time without Redis; bounded to 10,000 addresses."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def count(self, key: str, rate: str, increment: int = 1) -> Usage:
        """Add to the count of this window; the limit is this process's share of the rate."""
        limit_text, _, period = rate.partition("/")
        share = max(1, int(limit_text) // settings.WEB_CONCURRENCY)
        now = time.monotonic()
        with self._lock:
            ends_at, count = self._counts.get(key, (0.0, 0))
            if ends_at <= now:
                ends_at, count = now + _PERIOD_SECONDS[period], 0
                self._counts.pop(key, None)
            count += increment
            if count > 0:
                while key not in self._counts and len(self._counts) >= LOCAL_ADDRESSES:
                    del self._counts[next(iter(self._counts))]
                self._counts[key] = (ends_at, count)
        return Usage(count, share, int(ends_at - now) + 1)


_local = LocalWindows()
