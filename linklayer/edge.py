"""The edge: what a client may send, and how slowly, before any of our code sees it.

Under the uvicorn worker gunicorn's request limits do not act, so the protocol class bounds the request head in bytes,
fields and seconds, and drops or refuses what Django's lane would misread. `bodies.py` bounds the body.
"""

import asyncio
import http
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import httptools
import structlog
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from linklayer.exchange import Head, Ready
from linklayer.turn import turn_of

logger = structlog.get_logger(__name__)

REQUEST_LINE_BYTES = 8 * 1024
HEADER_FIELDS = 100
HEADER_BYTES = 32 * 1024
MESSAGE_BYTES = 4 * 1024 * 1024  # with chunk sizes and trailers, which no limit on the body counts
HEAD_SECONDS = 10.0
UNREAD_SECONDS = 30.0  # a client that takes nothing of its answer for so long is gone: it would keep a thread
PARSED_BYTES = 4 * 1024  # at a time: what waits for its turn waits as bytes, a parsed request takes 50 times as much
CONNECTIONS = 10_000  # per process, idle ones included; fewer where the system allows fewer files
LINGER_SECONDS = 2.0  # for a request that was sent before its client could know that we end


class HeldFlow(FlowControl):
    """uvicorn's flow control; held, it does not resume reading, as uvicorn would for the body of each request."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with limits on the request head; a refusal closes the connection.

    What the application can answer at once (its `answer_now`) is written from the parser's callback: a task, an event
    and two messages per redirect would cost more than everything else about it. For the same reason a connection has
    one timer, which looks from time to time, and no request sets one of its own.
    """

    flow: HeldFlow
    most_connections: ClassVar[int] = CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._answer_now: Callable[[Head], Ready | None] | None = getattr(self.app, "answer_now", None)
        self._answer_soon: Callable[..., bool] = getattr(self.app, "answer_soon", _never)
        self._tell_refused: Callable[[str], object] = getattr(self.app, "refused", _never)
        self._turn = turn_of(self.loop)
        self._peer = self.client[0] if self.client else ""
        self._is_answered = False
        self.flow = HeldFlow(transport)
        self._unparsed = b""
        self._goes_on_soon = self._is_going_on = False
        self._is_ended = False
        self._is_draining = False
        self._closing_cycle: RequestResponseCycle | None = None
        self._in_head = False
        self._message_bytes = self._field_bytes = 0
        self._refusal: int | None = None
        self._quiet_since = self.loop.time()
        self._head_since: float | None = self._quiet_since
        self._unread_timer: asyncio.TimerHandle | None = None
        self._watch_timer: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most_connections:
            self._tell_refused("full")
            transport.close()
            return
        self._watch_again()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch_timer is not None:
            self._watch_timer.cancel()
        self._disarm_unread_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, but nothing behind a request that waits for its turn, and a piece in each turn of the loop:
        what one client sends at once, megabytes of requests if it likes, would keep all others waiting for seconds."""
        if len(data) <= PARSED_BYTES and not self.pipeline and not self._unparsed:
            self._parse(data)
            return
        self._hold(self._unparsed + data)
        self._parse_next()

    def _hold(self, data: bytes) -> None:
        self._unparsed = data
        if data:
            self.flow.pause_reading()
            self.flow.is_held = True

    def _parse_next(self) -> None:
        """Parse the next piece of what is held, and in the next turn of the loop the one after it."""
        self._goes_on_soon = False
        if self.pipeline or not self._unparsed or self.transport.is_closing():
            return
        piece, self._unparsed = self._unparsed[:PARSED_BYTES], self._unparsed[PARSED_BYTES:]
        if not self._unparsed:
            self.flow.is_held = False
            self.flow.resume_reading()
        self._parse(piece)
        self._parse_next_soon()

    def _parse_next_soon(self) -> None:
        if self._unparsed and not self.pipeline and not self._goes_on_soon:
            self._goes_on_soon = True
            self.loop.call_soon(self._parse_next)

    def _parse(self, data: bytes) -> None:
        self._message_bytes += len(data)  # on_message_begin sets it to zero: the piece that begins one is not counted
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade as upgrade:
            # We do not upgrade (RFC 9110, section 7.8): what comes behind such a request is the next one.
            self._hold(data[upgrade.args[0] :] + self._unparsed)
            self._parse_next_soon()
        if self._is_draining:
            self._close_after_newest()
        if self.transport.is_closing():
            return
        if self._in_head:
            if self._head_since is None:
                self._head_since = self.loop.time()
            if self._message_bytes > HEADER_BYTES + REQUEST_LINE_BYTES:
                self._refuse_now(431)
        elif self._message_bytes > MESSAGE_BYTES:
            self._refuse_now(413)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._disarm_unread_timer()
        super().resume_writing()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn's gives up, asyncio's may keep the connection
        """The client says no more. Returns whether answers are still due; if not, the transport closes itself."""
        self._turn.end()
        self._is_ended = True
        return not self._is_free() and not self.cycle.more_body

    # --- ending

    def shutdown(self) -> None:
        """Close after the answer to what was asked; where nothing was, a moment later: a request may be on its way."""
        self._turn.end()
        self._is_draining = True
        lingering = min(LINGER_SECONDS, (self.config.timeout_graceful_shutdown or 60) / 4)
        self.timeout_keep_alive = lingering  # type: ignore[assignment] # uvicorn says int, and gives it to the loop
        self._quiet_since = self.loop.time()
        if not self._in_head:
            self._head_since = None  # nor is a first head waited for any more
        self._close_after_newest()
        if self._watch_timer is not None:
            self._watch_timer.cancel()
            self._watch_again()

    def _close_after_newest(self) -> None:
        """Let the answer to the newest request say `connection: close`, and none before it: all of a packet count.

        An answer that has begun has said already that the connection stays open.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle is self._closing_cycle or cycle.response_started or not cycle.keep_alive:
            return
        if self._closing_cycle is not None and not self._closing_cycle.response_started:
            self._closing_cycle.keep_alive = True
        cycle.keep_alive = False
        self._closing_cycle = cycle

    # --- the parser's callbacks

    def on_message_begin(self) -> None:
        """Begin a message; its scope is made when Django is to answer it (`_begin_cycle`)."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._is_answered = False
        self._in_head = True
        self._message_bytes = self._field_bytes = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > REQUEST_LINE_BYTES:
            self._refuse(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self.headers
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > HEADER_BYTES or len(headers) >= HEADER_FIELDS:
            self._refuse(431)
        # A trailer is no header: it would get past the proxy as one. WSGI would merge X_Forwarded_For into
        # X-Forwarded-For.
        if self._in_head and b"_" not in name:
            headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_since = None
        headers = self.headers
        by_name = dict(headers)
        is_repeated = len(by_name) < len(headers)
        if b"host" not in by_name or (is_repeated and [name for name, _ in headers].count(b"host") > 1):
            self._refuse(400)
        if not self.url.startswith((b"/", b"*")):
            self._refuse(400)
        if not is_repeated and self._answer_now is not None and self._may_answer_now():
            self._is_answered = self._is_answered_by(self._answer_now, by_name)
        if not self._is_answered:
            self._begin_cycle(by_name)

    def on_body(self, body: bytes) -> None:
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_answered:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request; uvicorn's own would set a timer for each answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._quiet_since = self.loop.time()
        self.flow.resume_reading()
        if self._is_going_on:  # below us on the stack: a hundred answers must not take a hundred times its depth
            return
        self._is_going_on, is_answered = True, True
        while self.pipeline and is_answered:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            is_answered = cycle.response_complete
        self._is_going_on = False
        if self._is_ended and self._is_free():
            self._turn.end()
            self.transport.close()
        else:
            self._parse_next_soon()

    # --- answering

    def _may_answer_now(self) -> bool:
        """Only in turn, only to a client that reads, and only where nothing about the connection is special."""
        cycle: RequestResponseCycle | None = self.cycle
        parser = self.parser
        return (
            (cycle is None or cycle.response_complete)
            and not self._is_draining
            and not self.flow.write_paused
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
            and not self.transport.is_closing()
            and b"#" not in self.url
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

    def _is_answered_by(self, answer_now: Callable[[Head], Ready | None], headers: dict[bytes, bytes]) -> bool:
        path, _, query = self.url.partition(b"?")
        method = self.parser.get_method()
        try:
            ready = answer_now(Head(method, path, query, headers, self._peer))
        except Exception:
            logger.exception("answer_now_failed", path=path)
            return False
        if ready is None:
            return False
        self._write(ready, method)
        self.server_state.total_requests += 1
        self._quiet_since = self.loop.time()
        return True

    def _write(self, ready: Ready, method: bytes, *more_lines: bytes) -> None:
        common = _common_lines.of(self.server_state.default_headers)
        body = b"" if method == b"HEAD" else ready.body
        parts = (STATUS_LINE[ready.status], common, *more_lines, ready.own_head, ready.shared_head, body)
        self._turn.write(self.transport, b"".join(parts))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Let tier 2 answer where it can, without a task and messages too; else go on as uvicorn does.

        Behind an answer that closes nothing is begun: it would count as a click, and nobody would be answered.
        """
        if self.transport.is_closing():
            return
        if not self._may_answer_soon() or not self._answer_soon(cycle.scope, partial(self._deliver, cycle, app)):
            super()._start_asgi_task(cycle, app)

    def _may_answer_soon(self) -> bool:
        """Only to a client that reads; and while we end, which answer is the last is not known until all are parsed."""
        return not self.flow.write_paused and not self._is_draining

    def _deliver(self, cycle: RequestResponseCycle, app: Any, ready: Ready | None) -> None:
        if cycle.disconnected:
            return
        if ready is None:
            super()._start_asgi_task(cycle, app)
            return
        cycle.response_started = cycle.response_complete = True
        method = cycle.scope["method"].encode("ascii")
        if cycle.keep_alive:
            self._write(ready, method)
            self.on_response_complete()
        else:
            self._write(ready, method, b"connection: close\r\n")
            self._turn.end()
            self.transport.close()

    def _begin_cycle(self, headers: dict[bytes, bytes]) -> None:
        """Hand the request to the application, as uvicorn does: with the scope that on_message_begin did not make."""
        if self.parser.should_upgrade() and (
            headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        ):
            self._refuse(400)  # the parser would take the body for the next request
        url, pairs = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += pairs
        self.expect_100_continue = headers.get(b"expect", b"").lower() == b"100-continue"
        super().on_headers_complete()

    # --- refusing

    def send_400_response(self, msg: str) -> None:
        self._turn.end()
        status = http.HTTPStatus(self._refusal or 400)
        if self.transport.is_closing():
            return
        self._tell_refused(str(status.value))
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
        """End the parsing: the parser's caller answers with the status."""
        self._refusal = status
        raise httptools.HttpParserError(http.HTTPStatus(status).phrase)

    def _refuse_now(self, status: int) -> None:
        self._refusal = status
        self.send_400_response("")

    # --- waiting

    def _watch(self) -> None:
        """End a connection whose head comes too slowly, or that nobody uses; look again when the next could be due."""
        now = self.loop.time()
        if self.transport.is_closing():  # and still open: the client does not take the rest of what it asked for
            self._watch_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)
            return
        if self.flow.read_paused:  # it is we who do not read: what the client has sent may wait here
            self._head_since = None if self._head_since is None else now
            left = HEAD_SECONDS
        elif self._head_since is not None:
            left = self._head_since + HEAD_SECONDS - now
            if left <= 0:
                self._refuse_now(408)
                left = HEAD_SECONDS
        elif self._is_free():
            left = self._quiet_since + self.timeout_keep_alive - now
            if left <= 0:
                self.transport.close()
                left = HEAD_SECONDS
        else:
            left = HEAD_SECONDS
        self._watch_again(left)

    def _watch_again(self, left: float = HEAD_SECONDS) -> None:
        """left: seconds until what is waited for now is due; what comes next may be due sooner."""
        self._watch_timer = self.loop.call_later(min(left, HEAD_SECONDS, self.timeout_keep_alive), self._watch)

    def _disarm_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None


def _never(*_: object) -> bool:
    return False


class CommonLines:
    """The headers that uvicorn gives every answer (the date) as lines of HTTP/1.1: made anew with each new list."""

    def __init__(self) -> None:
        self._pairs: list[tuple[bytes, bytes]] = []
        self._lines = b""

    def of(self, pairs: list[tuple[bytes, bytes]]) -> bytes:
        if pairs is not self._pairs:
            self._pairs, self._lines = pairs, b"".join(b"%s: %s\r\n" % pair for pair in pairs)
        return self._lines


_common_lines = CommonLines()
