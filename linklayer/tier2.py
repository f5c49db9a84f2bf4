"""Tier 2: Redis through django-redis, one string per key, versions compared where the value lies.

Form of a value: `<20-digit version>|<json>`; with `!` in place of `|` the value is outdated: older than the version in
front of it, kept only to be served if its source fails; an empty JSON is a forget marker. Every call either answers or
raises CacheDown within 100 ms. Never a pickle, never KEYS, never a pattern.

The epoch is a random word in Redis that is gone when its data is. A value is only stored in the epoch in which its read
began: what was forgotten since, a Redis that lost its data would not remember.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
import structlog
from django.core.cache import caches
from django.db import connection
from django_redis import get_redis_connection
from django_redis.exceptions import ConnectionInterrupted
from django_redis.serializers.base import BaseSerializer
from redis.exceptions import RedisError, ResponseError

from linklayer import metrics
from linklayer.breaker import Breaker, Open
from linklayer.database.base import answers_within

logger = structlog.get_logger(__name__)

T = TypeVar("T")
Json = Any  # what json.loads gives: the apps' resolvers know their own shapes

ALIAS = "reads"
FORGET_CHANNEL_SUFFIX = "forgotten"
MARKER_MILLISECONDS = 60_000  # longer than the longest read: a slow reader cannot put an old value back
LOCK_PREFIX = "lock:"
EPOCH_KEY = "epoch"
CATCH_UP_SECONDS = 2.0  # for one query, before the breaker closes: PostgreSQL may be away too, and is asked again

# KEYS[1] key, KEYS[2] epoch's; ARGV[1] 20-digit version, ARGV[2] json, ARGV[3] lifetime in ms, ARGV[4] epoch or ''.
# 20-digit texts compare as numbers.
_STORE = """
if ARGV[4] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[4] then return 0 end
local held = redis.call('GETRANGE', KEYS[1], 0, 19)
if #held == 20 and held > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. ARGV[2], 'PX', ARGV[3])
return 1
"""

# KEYS[1] key; ARGV[1] 20-digit version, ARGV[2] marker lifetime in ms, ARGV[3] '1' to keep the value as outdated,
# ARGV[4] channel, ARGV[5] message. Returns 1 if a value was dropped or outdated.
_FORGET = """
local held = redis.call('GET', KEYS[1])
local found = 0
if not (held and string.sub(held, 1, 20) >= ARGV[1] and string.sub(held, 21, 21) == '|') then
  if held and #held > 21 then found = 1 end
  if found == 1 and ARGV[3] == '1' then
    redis.call('SET', KEYS[1], ARGV[1] .. '!' .. string.sub(held, 22), 'KEEPTTL')
  elseif not (held and string.sub(held, 1, 20) > ARGV[1]) then
    redis.call('SET', KEYS[1], ARGV[1] .. '!', 'PX', ARGV[2])
  end
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return found
"""

_DELETE_VALUE = "if redis.call('STRLEN', KEYS[1]) > 21 then return redis.call('DEL', KEYS[1]) end return 0"
# KEYS[1] epoch's; ARGV[1] the word if there is none yet. Returns the epoch.
_EPOCH = "return redis.call('GET', KEYS[1]) or (redis.call('SET', KEYS[1], ARGV[1]) and ARGV[1])"

# KEYS[1] lock, KEYS[2] epoch's; ARGV[1] token, ARGV[2] lifetime in ms. Returns the epoch, nil if another has the lock.
_LOCK = """
local epoch = redis.call('GET', KEYS[2])
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return nil end
return epoch or (redis.call('SET', KEYS[2], ARGV[1]) and ARGV[1])
"""
_UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class CacheDown(Exception):
    """Redis does not answer, or the breaker is open."""


class Envelope(msgspec.Struct, frozen=True):
    """A value as tier 2 holds it. Times in Unix seconds; `read_at` is when its data was true at its source.

    A msgspec struct: one is made for every hit in tier 2.
    """

    version: int
    value: Json
    read_at: float
    soft_at: float
    load_seconds: float
    is_stale: bool = False  # the loader itself could only offer an old copy
    is_outdated: bool = False  # an edit came after it

    def to_json(self) -> str:
        """Return the stored form of all but the version; times in whole milliseconds: millions may be held."""
        read_at, soft_at, load_seconds = round(self.read_at, 3), round(self.soft_at, 3), round(self.load_seconds, 3)
        return _encode_facts(Facts(self.value, read_at, soft_at, load_seconds, self.is_stale)).decode()


class Facts(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The JSON of an envelope: an array of these."""

    value: Json
    read_at: float
    soft_at: float
    load_seconds: float
    is_stale: bool


