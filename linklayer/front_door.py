"""The front door: answers public reads that the cache holds, in the event loop; hands everything else to Django.

It decides nothing about content: the answer was prepared by the app's public read, from which Django's view builds its
own. What it does not understand goes to Django. It never blocks: no ORM, no django-redis, no DNS.
"""

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import msgspec
import structlog
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from prometheus_client import Counter

from linklayer import metrics, registries, warming
from linklayer.cache import STALE_WAIT_SECONDS, CachedReads, Found, Source
from linklayer.encodings import Encoding, chosen_encoding
from linklayer.errors import Unavailable
from linklayer.exchange import Head, Ready, head_of
from linklayer.lane import send_problem
from linklayer.loop_reads import Looked, LoopReads
from linklayer.parking import NOT_ANSWERED, Parking
from linklayer.public_reads import (
    SECURITY_HEADERS,
    Answer,
    Headers,
    PublicRead,
    cache_headers,
    conditional,
    encoded,
    is_negotiable,
    negotiable,
)
from linklayer.tier1 import Entry, tier1
from linklayer.turn import turn_here
from linklayer.visitor import VisitorFacts

logger = structlog.get_logger(__name__)

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
SAFE_METHODS = frozenset({b"GET", b"HEAD"})
HOST_BYTES = 255  # a DNS name has no more; longer ones are not worth remembering
# A larger body takes more than a millisecond to encode, and all other visitors would wait for it: a thread does it.
LOOP_BYTES = 128 * 1024
PENDING = Ready(0, b"", b"", b"")
LOOKED_UP = "linklayer.looked_up"  # in the scope, once it was looked at: the Missed, None if it is Django's anyway
NOT_OURS = frozenset({b"authorization", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


class Prepared(msgspec.Struct, gc=False):
    """What is made once per cached entry and public read: the answer, ready to be sent, its end and its counter.

    answer: without headers and body where nothing more depends on them (every redirect). variants: the answer by
    encoding, each made when first asked for; None for one that a thread is making. None in place of the dict: the
    answer has one form, whatever the client accepts.
    """

    read: PublicRead | None
    answer: Answer
    ready: Ready
    found: Found
    expires_at: float | None
    answered: Counter
    variants: dict[Encoding, Ready | None] | None


class Missed(msgspec.Struct):
    """What tier 2 did not hold fresh: whose page, the key to load, what may be served meanwhile."""

    read: PublicRead
    full_key: str
    stale: Entry | None
    is_cold: bool


class Lookup(msgspec.Struct):
    """One request while tier 2 is asked: for a page's key, or first for the name that leads to it."""

    scope: dict[str, Any]
    head: Head
    deliver: Callable[[Ready | None], object]
    read: PublicRead
    reads: CachedReads
    key: str


class FrontDoor:
    """The ASGI application of the web process."""

    def __init__(self, lane: Any) -> None:
        self._lane = lane
        self._reads: list[PublicRead] = registries.load(settings.PUBLIC_READS)
        self._loop_reads = LoopReads()
        self._parking = Parking(lane)

    def answer_now(self, head: Head) -> Ready | None:
        """Return the answer if tier 1 holds it: what the edge sends without a task, an event or a wait."""
        if head.method not in SAFE_METHODS or b"%" in head.path:
            return None
        path = head.path.decode("latin-1")
        for read in self._reads:
            entry = read.peek(path)
            if entry is not None:
                return _answer(head, read, entry, "hit-l1")
        return self._absent(head)

    def answer_soon(self, scope: dict[str, Any], deliver: Callable[[Ready | None], object]) -> bool:
        """Look in tier 2; deliver, now or soon, the answer made of what it holds, or None if the request is Django's.

        Returns False, and delivers nothing, if there is nothing to look up.
        """
        head = head_of(scope)
        looked_for = self._looked_for(head)
        if looked_for is None or not _is_ours(head.headers):
            scope[LOOKED_UP] = None
            return False
        self._look(Lookup(scope, head, deliver, *looked_for))
        return True

    def _look(self, lookup: Lookup) -> None:
        entry = lookup.reads.peek(lookup.key)
        if entry is not None:
            self._looked(lookup, "hit-l1", Looked(entry, None, is_cold=False))
        else:
            self._loop_reads.look(lookup.reads, lookup.key, partial(self._looked, lookup, "hit-l2"))

    def _looked(self, lookup: Lookup, source: Source, looked: Looked) -> None:
        try:
            ready = self._made_of(lookup, source, looked)
        except Exception:  # whoever waits is answered, by Django, whatever went wrong here
            logger.exception("answer_soon_failed", path=lookup.head.path)
            ready = None
        if ready is not PENDING:
            lookup.deliver(ready)

    def _made_of(self, lookup: Lookup, source: Source, looked: Looked) -> Ready | None:
        """Return the answer, None if it is Django's, PENDING if more has to be looked up."""
        read, entry = lookup.read, looked.entry
        if entry is not None and lookup.reads is not read.reads:  # it was a name: now the key is known
            lookup.reads, lookup.key = read.reads, entry.value
            self._look(lookup)
            return PENDING
        ready = self._absent(lookup.head) if entry is None else _answer(lookup.head, read, entry, source)
        if ready is None:
            is_old_name = looked.stale is not None and lookup.reads is not read.reads  # Django serves it at once
            is_cold = looked.is_cold and not is_old_name
            lookup.scope[LOOKED_UP] = Missed(read, lookup.reads.full_key(lookup.key), looked.stale, is_cold)
        return ready

    def refused(self, reason: str) -> None:
        """Count what the edge has refused: a status ("431"), or "full" for a connection too many.

        The edge itself is loaded by gunicorn's master, which must not count.
        """
        metrics.edge_refused.labels(reason).inc()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _serve(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer from tier 1 or 2, else through Django; of equal requests that need a load one enters it."""
        if LOOKED_UP not in scope:
            soon: asyncio.Future[Ready | None] = asyncio.get_running_loop().create_future()

            def deliver(ready: Ready | None) -> None:
                if not soon.done():  # the visitor may have left
                    soon.set_result(ready)

            if self.answer_soon(scope, deliver):
                ready = await soon
                if ready is not None:
                    await _send(ready, send)
                    return
        missed: Missed | None = scope.get(LOOKED_UP)
        if missed is not None and missed.is_cold:
            await self._load(missed, scope, receive, send)
        else:
            await self._lane(scope, receive, send)

    async def _load(self, missed: Missed, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Let Django load, or wait for the request that does, and be answered by what it loaded.

        With a stale copy nobody waits long, nor for nothing. Without, where the load fails or takes longer than it may,
        a second try would not fare better: 503.
        """
        wait_seconds = STALE_WAIT_SECONDS if missed.stale else missed.read.reads.lifetime.deadline_seconds
        until = asyncio.get_running_loop().time() + wait_seconds
        while (status := await self._parking.ended(missed.full_key, until)) is not None:
            head = head_of(scope)
            ready = self.answer_now(head)
            if ready is None and missed.stale is not None:
                ready = _answer(head, missed.read, missed.stale, "hit-l2")
            if ready is not None:
                await _send(ready, send)
                return
            if status >= 500:
                metrics.parked_refused.inc()
                await send_problem(send, Unavailable("still being loaded"))
                return
            if status != NOT_ANSWERED:
                await self._lane(scope, receive, send)
                return
        await self._parking.load(missed.full_key, scope, receive, send)

    def _looked_for(self, head: Head) -> tuple[PublicRead, CachedReads, str] | None:
        """Return whose page is asked for, and what to look up first: its key, or its name if tier 1 knows no more."""
        if head.method not in SAFE_METHODS or b"%" in head.path:
            return None
        path = head.path.decode("latin-1")
        for read in self._reads:
            key = read.key(path)
            if key is not None:
                return read, read.reads, key
            named = read.name(path)
            if named is not None:
                return read, *named
        return None

    def _absent(self, head: Head) -> Ready | None:
        """Return the answer to a path of which this process knows that nothing is there."""
        if head.method not in SAFE_METHODS or b"%" in head.path:
            return None
        path = head.path.decode("latin-1")
        for read in self._reads:
            answer = read.absent(path)
            if answer is not None and _is_ours(head.headers):
                prepared = _prepared_absent(read.reads.namespace, answer)
                prepared.answered.inc()
                return _in_wanted_encoding(prepared, head)
        return None

    async def _live(self, receive: Any, send: Any) -> None:
        """The lifespan: tier 1 listens for as long as the process serves."""
        await receive()
        tier1.start(on_data_lost=warming.begin)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        tier1.stop()
        await self._loop_reads.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _send(ready: Ready, send: Any) -> None:
    turn = turn_here()
    if turn is not None:
        turn.end()  # the click is kept before the answer to it leaves
    await send({"type": "http.response.start", "status": ready.status, "headers": ready.headers()})
    await send({"type": "http.response.body", "body": ready.body})


def _is_ours(headers: dict[bytes, bytes]) -> bool:
    """Tell whether no header makes the request Django's."""
    host = headers.get(b"host", b"")
    return NOT_OURS.isdisjoint(headers) and len(host) <= HOST_BYTES and _is_allowed_host(host)


def _answer(head: Head, read: PublicRead, entry: Entry, source: Source) -> Ready | None:
    """Return the answer made of the entry, recorded; None if the request or the moment makes it Django's."""
    headers = head.headers
    if not _is_ours(headers):
        return None
    prepared: Prepared
    for prepared in entry.prepared:
        if prepared.read is read:
            break
    else:
        prepared = _prepare(read, entry)
    if prepared.expires_at is not None and prepared.expires_at <= time.time():
        return None
    found, answer, ready = prepared.found, prepared.answer, prepared.ready
    if b"if-none-match" in headers:
        answer = conditional(answer, headers[b"if-none-match"].decode("latin-1"))
        ready = ready if answer is prepared.answer else _ready(answer)
    if prepared.variants is not None and answer is prepared.answer:
        variant = _in_wanted_encoding(prepared, head)
        if variant is None:
            return None
        ready = variant
    if read.shows_cache:
        found = _found(entry, source)
        ready = Ready(ready.status, _lines(cache_headers(found)) + ready.own_head, ready.shared_head, ready.body)
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
    prepared = _prepared(read, read.reads.namespace, read.answer(found), found, read.expires_at(found))
    entry.prepared = (*entry.prepared, prepared)
    return prepared


def _prepared(
    read: PublicRead | None, namespace: str, plain: Answer, found: Found, expires_at: float | None
) -> Prepared:
    answer = negotiable(plain)
    answered = metrics.front_door_answers.labels(namespace, str(answer.status))
    variants: dict[Encoding, Ready | None] | None = {} if is_negotiable(answer) else None
    depends_on_more = variants is not None or answer.header("ETag") is not None
    kept = answer if depends_on_more else _bare(answer.status)
    return Prepared(read, kept, _ready(answer), found, expires_at, answered, variants)


@lru_cache(maxsize=16)  # the statuses that we answer with
def _bare(status: int) -> Answer:
    return Answer(status, ())


@lru_cache(maxsize=16)  # a page for each kind of read
def _prepared_absent(namespace: str, answer: Answer) -> Prepared:
    return _prepared(None, namespace, answer, Found(None, 0, 0.0, "miss"), None)


def _in_wanted_encoding(prepared: Prepared, head: Head) -> Ready | None:
    """Return the answer in the encoding that the client prefers; None while it must come from Django."""
    variants = prepared.variants
    encoding = chosen_encoding(head.headers.get(b"accept-encoding", b"").decode("latin-1"))
    if variants is None or encoding is None:
        return prepared.ready
    if encoding not in variants:
        if len(prepared.answer.body) > LOOP_BYTES:
            variants[encoding] = None
            _encoder.submit(_make_variant, prepared.answer, variants, encoding)
        else:
            _make_variant(prepared.answer, variants, encoding)
    return variants[encoding]


def _make_variant(answer: Answer, variants: dict[Encoding, Ready | None], encoding: Encoding) -> None:
    variants[encoding] = _ready(encoded(answer, encoding))


_encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")


def _found(entry: Entry, source: Source) -> Found:
    age = time.time() - entry.read_at
    return Found(entry.value, entry.version, age, "stale" if entry.is_stale else source)


def _ready(answer: Answer) -> Ready:
    length: Headers = () if answer.status == 304 else (("Content-Length", str(len(answer.body))),)
    given = frozenset(name.lower() for name, _ in answer.headers)
    own, rest = answer.headers[:1], answer.headers[1:]
    return Ready(answer.status, _lines(own), _shared_head((*rest, *length), given), answer.body)


@lru_cache(maxsize=1024)
def _shared_head(headers: Headers, given: frozenset[str]) -> bytes:
    """Return the end of a head: these headers and the security headers that are not given already.

    A hundred thousand redirects differ in their first header only, the Location.
    """
    common = tuple(pair for pair in SECURITY_HEADERS if pair[0].lower() not in given)
    return _lines((*headers, *common)) + b"\r\n"


def _lines(headers: Headers) -> bytes:
    """Encode headers as lines. Raises ValueError for a line break in one: what uvicorn checks for all others."""
    if any(_CONTROL.search(name + value) for name, value in headers):
        raise ValueError("a header with a control character")
    return "".join(f"{name.lower()}: {value}\r\n" for name, value in headers).encode("latin-1")
