"""Rate limits per client address: INCR + EXPIRE in Redis by django-ratelimit, a local count while Redis is away.

Fixed windows: up to twice the rate can pass around a window's edge. Without Redis each process allows its share of the
rate, never an unlimited number and never nobody.
"""

import ipaddress
import threading
import time

import structlog
from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

from linklayer import metrics, tier2
from linklayer.breaker import Open
from linklayer.errors import TooManyRequests

logger = structlog.get_logger(__name__)

LOCAL_ADDRESSES = 10_000
IPV6_PREFIX = 64  # what one household gets: who has one address has all of them
_PERIOD_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def check_rate(request: HttpRequest, *, group: str, rate: str) -> None:
    """Count this request; rate: "<number>/<s|m|h|d>" per client address (IPv6: per /64).

    Raises TooManyRequests with the seconds to wait.
    """
    if not settings.RATELIMIT_ENABLE:
        return
    source = _source(request.META["REMOTE_ADDR"])
    try:
        tier2.breaker.check()
        usage = get_usage(request, group=group, key=lambda _group, _request: source, rate=rate, increment=True)
        is_over, wait_seconds = usage["should_limit"], usage["time_left"]
    except Open:
        is_over, wait_seconds = _local.count(f"{group} {source}", rate)
    except (RedisError, ConnectionInterrupted, OSError) as error:
        logger.warning("rate_limit_local", group=group, error=type(error).__name__)
        tier2.breaker.failed()
        is_over, wait_seconds = _local.count(f"{group} {source}", rate)
    if is_over:
        metrics.rate_limited.labels(group).inc()
        raise TooManyRequests(f"at most {rate} from one address", retry_after_seconds=max(1, wait_seconds))


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

    def count(self, key: str, rate: str) -> tuple[bool, int]:
        """Return whether the limit is passed, and the seconds to the end of the window."""
        limit_text, _, period = rate.partition("/")
        share = max(1, int(limit_text) // settings.WEB_CONCURRENCY)
        now = time.monotonic()
        with self._lock:
            ends_at, count = self._counts.get(key, (0.0, 0))
            if ends_at <= now:
                ends_at, count = now + _PERIOD_SECONDS[period], 0
                self._counts.pop(key, None)
                while len(self._counts) >= LOCAL_ADDRESSES:
                    del self._counts[next(iter(self._counts))]
            self._counts[key] = (ends_at, count + 1)
        return count + 1 > share, int(ends_at - now) + 1


_local = LocalWindows()
