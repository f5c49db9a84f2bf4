"""The edge: what a client may send, and how slowly, before any of our code sees it.

Under the uvicorn worker gunicorn's request limits do not act, so the protocol class bounds the request head in bytes,
fields and seconds, and drops or refuses what Django's lane would misread. `read_body` bounds the body.
"""

import asyncio
import http
from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import httptools
import msgspec
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn_worker import UvicornWorker

from linklayer.errors import LinkLayerError, TooLarge

logger = structlog.get_logger(__name__)

REQUEST_LINE_BYTES = 8 * 1024
HEADER_FIELDS = 100
HEADER_BYTES = 32 * 1024
MESSAGE_BYTES = 4 * 1024 * 1024  # with chunk sizes and trailers, which no limit on the body counts
HEAD_SECONDS = 10.0
BODY_SECONDS = 10.0
UNREAD_SECONDS = 30.0  # a client that takes nothing of its answer for so long is gone: it would keep a thread
TOGETHER_BYTES = 256 * 1024  # thousands of requests in one packet must not gather thousands of pages
CONNECTIONS = 10_000  # per process; idle ones included


class RequestTimeout(LinkLayerError):
    status, kind, title = 408, "request-timeout", "The body came too slowly"


class Ready(msgspec.Struct):
    """A whole answer: `headers` for ASGI, `head` the same as lines of HTTP/1.1, each with its CRLF."""

    status: int
    headers: list[tuple[bytes, bytes]]
    head: bytes
    body: bytes


class WriteTogether:
    """Makes the writes of one turn of the event loop one after the other, at its end.

    A write wakes the client it goes to. Made one by one, between other work, each of them wakes the load balancer anew,
    which costs more than the write itself (measured: 36 against 49 thousand redirects a second with two workers).
    """

    _by_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "WriteTogether"]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []
        self._waiting_bytes = 0

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "WriteTogether":
        return cls._by_loop.setdefault(loop, cls(loop))

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append((transport, data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > TOGETHER_BYTES:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with limits on the request head; a refusal closes the connection.

    What the application can answer at once (its `answer_now`) is written from the parser's callback: a task, an event
    and two messages per redirect would cost more than everything else about it.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._answer_now: Callable[[Any], Ready | None] | None = getattr(self.app, "answer_now", None)
        self._together = WriteTogether.of(self.loop)
        self._is_answered = False
        self._in_head = False
        self._message_bytes = 0
        self._field_bytes = 0
        self._refusal: int | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        if len(self.connections) > CONNECTIONS:
            transport.close()
            return
        self._arm_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm_head_timer()
        self._disarm_unread_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._message_bytes += len(data)  # on_message_begin sets it to zero: the packet that begins one is not counted
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._message_bytes > HEADER_BYTES + REQUEST_LINE_BYTES:
            self._refusal = 431
            self.send_400_response("")
        elif self._message_bytes > MESSAGE_BYTES:
            self._refusal = 413
            self.send_400_response("")
        elif self._head_timer is None and (self._in_head or self._is_idle_without_timer()):
            self._arm_head_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._disarm_unread_timer()
        super().resume_writing()

    def eof_received(self) -> None:
        self._together.flush()  # the transport closes itself after this

    def shutdown(self) -> None:
        self._together.flush()
        super().shutdown()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_answered = False
        self._in_head = True
        self._message_bytes = 0
        self._field_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > REQUEST_LINE_BYTES:
            self._refuse(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > HEADER_BYTES or len(self.headers) >= HEADER_FIELDS:
            self._refuse(431)
        # A trailer is no header: it would get past the proxy as one. WSGI would merge X_Forwarded_For into
        # X-Forwarded-For.
        if self._in_head and b"_" not in name:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._disarm_head_timer()
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 or not self.url.startswith((b"/", b"*")):
            self._refuse(400)
        if self._answer_now is not None and self._may_answer_now():
            self._is_answered = self._is_answered_by(self._answer_now)
        if not self._is_answered:
            self._unset_keepalive_if_required()  # of an answer before it in the same packet
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_answered:
            super().on_message_complete()

    def _may_answer_now(self) -> bool:
        """Only in turn, only to a client that reads, and only where nothing about the connection is special."""
        parser = self.parser
        return (
            self._is_free()
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        )

    def _is_free(self) -> bool:
        """Tell whether all requests so far are answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _is_in_turn(self) -> bool:
        """Tell whether what is written now answers the request that is being read."""
        cycle: RequestResponseCycle | None = self.cycle
        is_first = cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline
        return is_first or self._is_free()

    def _is_idle_without_timer(self) -> bool:
        """Tell whether nothing would end this connection: an empty line stops the keep-alive timer, begins no head."""
        return self._is_free() and self.timeout_keep_alive_task is None

    def _is_answered_by(self, answer_now: Callable[[Any], Ready | None]) -> bool:
        target = httptools.parse_url(self.url)
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["raw_path"] = target.path
        self.scope["path"] = target.path.decode("ascii")  # with a "%" in it, it is not answered now
        self.scope["query_string"] = target.query or b""
        try:
            ready = answer_now(self.scope)
        except Exception:
            logger.exception("answer_now_failed", path=self.scope["path"])
            return False
        if ready is None:
            return False
        parts = [STATUS_LINE[ready.status]]
        parts += [b"%s: %s\r\n" % pair for pair in self.server_state.default_headers]  # the date
        parts += [ready.head, b"\r\n"]
        if self.scope["method"] != "HEAD":
            parts.append(ready.body)
        self._together.write(self.transport, b"".join(parts))
        self.on_response_complete()
        return True

    def send_400_response(self, msg: str) -> None:
        self._together.flush()
        status = http.HTTPStatus(self._refusal or 400)
        if self.transport.is_closing():
            return
        if not self._is_in_turn():  # the client would take it for the answer to an earlier request
            self.transport.close()
            return
        body = b'{"type":"about:blank","title":"%s","status":%d}' % (status.phrase.encode(), status)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (status, status.phrase.encode(), len(body), body)
        )
        self.transport.close()

    def _refuse(self, status: int) -> None:
        self._refusal = status
        raise httptools.HttpParserError(http.HTTPStatus(status).phrase)

    def _arm_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_too_slow)

    def _disarm_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _disarm_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _head_too_slow(self) -> None:
        self._refusal = 408
        self.send_400_response("")


class EdgeWorker(UvicornWorker):  # type: ignore[misc] # uvicorn-worker ships no types
    """gunicorn's worker class for the web process."""

    CONFIG_KWARGS = {
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "on",
        "proxy_headers": False,  # one function of ours decides the client address
        "server_header": False,
        "access_log": False,
    }


async def read_body(scope: dict[str, Any], receive: Any, limit: int) -> bytes:
    """Read the whole body before a thread is spent on it.

    limit: bytes. Raises TooLarge (before reading, if Content-Length says so) and RequestTimeout after 10 s.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise TooLarge(f"at most {limit} bytes are accepted here")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(receive, limit)
    except TimeoutError:
        raise RequestTimeout from None


async def _read(receive: Any, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message["body"])
        if size > limit:
            raise TooLarge(f"at most {limit} bytes are accepted here")
        chunks.append(message["body"])
        if not message.get("more_body", False):
            return b"".join(chunks)


class ClientGone(Exception):
    """The client closed the connection before its body was complete."""
