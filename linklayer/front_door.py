"""The front door: answers public reads that the cache holds, in the event loop; hands everything else to Django.

It decides nothing about content: the answer was prepared by the app's public read, from which Django's view builds its
own. What it does not understand goes to Django. It never blocks: no ORM, no django-redis, no DNS.
"""

import re
import time
from functools import lru_cache
from typing import Any

import msgspec
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from prometheus_client import Counter

from linklayer import metrics, registries
from linklayer.cache import Found, Source
from linklayer.exchange import Head, Ready, joined
from linklayer.loop_reads import LoopReads
from linklayer.public_reads import SECURITY_HEADERS, Answer, Headers, PublicRead, cache_headers, conditional
from linklayer.tier1 import Entry, tier1
from linklayer.turn import turn_here
from linklayer.visitor import VisitorFacts

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
SAFE_METHODS = frozenset({b"GET", b"HEAD"})
HOST_BYTES = 255  # a DNS name has no more; longer ones are not worth remembering
NOT_OURS = frozenset({b"authorization", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


class Prepared(msgspec.Struct, gc=False):
    """What is made once per cached entry: the answer, the answer ready to be sent, its end and its counter."""

    answer: Answer
    ready: Ready
    found: Found
    expires_at: float | None
    answered: Counter


class FrontDoor:
    """The ASGI application of the web process."""

    def __init__(self, lane: Any) -> None:
        self._lane = lane
        self._reads: list[PublicRead] = registries.load(settings.PUBLIC_READS)
        self._loop_reads = LoopReads()

    def answer_now(self, head: Head) -> Ready | None:
        """Return the answer if tier 1 holds it: what the edge sends without a task, an event or a wait."""
        asked = self._asked(head)
        if asked is None:
            return None
        read, key = asked
        entry = read.reads.peek(key)
        return None if entry is None else _answer(head, read, entry, "hit-l1")

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if not await self._answered(scope, send):
                await self._lane(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _answered(self, scope: dict[str, Any], send: Any) -> bool:
        """Answer from the cache; False if this request is Django's."""
        head = _head_of(scope)
        asked = self._asked(head)
        if asked is None:
            return False
        read, key = asked
        source: Source = "hit-l1"
        entry = read.reads.peek(key)
        if entry is None:
            source = "hit-l2"
            entry = await self._loop_reads.entry(read.reads, key)
        ready = None if entry is None else _answer(head, read, entry, source)
        if ready is None:
            return False
        turn = turn_here()
        if turn is not None:
            turn.end()  # the click is kept before the answer to it leaves
        await send({"type": "http.response.start", "status": ready.status, "headers": ready.headers()})
        await send({"type": "http.response.body", "body": ready.body})
        return True

    def _asked(self, head: Head) -> tuple[PublicRead, str] | None:
        """Return whose page is asked for, and its cache key."""
        if head.method not in SAFE_METHODS or b"%" in head.path:
            return None
        path = head.path.decode("latin-1")
        for read in self._reads:
            key = read.key(path)
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


def _head_of(scope: dict[str, Any]) -> Head:
    client = scope["client"]
    headers = joined(scope["headers"])
    peer = client[0] if client else ""
    return Head(scope["method"].encode("ascii"), scope["raw_path"], scope["query_string"], headers, peer)


def _answer(head: Head, read: PublicRead, entry: Entry, source: Source) -> Ready | None:
    """Return the answer made of the entry, recorded; None if the request or the moment makes it Django's."""
    headers = head.headers
    host = headers.get(b"host", b"")
    if not NOT_OURS.isdisjoint(headers) or len(host) > HOST_BYTES or not _is_allowed_host(host):
        return None
    prepared: Prepared = entry.prepared.get(id(read)) or _prepare(read, entry)
    if prepared.expires_at is not None and prepared.expires_at <= time.time():
        return None
    found, answer, ready = prepared.found, prepared.answer, prepared.ready
    if b"if-none-match" in headers:
        answer = conditional(answer, headers[b"if-none-match"].decode("latin-1"))
        ready = ready if answer is prepared.answer else _ready(answer)
    if read.shows_cache:
        found = _found(entry, source)
        ready = Ready(ready.status, _lines(cache_headers(found)) + ready.head, ready.body)
    if head.method == b"GET":
        read.record(found, answer, VisitorFacts.from_head(head))
    prepared.answered.inc()
    return ready


@lru_cache(maxsize=1024)
def _is_allowed_host(host: bytes) -> bool:
    """Django's own check (HttpRequest.get_host); a refused host is answered by Django."""
    domain, _port = split_domain_port(host.decode("latin-1"))
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _prepare(read: PublicRead, entry: Entry) -> Prepared:
    found = _found(entry, "hit-l1")
    answer = read.answer(found)
    answered = metrics.front_door_answers.labels(read.reads.namespace, str(answer.status))
    prepared = Prepared(answer, _ready(answer), found, read.expires_at(found), answered)
    entry.prepared[id(read)] = prepared
    return prepared


def _found(entry: Entry, source: Source) -> Found:
    age = time.time() - entry.read_at
    return Found(entry.value, entry.version, age, "stale" if entry.is_stale else source)


def _ready(answer: Answer) -> Ready:
    length: Headers = () if answer.status == 304 else (("Content-Length", str(len(answer.body))),)
    given = {name.lower() for name, _ in answer.headers}
    common = tuple(pair for pair in SECURITY_HEADERS if pair[0].lower() not in given)
    return Ready(answer.status, _lines((*answer.headers, *common, *length)) + b"\r\n", answer.body)


def _lines(headers: Headers) -> bytes:
    """Encode headers as lines. Raises ValueError for a line break in one: what uvicorn checks for all others."""
    if any(_CONTROL.search(name + value) for name, value in headers):
        raise ValueError("a header with a control character")
    return "".join(f"{name.lower()}: {value}\r\n" for name, value in headers).encode("latin-1")
