"""The front door: answers public reads that the cache holds, in the event loop; hands everything else to Django.

It decides nothing about content: the answer was prepared by the app's public read, from which Django's view builds its
own. What it does not understand goes to Django. It never blocks: no ORM, no django-redis, no DNS.
"""

import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from prometheus_client import Counter

from linklayer import metrics, registries
from linklayer.cache import Found, Source
from linklayer.edge import Ready
from linklayer.loop_reads import LoopReads
from linklayer.public_reads import SECURITY_HEADERS, Answer, Headers, PublicRead, cache_headers, conditional
from linklayer.tier1 import Entry, tier1
from linklayer.visitor import VisitorFacts

_LINE_BREAK = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
HOST_BYTES = 255  # a DNS name has no more; longer ones are not worth remembering
NOT_OURS = frozenset({b"authorization", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


@dataclass(slots=True)
class Prepared:
    """What is made once per cached entry: the answer, the answer ready to be sent, its end and its counter."""

    answer: Answer
    ready: Ready
    expires_at: float | None
    answered: Counter


class FrontDoor:
    """The ASGI application of the web process."""

    def __init__(self, lane: Any) -> None:
        self._lane = lane
        self._reads: list[PublicRead] = registries.load(settings.PUBLIC_READS)
        self._loop_reads = LoopReads()

    def answer_now(self, scope: dict[str, Any]) -> Ready | None:
        """Return the answer if tier 1 holds it: what the edge sends without a task, an event or a wait."""
        asked = self._asked(scope)
        if asked is None:
            return None
        read, key = asked
        entry = read.reads.peek(key)
        return None if entry is None else _answer(scope, read, entry, "hit-l1")

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if not await self._answered(scope, send):
                await self._lane(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _answered(self, scope: dict[str, Any], send: Any) -> bool:
        """Answer from the cache; False if this request is Django's."""
        asked = self._asked(scope)
        if asked is None:
            return False
        read, key = asked
        source: Source = "hit-l1"
        entry = read.reads.peek(key)
        if entry is None:
            source = "hit-l2"
            entry = await self._loop_reads.entry(read.reads, key)
        ready = None if entry is None else _answer(scope, read, entry, source)
        if ready is None:
            return False
        await send({"type": "http.response.start", "status": ready.status, "headers": ready.headers})
        await send({"type": "http.response.body", "body": ready.body})
        return True

    def _asked(self, scope: dict[str, Any]) -> tuple[PublicRead, str] | None:
        """Return whose page is asked for, and its cache key."""
        if scope["method"] not in {"GET", "HEAD"} or b"%" in scope["raw_path"]:
            return None
        for read in self._reads:
            key = read.key(scope["path"])
            if key is not None:
                return read, key
        return None

    async def _live(self, receive: Any, send: Any) -> None:
        """The lifespan: tier 1 listens for as long as the process serves."""
        await receive()
        tier1.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        tier1.stop()
        await self._loop_reads.close()
        await send({"type": "lifespan.shutdown.complete"})


def _answer(scope: dict[str, Any], read: PublicRead, entry: Entry, source: Source) -> Ready | None:
    """Return the answer made of the entry, recorded; None if the request or the moment makes it Django's."""
    headers = _readable_headers(scope["headers"])
    if headers is None:
        return None
    prepared = entry.prepared.get(id(read)) or _prepare(read, entry)
    if prepared.expires_at is not None and prepared.expires_at <= time.time():
        return None
    found = _found(entry, source)
    answer, ready = prepared.answer, prepared.ready
    if b"if-none-match" in headers:
        answer = conditional(answer, headers[b"if-none-match"].decode("latin-1"))
        ready = ready if answer is prepared.answer else _ready(answer)
    if read.shows_cache:
        more = _pairs(cache_headers(found))
        ready = Ready(ready.status, ready.headers + more, ready.head + _lines(more), ready.body)
    if scope["method"] == "GET":
        read.record(found, answer, VisitorFacts.from_scope(scope, headers))
    prepared.answered.inc()
    return ready


def _readable_headers(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """Return the headers by name, or None if one of them makes the request Django's."""
    by_name = dict(headers)
    host = by_name.get(b"host", b"")
    if not NOT_OURS.isdisjoint(by_name) or len(host) > HOST_BYTES or not _is_allowed_host(host):
        return None
    return by_name


@lru_cache(maxsize=1024)
def _is_allowed_host(host: bytes) -> bool:
    """Django's own check (HttpRequest.get_host); a refused host is answered by Django."""
    domain, _port = split_domain_port(host.decode("latin-1"))
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _prepare(read: PublicRead, entry: Entry) -> Prepared:
    found = _found(entry, "hit-l1")
    answer = read.answer(found)
    answered = metrics.front_door_answers.labels(read.reads.namespace, str(answer.status))
    prepared = entry.prepared[id(read)] = Prepared(answer, _ready(answer), read.expires_at(found), answered)
    return prepared


def _found(entry: Entry, source: Source) -> Found:
    age = time.time() - entry.read_at
    return Found(entry.value, entry.version, age, "stale" if entry.is_stale else source)


def _ready(answer: Answer) -> Ready:
    length: Headers = () if answer.status == 304 else (("Content-Length", str(len(answer.body))),)
    given = {name.lower() for name, _ in answer.headers}
    common = tuple(pair for pair in SECURITY_HEADERS if pair[0].lower() not in given)
    pairs = _pairs((*answer.headers, *common, *length))
    return Ready(answer.status, pairs, _lines(pairs), answer.body)


def _pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Encode headers. Raises ValueError for a line break in one: what uvicorn checks for all others."""
    pairs = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]
    if any(_LINE_BREAK.search(name + value) for name, value in pairs):
        raise ValueError("a header with a control character")
    return pairs


def _lines(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%s: %s\r\n" % pair for pair in pairs)