_encode_facts = msgspec.json.Encoder().encode
_decode_facts = msgspec.json.Decoder(Facts).decode


@dataclass(frozen=True, slots=True)
class Lock:
    """The right to load a key. epoch: in which it was taken."""

    key: str
    token: str
    epoch: str


class EnvelopeSerializer(BaseSerializer):  # type: ignore[misc] # django-redis ships no types
    """Envelope <-> bytes, so that every Django cache call sees what the front door and Lua see."""

    def dumps(self, value: Envelope) -> bytes:
        separator = "!" if value.is_outdated else "|"
        return f"{value.version:020d}{separator}{value.to_json()}".encode()

    def loads(self, value: bytes) -> Envelope | None:
        """Return None for a forget marker. Raises ValueError for anything that is not an envelope."""
        return decode(value)


def decode(raw: bytes) -> Envelope | None:
    """Read the stored form. Returns None for a forget marker; raises ValueError if it is corrupt."""
    version, separator, body = raw[:20], raw[20:21], raw[21:]
    if not version.isdigit() or len(version) != 20 or separator not in {b"|", b"!"}:
        raise ValueError("not an envelope")
    if not body:
        return None
    try:
        facts = _decode_facts(body)
    except RecursionError as error:
        raise ValueError("not an envelope") from error
    return Envelope(
        int(version),
        facts.value,
        facts.read_at,
        facts.soft_at,
        facts.load_seconds,
        facts.is_stale,
        separator == b"!",
    )


def get(key: str) -> Envelope | None:
    """Return the value, or None if there is none, only a marker, or a corrupt one (which is deleted and counted)."""
    try:
        envelope = _guarded(lambda: caches[ALIAS].get(key), on=key)
        if envelope is None or isinstance(envelope, Envelope):
            return envelope
        raise ValueError("not an envelope")  # noqa: TRY301 - django-redis reads a bare number itself
    except ValueError:
        discard_corrupt(key)
        return None


def discard_corrupt(key: str) -> None:
    """Delete a value that nobody can read, and count it."""
    metrics.cache_corrupt.inc()
    logger.warning("cache_value_corrupt", key=key)
    _guarded(lambda: caches[ALIAS].delete(key))


def store(key: str, envelope: Envelope, lifetime_seconds: float, *, epoch: str = "") -> bool:
    """Store unless a newer version or marker is there; says whether it was stored.

    epoch: that of the moment when the read of the value began; not stored in any other. Empty: in whatever epoch.
    """
    return bool(_guarded(lambda: _stored(_connection(), key, envelope, lifetime_seconds, epoch), on=key))


def store_many(values: Iterable[tuple[str, Envelope, float]], *, epoch: str) -> None:
    """Store as `store` does, all in one round trip. values: (key, envelope, lifetime in seconds)."""
    values = list(values)

    def replies() -> list[Any]:
        pipeline = _connection().pipeline(transaction=False)
        for key, envelope, lifetime_seconds in values:
            _stored(pipeline, key, envelope, lifetime_seconds, epoch)
        return list(pipeline.execute(raise_on_error=False))

    for (key, envelope, lifetime_seconds), reply in zip(values, _guarded(replies), strict=True):
        if isinstance(reply, ResponseError):  # `store` puts it right, or raises
            store(key, envelope, lifetime_seconds, epoch=epoch)


