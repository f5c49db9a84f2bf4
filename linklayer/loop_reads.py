"""Tier 2 as the event loop reads it: the same keys and envelopes by `redis.asyncio`, never blocking.

One MGET is under way at a time; what is asked for meanwhile shares the next one, equal keys one place in it. A Redis
that does not answer within 100 ms counts against the breaker, and the request goes to Django, which knows ways round.
"""

import asyncio
import time
from typing import NamedTuple

import structlog
from django.conf import settings
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from linklayer import metrics, tier2
from linklayer.cache import CachedReads, is_fresh
from linklayer.tier1 import Entry, Since, tier1
from linklayer.tier2 import Envelope

logger = structlog.get_logger(__name__)


class Looked(NamedTuple):
    """entry: a fresh value. is_cold: Django has to load it, because the caches know nothing that could be served."""

    entry: Entry | None
    is_cold: bool


COLD = Looked(None, is_cold=True)
KNOWN = Looked(None, is_cold=False)  # stale, or known to be absent: Django answers without a load


class LoopReads:
    """One per event loop."""

    def __init__(self) -> None:
        self._client = redis_asyncio.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=settings.REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._waiting: dict[str, asyncio.Future[bytes | None]] = {}
        self._fetching: asyncio.Task[None] | None = None

    async def look(self, reads: CachedReads, key: str) -> Looked:
        """Look for a fresh value in tier 2; what is found is now also kept in tier 1."""
        full_key = reads.full_key(key)
        if tier1.is_absent(full_key):
            return KNOWN
        if tier2.breaker.is_open:
            return COLD
        since = tier1.begin()
        try:
            raw = await self._get(tier2.made_key(full_key))
            envelope = tier2.decode(raw) if raw is not None else None
            envelope = reads.decoded(envelope) if envelope is not None else None
        except (RedisError, OSError) as error:
            metrics.cache_errors.inc()
            logger.info("cache_loop_read_failed", error=type(error).__name__)
            tier2.breaker.failed()
            return COLD
        except ValueError:
            return COLD  # corrupt: Django's lane deletes and counts it
        if envelope is None:
            return COLD
        return Looked(_kept(full_key, envelope, since), is_cold=False) if is_fresh(envelope) else KNOWN

    async def close(self) -> None:
        await self._client.aclose()

    async def _get(self, made_key: str) -> bytes | None:
        future = self._waiting.get(made_key)
        if future is None:
            future = self._waiting[made_key] = asyncio.get_running_loop().create_future()
            if self._fetching is None:
                self._fetching = asyncio.create_task(self._fetch_all())
        return await asyncio.shield(future)  # one visitor who leaves takes nothing from the others

    async def _fetch_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            try:
                values: list[bytes | None] = await self._client.mget(list(waiting))  # type: ignore[assignment] # not decoded
            except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it was
                for future in waiting.values():
                    future.set_exception(error)
            else:
                for future, value in zip(waiting.values(), values, strict=True):
                    future.set_result(value)
        self._fetching = None


def _kept(full_key: str, envelope: Envelope, since: Since) -> Entry:
    clock = time.monotonic()
    left = envelope.soft_at - time.time()
    entry = Entry(envelope.value, envelope.version, envelope.read_at, envelope.is_stale, clock, clock + left)
    tier1.store(full_key, entry, since)
    return entry
