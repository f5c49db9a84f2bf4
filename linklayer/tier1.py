"""Tier 1: a bounded dict in each web process, told of edits by pub/sub and never trusted without its heartbeat.

A listener thread subscribes to the forgotten keys and sends itself a heartbeat every 500 ms over the same
subscription. While they arrive an entry lives up to 60 s; when one is 1.5 s late or the connection is lost, everything
is flushed and entries live 2 s at most. With each heartbeat it reads the epoch: a Redis that has lost its data flushes
tier 1 too, and is warmed. A flushed entry stays behind as the last resort for the time when neither
tier 2 nor the source answers. Processes that never call `start` (workers, commands) keep nothing here.
"""

import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import structlog
from django.conf import settings
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from linklayer import tier2

logger = structlog.get_logger(__name__)

TRUSTED_SECONDS = 60.0
UNTRUSTED_SECONDS = 2.0
LAST_RESORT_SECONDS = 60.0
ABSENT_SECONDS = 30.0
ABSENT_ENTRIES = 10_000
FORGOTTEN_ENTRIES = 10_000
HEARTBEAT_SECONDS = 0.5
HEARTBEAT_LATE_SECONDS = 1.5


class Entry(msgspec.Struct, gc=False):
    """A value in this process. Moments are time.monotonic(); read_at is Unix time, as in the envelope.

    prepared: answers made ready, one for each public read that shows the value; with a profile's encodings about twice
    its page and JSON. A hundred thousand entries are held: they cost the garbage collector nothing, and have no cycles.
    """

    value: Any
    version: int
    read_at: float
    is_stale: bool
    stored_at: float
    live_until: float
    prepared: tuple[Any, ...] = ()
    was_used: bool = False


class Since(NamedTuple):
    """When a read began: in the count of what was forgotten, and in time.monotonic()."""

    sequence: int
    moment: float