def _stored(connection: Any, key: str, envelope: Envelope, lifetime_seconds: float, epoch: str) -> Any:
    arguments = (f"{envelope.version:020d}", envelope.to_json(), int(lifetime_seconds * 1000), epoch)
    return connection.eval(_STORE, 2, made_key(key), made_key(EPOCH_KEY), *arguments)


def forget(key: str, version: int, *, keep_stale: bool) -> bool:
    """Refuse all versions before this one from now on and tell every process; says whether a value was there.

    A cache that could not be told is not trusted until it has been: one failure opens the breaker.
    """
    arguments = (f"{version:020d}", MARKER_MILLISECONDS, "1" if keep_stale else "0", forget_channel(), key)
    try:
        return bool(_guarded(lambda: _connection().eval(_FORGET, 1, made_key(key), *arguments), on=key))
    except CacheDown:
        breaker.open()
        raise


def delete_value(key: str) -> None:
    """Delete what is held of a thing that is no more; a forget marker stays."""
    _guarded(lambda: _connection().eval(_DELETE_VALUE, 1, made_key(key)), on=key)


def lock(key: str, seconds: float) -> Lock | None:
    """Take the right to load the key, for at most `seconds`; None if another process has it."""
    token, keys = secrets.token_hex(8), (made_key(LOCK_PREFIX + key), made_key(EPOCH_KEY))
    epoch = _guarded(lambda: _connection().eval(_LOCK, 2, *keys, token, int(seconds * 1000)), on=EPOCH_KEY)
    return None if epoch is None else Lock(key, token, epoch.decode())


def unlock(lock: Lock) -> None:
    key = LOCK_PREFIX + lock.key
    _guarded(lambda: _connection().eval(_UNLOCK, 1, made_key(key), lock.token), on=key)


def epoch() -> str:
    """Return the epoch; begins one if there is none."""
    return _guarded(lambda: read_epoch(secrets.token_hex(8)))


def read_epoch(new: str) -> str:
    """Return the epoch, which is `new` if there was none: for the listener, whatever the breaker says."""
    held: bytes = _called_on(EPOCH_KEY, lambda: _connection().eval(_EPOCH, 1, made_key(EPOCH_KEY), new))
    return held.decode()


def answers() -> None:
    """Raise CacheDown if Redis does not answer."""
    _guarded(lambda: _connection().ping())


def made_key(key: str) -> str:
    """Return the key as Redis knows it."""
    return _prefix() + key


@lru_cache(maxsize=1)
def _prefix() -> str:
    """What django-redis puts before a key; each asyncio task would make a cache object of its own to ask it."""
    return str(caches[ALIAS].make_key(""))


@lru_cache(maxsize=1)
def forget_channel() -> str:
    return made_key(FORGET_CHANNEL_SUFFIX)


def _connection() -> Any:
    return get_redis_connection(ALIAS)


def _guarded(call: Callable[[], T], *, on: str | None = None) -> T:
    """Call unless the breaker is open. on: the key that it is about. Raises CacheDown."""
    try:
        breaker.check()
        return call() if on is None else _called_on(on, call)
    except Open:
        raise CacheDown from None
    except (RedisError, ConnectionInterrupted, OSError) as error:
        metrics.cache_errors.inc()
        breaker.failed()
        raise CacheDown from error


def _called_on(key: str, call: Callable[[], T]) -> T:
    """Call; if the key holds no string, which nobody can read, it is deleted and counted, and the call made again."""
    try:
        return call()
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        discard_corrupt(key)
        return call()


def _catch_up() -> None:
    from linklayer.forgetting import apply_pending_forgets

    try:
        with answers_within(CATCH_UP_SECONDS):
            apply_pending_forgets()
    finally:
        connection.close()  # the probing thread ends here


def _fill_up() -> None:
    from linklayer import warming

    warming.begin()


breaker = Breaker(probe=answers, before_close=_catch_up, after_close=_fill_up, on_change=metrics.cache_breaker_open.set)
