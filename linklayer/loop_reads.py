"""Tier 2 as the event loop reads it: the same keys and envelopes by `redis.asyncio`, never blocking.

One MGET is under way at a time; what is asked for meanwhile shares the next one, equal keys one place in it. A Redis
that does not answer within 100 ms counts against the breaker, and the request goes to Django, which knows ways round.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog
from django.conf import settings
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from linklayer import metrics, tier2
from linklayer.cache import CachedReads, is_fresh
from linklayer.tier1 import Entry, Since, tier1
from linklayer.tier2 import Envelope

logger = structlog.get_logger(__name__)


class Looked(NamedTuple):
    """entry: a fresh value. stale: one that may be served if no other comes soon. is_cold: Django has to load it."""

    entry: Entry | None
    stale: Entry | None
    is_cold: bool


COLD = Looked(None, None, is_cold=True)
ABSENT = Looked(None, None, is_cold=False)  # Django says so without a load


Found = Callable[[Looked], object]
_Asked = tuple[CachedReads, Since, Found]


class LoopReads:
    """One per event loop."""

    def __init__(self) -> None:
        self._client = redis_asyncio.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=settings.REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._waiting: dict[str, list[_Asked]] = {}
        self._fetching: asyncio.Task[None] | None = None

    def look(self, reads: CachedReads, key: str, found: Found) -> None:
        """Look for a fresh value in tier 2, which is then also kept in tier 1, and call found, now or soon."""
        full_key = reads.full_key(key)
        if tier1.is_absent(full_key):
            found(ABSENT)
        elif tier2.breaker.is_open:
            found(COLD)
        else:
            self._waiting.setdefault(full_key, []).append((reads, tier1.begin(), found))
            if self._fetching is None:
                self._fetching = asyncio.get_running_loop().create_task(self._fetch_all())

    async def close(self) -> None:
        await self._client.aclose()

    async def _fetch_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                await self._fetch(waiting)
        finally:
            self._fetching = None

    async def _fetch(self, waiting: dict[str, list[_Asked]]) -> None:
        try:
            made_keys = [tier2.made_key(full_key) for full_key in waiting]
            values: list[bytes | None] = await self._client.mget(made_keys)  # type: ignore[assignment] # not decoded
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it was
            metrics.cache_errors.inc()
            logger.info("cache_loop_read_failed", error=type(error).__name__)
            tier2.breaker.failed()
            # Who has asked meanwhile is told too: after a second time-out here Django would wait for a third.
            failed, self._waiting = [*waiting.values(), *self._waiting.values()], {}
            for asked in failed:
                _tell(asked, COLD)
        else:
            for (full_key, asked), raw in zip(waiting.items(), values, strict=True):
                _tell(asked, _looked(full_key, asked, raw))


def _looked(full_key: str, asked: list[_Asked], raw: bytes | None) -> Looked:
    reads, since, _ = asked[0]
    try:
        envelope = tier2.decode(raw) if raw is not None else None
        envelope = reads.decoded(envelope) if envelope is not None else None
    except ValueError:
        return COLD  # corrupt: Django's lane deletes and counts it
    except Exception:
        logger.exception("cache_loop_read_unreadable", key=full_key)
        return COLD
    if envelope is None:
        return COLD
    if not is_fresh(envelope):
        return Looked(None, _entry(envelope, is_stale=reads.is_outlived(envelope)), is_cold=True)
    entry = _entry(envelope, is_stale=envelope.is_stale)
    tier1.store(full_key, entry, since)
    reads.hits_in_tier2.inc(len(asked))
    return Looked(entry, None, is_cold=False)


def _tell(asked: list[_Asked], looked: Looked) -> None:
    for _, _, found in asked:
        try:
            found(looked)
        except Exception:
            logger.exception("cache_loop_read_untold")


def _entry(envelope: Envelope, *, is_stale: bool) -> Entry:
    clock = time.monotonic()
    left = envelope.soft_at - time.time()
    return Entry(envelope.value, envelope.version, envelope.read_at, is_stale, clock, clock + left)