class Tier1:
    """Reads are plain dict reads and safe from any thread; the lock orders stores with drops and flushes."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: dict[str, Entry] = {}
        self._absent: dict[str, float] = {}
        self._forgotten: dict[str, int] = {}
        self._sequence = 0
        self._flushed_sequence = 0
        self._flushed_at = 0.0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._epoch: str | None = None
        self.is_started = False
        self.is_trusted = False

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """Return a live entry."""
        entry = self._entries.get(key)
        if entry is None or entry.live_until < time.monotonic() or entry.stored_at <= self._flushed_at:
            return None
        entry.was_used = True
        return entry

    def last_resort(self, key: str) -> Entry | None:
        """Return an entry that may be over-age or flushed, but was never forgotten, and is at most 60 s old."""
        entry = self._entries.get(key)
        if entry is None or time.monotonic() - entry.stored_at > LAST_RESORT_SECONDS:
            return None
        return entry

    def last_forgotten(self, key: str) -> int:
        """Return when the key was last forgotten or all was flushed, in the count that `begin` gives."""
        return max(self._forgotten.get(key, 0), self._flushed_sequence)

    def begin(self) -> Since:
        """Note the start of a read: its store is dropped if the key is forgotten in between, and ages from here."""
        return Since(self._sequence, time.monotonic())

    def store(self, key: str, entry: Entry, since: Since) -> None:
        if not self.is_started:
            return
        with self._lock:
            if self.last_forgotten(key) > since.sequence:
                return
            limit = TRUSTED_SECONDS if self.is_trusted else UNTRUSTED_SECONDS
            entry.stored_at = since.moment
            entry.live_until = min(entry.live_until, entry.stored_at + limit)
            self._absent.pop(key, None)
            if key not in self._entries and len(self._entries) >= self._max_entries:
                self._evict()
            self._entries[key] = entry

    def is_absent(self, key: str) -> bool:
        until = self._absent.get(key)
        return until is not None and until > time.monotonic()

    def store_absent(self, key: str, since: Since) -> None:
        """Remember for 30 s that the source has no such thing."""
        if not self.is_started:
            return
        with self._lock:
            if self.last_forgotten(key) > since.sequence:
                return
            self._entries.pop(key, None)
            while len(self._absent) >= ABSENT_ENTRIES:
                del self._absent[next(iter(self._absent))]
            self._absent[key] = since.moment + (ABSENT_SECONDS if self.is_trusted else UNTRUSTED_SECONDS)

    def drop(self, key: str) -> bool:
        """Forget a key: also what is being read now will not be stored."""
        with self._lock:
            self._sequence += 1
            if len(self._forgotten) >= FORGOTTEN_ENTRIES:
                self._forgotten.clear()
                self._flushed_sequence = self._sequence  # reads in flight are not stored, whatever their key
            self._forgotten[key] = self._sequence
            was_absent = self._absent.pop(key, None) is not None
            return self._entries.pop(key, None) is not None or was_absent

    def flush(self) -> None:
        """Trust nothing that is here; the entries stay as a last resort."""
        with self._lock:
            self._sequence += 1
            self._flushed_sequence = self._sequence
            self._flushed_at = time.monotonic()
            self._absent.clear()

    def _evict(self) -> None:
        """CLOCK: the oldest entry goes, unless it was used since; then it gets one more round."""
        for _ in range(8):
            key, entry = next(iter(self._entries.items()))
            del self._entries[key]
            if not entry.was_used:
                return
            entry.was_used = False
            self._entries[key] = entry
        del self._entries[next(iter(self._entries))]

    # --- the listener

    def start(self, on_data_lost: Callable[[], object] = lambda: None) -> None:
        """Begin to listen; idempotent. Called once in each web process, after the fork.

        on_data_lost: called, and must return at once, when Redis has begun anew without its data.
        """
        with self._lock:
            if self.is_started:
                return
            self.is_started = True
        self._on_data_lost = on_data_lost
        threading.Thread(target=self._listen_for_ever, name="cache-listener", daemon=True).start()

    def stop(self) -> None:
        """End the listener within 100 ms; what is here is no longer trusted."""
        self._stopping.set()

    def _listen_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                for _ in self._listened():
                    pass
            except (RedisError, OSError, tier2.CacheDown) as error:
                logger.warning("cache_listener_lost", error=type(error).__name__)
            except Exception:  # a thread that ended would leave tier 1 trusted, and deaf
                logger.exception("cache_listener_crashed")
            if self.is_trusted:
                self.is_trusted = False
                self.flush()
            self._stopping.wait(HEARTBEAT_SECONDS)

    def _listened(self) -> Iterator[None]:
        """Subscribe and apply messages until a heartbeat is late or the connection breaks."""
        connection = get_redis_connection(tier2.ALIAS)
        beat_channel = tier2.made_key(f"heartbeat:{uuid.uuid4()}")
        with connection.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(tier2.forget_channel(), beat_channel)
            sent_at = heard_at = time.monotonic()
            connection.publish(beat_channel, "")
            self._follow_epoch()
            while not self._stopping.is_set():
                message = pubsub.get_message(timeout=0.1)
                now = time.monotonic()
                if message is not None and message["channel"].decode() == beat_channel:
                    heard_at = now
                    if not self.is_trusted:
                        self.flush()
                        self.is_trusted = True
                elif message is not None:
                    self.drop(message["data"].decode())
                if now - heard_at > HEARTBEAT_LATE_SECONDS:
                    return
                if now - sent_at >= HEARTBEAT_SECONDS:
                    connection.publish(beat_channel, "")
                    sent_at = now
                    self._follow_epoch()
                yield

    def _follow_epoch(self) -> None:
        """Believe nothing from before a new epoch. Raises RedisError."""
        mine = secrets.token_hex(8)
        epoch, before = tier2.read_epoch(mine), self._epoch
        self._epoch = epoch
        if before not in {epoch, None}:
            logger.warning("cache_data_lost")
            self.flush()
        if before != epoch and (before is not None or epoch == mine):
            self._on_data_lost()


tier1 = Tier1(settings.TIER1_ENTRIES)
