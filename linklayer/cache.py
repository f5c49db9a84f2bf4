"""The two-tier cache: cache-aside with single-flight, stale-while-revalidate and versions.

Tier 1 is a dict in each web process (tier1.py), tier 2 is Redis (tier2.py), behind them the caller's loader. It knows
keys and versions, not models: each app's resolver owns its key format and its loader. With Redis gone every read still
answers, from tier 1 or the loader; with the loader failing a stale value is served while there is one.
"""

import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import msgspec
import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from msgspec import structs

from linklayer import metrics, tier2
from linklayer.bulkhead import Bulkhead
from linklayer.database.base import answers_within
from linklayer.errors import Unavailable, UpstreamFailed
from linklayer.refreshing import refresh_behind
from linklayer.tier1 import Entry, Since, tier1
from linklayer.tier2 import CacheDown, Envelope, Json, Lock

logger = structlog.get_logger(__name__)

Source = Literal["hit-l1", "hit-l2", "stale", "miss"]

STALE_WAIT_SECONDS = 0.05  # with a stale copy in hand nobody waits longer for a fresh one
STALE_RETRY_SECONDS = 5.0  # a copy that the loader itself called stale is asked for again after this
SOFT_JITTER = 0.1  # lifetimes are shortened by up to this share, so that keys filled together do not end together
POLL_SECONDS = 0.01
LOAD_SECONDS_AT_LEAST = 0.2  # who has less left does not begin: a query cut short costs the connection
LOADER_FAILED = (DatabaseError, InterfaceError, Unavailable, UpstreamFailed)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds since the value was read. Fresh to `soft`; to `serve_behind` served and refreshed behind the visitor;
    to `hard` served only if its source fails. `deadline` bounds one load, and the wait for another's."""

    soft_seconds: float
    serve_behind_seconds: float
    hard_seconds: float
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a loader gives. age_seconds: how old its data already is at the source; is_stale: the source failed and
    this is an older copy, to be asked for again soon."""

    version: int
    value: Json
    age_seconds: float = 0.0
    is_stale: bool = False


class Found(msgspec.Struct, frozen=True, gc=False):
    """A value, as `decode` made it, and where it came from; `source` is the word that X-Cache shows.

    A msgspec struct: one is made for every redirect, and a frozen dataclass takes several times as long to make.
    """

    value: Any
    version: int
    age_seconds: float
    source: Source


BeforeLoading = Callable[[bool], object]


def as_it_is(value: Json) -> Any:
    return value


class CachedReads:
    """One kind of cached value.

    load: key -> Loaded, or None if there is no such thing; it may raise Unavailable, UpstreamFailed or a database
    error, and then a stale copy is served. decode: JSON -> what readers get; it may raise KeyError, TypeError or
    ValueError for what it cannot read, which then counts as corrupt.
    """

    def __init__(
        self,
        namespace: str,
        lifetime: Lifetime,
        load: Callable[[str], Loaded | None],
        decode: Callable[[Json], Any] = as_it_is,
    ) -> None:
        self.namespace = namespace
        self.lifetime = lifetime
        self._load = load
        self._decode = decode
        self._bulkhead = Bulkhead(namespace, settings.LOADS_AT_ONCE)
        self.hits_in_tier2 = metrics.cache_reads.labels(namespace, "hit-l2")
        self._loading: dict[tuple[str, int], Future[Envelope | None]] = {}
        self._loading_lock = threading.Lock()

    def full_key(self, key: str) -> str:
        return f"{self.namespace}:{key}"

    def peek(self, key: str) -> Entry | None:
        """Return what tier 1 holds, without any wait: the front door's read."""
        return tier1.get(f"{self.namespace}:{key}")

    def is_absent(self, key: str) -> bool:
        """Tell whether this process knows that there is no such thing, without any wait."""
        return tier1.is_absent(f"{self.namespace}:{key}")

    def resolve(self, key: str, *, before_loading: BeforeLoading | None = None) -> Found | None:
        """Return the value, or None if there is no such thing.

        before_loading: called before the source is asked for what no cache knows, and told whether tier 2 answers; what
        it raises passes through. Raises Unavailable if neither cache nor source can answer.
        """
        found = self._resolved(key, before_loading)
        metrics.cache_reads.labels(self.namespace, found.source if found else "absent").inc()
        return found

    def refresh(self, key: str) -> Found | None:
        """Load now, whatever the caches hold, and store the result in both."""
        since = tier1.begin()
        try:
            epoch = tier2.epoch()
        except CacheDown:
            epoch = None
        return self._kept(key, self._loaded_once(key, self._deadline(), epoch), since)

    def envelope(self, loaded: Loaded, started_at: float, load_seconds: float) -> Envelope:
        """Return what tier 2 is to hold of a load that began at `started_at` (Unix time)."""
        soft_seconds = STALE_RETRY_SECONDS if loaded.is_stale else self.lifetime.soft_seconds
        read_at = started_at - loaded.age_seconds
        fresh_for = soft_seconds * (1 - SOFT_JITTER * random.random())  # noqa: S311 - spreads load, keeps no secret
        soft_at = started_at + fresh_for if loaded.is_stale else max(read_at + fresh_for, started_at + 1)
        return Envelope(loaded.version, loaded.value, read_at, soft_at, load_seconds, loaded.is_stale)

    def decoded(self, envelope: Envelope) -> Envelope:
        """Return the envelope with its value as readers get it. Raises ValueError if that cannot be read."""
        try:
            return structs.replace(envelope, value=self._decode(envelope.value))
        except (KeyError, TypeError) as error:
            raise ValueError("not a value of this kind") from error

    def is_outlived(self, envelope: Envelope) -> bool:
        """Tell whether a value is too old to be served without the source being asked first."""
        return envelope.is_outdated or self._is_past(envelope, self.lifetime.serve_behind_seconds)

    def _held(self, full_key: str) -> Envelope | None:
        """Return what tier 2 holds; what cannot be read is deleted and counted. Raises CacheDown."""
        envelope = tier2.get(full_key)
        try:
            return None if envelope is None else self.decoded(envelope)
        except ValueError:
            tier2.discard_corrupt(full_key)
            return None

    def _resolved(self, key: str, before_loading: BeforeLoading | None) -> Found | None:
        full_key = self.full_key(key)
        entry = tier1.get(full_key)
        if entry is not None:
            age = time.time() - entry.read_at
            return Found(entry.value, entry.version, age, "stale" if entry.is_stale else "hit-l1")
        if tier1.is_absent(full_key):
            return None
        since = tier1.begin()
        try:
            envelope = self._held(full_key)
        except CacheDown:
            if before_loading is not None:
                before_loading(False)
            return self._from_source(key, stale=None, since=since, cache_is_up=False)
        if envelope is None and before_loading is not None:
            before_loading(True)
        if envelope is None or self.is_outlived(envelope):
            return self._from_source(key, stale=envelope, since=since, cache_is_up=True)
        if not is_fresh(envelope):
            refresh_behind(full_key, partial(self._refresh_if_first, key, envelope))
        return self._kept_in_tier1(key, envelope, since, "hit-l2")

    # --- loading

    def _from_source(self, key: str, *, stale: Envelope | None, since: Since, cache_is_up: bool) -> Found | None:
        try:
            envelope = self._single_flight(key, stale, cache_is_up=cache_is_up)
        except LOADER_FAILED as error:
            return self._stale_or_raise(key, stale, error, cache_is_up=cache_is_up)
        if envelope is stale and stale is not None:
            return _found(stale, "stale")
        return self._kept(key, envelope, since)

    def _single_flight(self, key: str, stale: Envelope | None, *, cache_is_up: bool) -> Envelope | None:
        """Load once for all who ask at the same time: threads by a future, processes by a lock in Redis.

        Returns `stale` if another is loading and a stale copy is good enough to go on with. Who asks after an edit
        does not join a load that began before it.
        """
        flight = (key, tier1.last_forgotten(self.full_key(key)))
        with self._loading_lock:
            loading = self._loading.get(flight)
            if loading is None:
                mine: Future[Envelope | None] = Future()
                self._loading[flight] = mine
        deadline = self._deadline()
        wait_seconds = self.lifetime.deadline_seconds if stale is None else STALE_WAIT_SECONDS
        if loading is not None:
            try:
                return loading.result(timeout=wait_seconds)
            except FutureTimeout:
                return _stale_or_unavailable(stale)
        try:
            if cache_is_up:
                envelope = self._loaded_across_processes(key, stale, deadline, wait_seconds)
            else:
                envelope = self._loaded_once(key, deadline)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(envelope)
            return envelope
        finally:
            with self._loading_lock:
                del self._loading[flight]

    def _loaded_across_processes(
        self, key: str, stale: Envelope | None, deadline: float, wait_seconds: float
    ) -> Envelope | None:
        full_key = self.full_key(key)
        give_up_at = time.monotonic() + wait_seconds
        while True:
            try:
                lock = self._lock(full_key)
                envelope = self._held(full_key)  # also with the lock: who had it a moment ago has stored the value
            except CacheDown:
                return self._loaded_once(key, deadline)
            if envelope is not None and not envelope.is_outdated and not self._is_past(envelope, None):
                if lock is not None:
                    _unlock(lock)
                return envelope
            if lock is not None:
                return self._loaded_under(lock, key, deadline)
            if time.monotonic() >= give_up_at:
                return _stale_or_unavailable(stale)
            time.sleep(POLL_SECONDS)

    def _lock(self, full_key: str) -> Lock | None:
        return tier2.lock(full_key, self.lifetime.deadline_seconds * 2)

    def _loaded_under(self, lock: Lock, key: str, deadline: float) -> Envelope | None:
        try:
            return self._loaded_once(key, deadline, lock.epoch)
        finally:
            _unlock(lock)

    def _loaded_once(self, key: str, deadline: float, epoch: str | None = None) -> Envelope | None:
        """Call the loader and put its answer into tier 2; a dead cache only means that it is not kept there.

        epoch: that of the cache; None where it has just not answered: the visitor has waited for it long enough.
        """
        full_key = self.full_key(key)
        envelope = self._loaded_now(key, deadline)
        if epoch is not None:
            _ignore_cache_down(lambda: self._put(full_key, envelope, epoch))
        return None if envelope is None else self.decoded(envelope)

    def _deadline(self) -> float:
        """Return when a load that is wanted now must have ended (monotonic): waiting for a place or a lock counts."""
        return time.monotonic() + self.lifetime.deadline_seconds

    def _loaded_now(self, key: str, deadline: float) -> Envelope | None:
        with self._bulkhead.place():
            started_at, started = time.time(), time.monotonic()
            if deadline - started < LOAD_SECONDS_AT_LEAST:
                raise Unavailable("no time is left to load it")
            metrics.cache_loads.labels(self.namespace).inc()
            with answers_within(deadline - started):
                loaded = self._load(key)
        return None if loaded is None else self.envelope(loaded, started_at, time.monotonic() - started)

    def _put(self, full_key: str, envelope: Envelope | None, epoch: str) -> None:
        if envelope is None:
            tier2.delete_value(full_key)
        else:
            tier2.store(full_key, envelope, self.lifetime.hard_seconds, epoch=epoch)

    def _refresh_if_first(self, key: str, seen: Envelope) -> None:
        full_key = self.full_key(key)
        since = tier1.begin()
        try:
            lock = self._lock(full_key)
            if lock is None:
                return
            envelope = self._held(full_key)
            if envelope is not None and not envelope.is_outdated and envelope.soft_at > max(seen.soft_at, time.time()):
                _unlock(lock)  # who had it a moment ago has refreshed the value
            else:
                envelope = self._loaded_under(lock, key, self._deadline())
            self._kept(key, envelope, since)
        except (CacheDown, *LOADER_FAILED) as error:
            logger.info("cache_refresh_failed", key=full_key, error=type(error).__name__)

    # --- what is found

    def _kept(self, key: str, envelope: Envelope | None, since: Since) -> Found | None:
        if envelope is None:
            tier1.store_absent(self.full_key(key), since)
            return None
        return self._kept_in_tier1(key, envelope, since, "miss")

    def _kept_in_tier1(self, key: str, envelope: Envelope, since: Since, source: Source) -> Found:
        now, clock = time.time(), time.monotonic()
        left = envelope.soft_at - now
        if left > 0:
            entry = Entry(envelope.value, envelope.version, envelope.read_at, envelope.is_stale, clock, clock + left)
            tier1.store(self.full_key(key), entry, since)
        return _found(envelope, "stale" if envelope.is_stale or left <= 0 else source)

    def _stale_or_raise(self, key: str, stale: Envelope | None, error: Exception, *, cache_is_up: bool) -> Found:
        logger.warning("cache_source_failed", key=self.full_key(key), error=type(error).__name__)
        if stale is not None and not self._is_past(stale, self.lifetime.hard_seconds):
            return _found(stale, "stale")
        entry = None if cache_is_up and not tier2.breaker.is_open else tier1.last_resort(self.full_key(key))
        if entry is not None:
            return Found(entry.value, entry.version, time.time() - entry.read_at, "stale")
        if isinstance(error, Unavailable | UpstreamFailed):
            raise error
        raise Unavailable("the source does not answer") from error

    def _is_past(self, envelope: Envelope, seconds: float | None) -> bool:
        """seconds since the value was read; None: its own soft moment. A copy that is stale by the loader's word is
        judged by that moment alone: its age says how long the source has failed, not how long we may keep it."""
        now = time.time()
        if seconds is None or envelope.is_stale:
            return now >= envelope.soft_at
        return now - envelope.read_at >= seconds


def is_fresh(envelope: Envelope) -> bool:
    """Tell whether a value may be served and nobody need refresh it.

    XFetch (Vattani et al., VLDB 2015, beta 1): the slower the load, the earlier one reader says no.
    """
    early = -envelope.load_seconds * math.log(1 - random.random())  # noqa: S311 - spreads load, keeps no secret
    return not envelope.is_outdated and time.time() + early < envelope.soft_at


def _found(envelope: Envelope, source: Source) -> Found:
    return Found(envelope.value, envelope.version, max(0.0, time.time() - envelope.read_at), source)


def _stale_or_unavailable(stale: Envelope | None) -> Envelope:
    if stale is None:
        raise Unavailable("still being loaded")
    return stale


def _unlock(lock: Lock) -> None:
    _ignore_cache_down(lambda: tier2.unlock(lock))


def _ignore_cache_down(call: Callable[[], object]) -> None:
    try:
        call()
    except CacheDown:
        logger.debug("cache_down")
