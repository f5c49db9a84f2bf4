"""The edge against a real uvicorn server and raw sockets: what is refused, and how early."""

import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvicorn

from linklayer import bodies, edge
from linklayer.edge import BoundedProtocol
from linklayer.exchange import Head, Ready
from linklayer.lane import DjangoLane

LIMIT = 64 * 1024


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """A WSGI application that shows what reached it."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    seen = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    shown = {"path": environ["PATH_INFO"], "headers": seen, "body_bytes": len(body)}
    answer = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


class EchoWithHits(DjangoLane):
    """Answers `/hit...` at once, with its path, as the front door does from tier 1; echoes the rest."""

    def answer_now(self, head: Head) -> Ready | None:
        path = head.path
        if path == b"/hit-raises":
            raise ValueError(path)
        if not path.startswith(b"/hit"):
            return None
        return Ready(200, b"content-length: %d\r\n" % len(path), b"\r\n", path)


@contextmanager
def served(app: Any, **options: Any) -> Iterator[int]:
    config = uvicorn.Config(
        app, port=0, http=BoundedProtocol, lifespan="off", log_config=None, proxy_headers=False, **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served(EchoWithHits(echo, threads=4)) as port:
        yield port


def exchange(port: int, sent: bytes) -> tuple[int, bytes]:
    """Send bytes, read to the end; returns the status and the body. A refusal may cut the sending short."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        received = b""
        with suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


def request(*lines: str, target: str = "/", method: str = "GET", body: bytes = b"") -> bytes:
    head = "\r\n".join([f"{method} {target} HTTP/1.1", "Connection: close", *lines])
    return head.encode() + b"\r\n\r\n" + body


def test_an_ordinary_request_passes(port: int) -> None:
    assert exchange(port, request("Host: localhost"))[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(), 400),
        (request("Host: a", "Host: b"), 400),
        (request("Host: a", target="http://evil.example/"), 400),
        (request("Host: a", target="/" + "x" * 9000), 414),
        (request("Host: a", *[f"X-{number}: v" for number in range(101)]), 431),
        (request("Host: a", "X-Long: " + "x" * 33_000), 431),
        (request("Host: a", "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
        (b"NONSENSE\r\n\r\n", 400),
    ],
    ids=["no host", "two hosts", "absolute URI", "long line", "many fields", "long field", "two lengths", "nonsense"],
)
def test_a_malformed_head_is_refused(port: int, sent: bytes, status: int) -> None:
    assert exchange(port, sent)[0] == status


def test_each_refusal_is_told_to_the_application() -> None:
    """Which counts it."""
    told: list[str] = []
    app = EchoWithHits(echo, threads=1)
    app.refused = told.append  # type: ignore[attr-defined] # as the front door has it
    with served(app) as port:
        exchange(port, request("Host: a", target="/" + "x" * 9000))
        exchange(port, request())
    assert told == ["414", "400"]


def test_a_header_of_100_megabytes_is_cut_off_early(port: int) -> None:
    """The server closes after some tens of kilobytes: the rest cannot be sent."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Huge: ")
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 100_000_000:
                connection.sendall(b"x" * 65536)
                sent += 65536
    assert sent < 20_000_000


def test_fifty_thousand_fields_are_refused(port: int) -> None:
    assert exchange(port, request("Host: a", *["X: y"] * 50_000))[0] in {0, 431}


def test_names_with_underscores_do_not_reach_django(port: int) -> None:
    _, body = exchange(port, request("Host: a", "X_Forwarded_For: 6.6.6.6", "X-Forwarded-For: 1.2.3.4"))
    assert json.loads(body)["headers"]["HTTP_X_FORWARDED_FOR"] == "1.2.3.4"


def test_cookie_lines_are_joined_as_cookies(port: int) -> None:
    _, body = exchange(port, request("Host: a", "Cookie: a=1", "Cookie: b=2"))
    assert json.loads(body)["headers"]["HTTP_COOKIE"] == "a=1; b=2"


def test_a_chunked_body_arrives_whole(port: int) -> None:
    chunks = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    _, body = exchange(port, request("Host: a", "Transfer-Encoding: chunked", method="POST", body=chunks))
    assert json.loads(body)["body_bytes"] == 11


def test_a_body_over_the_limit_is_refused_before_it_is_read(port: int) -> None:
    assert exchange(port, request("Host: a", f"Content-Length: {LIMIT + 1}", method="POST"))[0] == 413


def test_a_chunked_body_is_refused_at_the_limit(port: int) -> None:
    chunks = b"10000\r\n" + b"x" * 65536 + b"\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n"
    assert exchange(port, request("Host: a", "Transfer-Encoding: chunked", method="POST", body=chunks))[0] == 413


def test_a_half_sent_head_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "HEAD_SECONDS", 0.2)
    assert exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")[0] == 408


def test_a_half_sent_body_is_answered_and_holds_no_thread(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(20)]
    for connection in slow:
        connection.sendall(request("Host: a", "Content-Length: 10", method="POST", body=b"half"))
    assert exchange(port, request("Host: a"))[0] == 200
    assert all(b" 408 " in connection.recv(200).split(b"\r\n")[0] for connection in slow)
    for connection in slow:
        connection.close()


def test_a_full_lane_answers_503_at_once() -> None:
    """Two threads and twenty places, all taken by requests that wait: the next one is refused."""
    gate = threading.Event()

    def slow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        gate.wait(10)
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    lane = DjangoLane(slow, threads=2)
    with served(lane) as port:
        waiting = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(22)]
        for connection in waiting:
            connection.sendall(request("Host: a"))
        give_up_at = time.monotonic() + 10
        while lane._places > 0:
            assert time.monotonic() < give_up_at, "not all requests have arrived"
            time.sleep(0.01)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request("Host: a"))
            refused = connection.recv(4096)
        gate.set()
        answered = [connection.recv(4096).split(b"\r\n")[0] for connection in waiting]
        for connection in waiting:
            connection.close()
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in refused
    assert answered == [b"HTTP/1.1 200 OK"] * 22


# --- what is answered from the parser's callback


def asked(path: str, *lines: str, method: str = "GET") -> bytes:
    """A request that keeps the connection."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *lines]).encode() + b"\r\n\r\n"


def answers(port: int, *packets: bytes) -> list[tuple[int, str]]:
    """Send packets on one connection, the last one of which ends it; returns status and path of each answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for packet in packets:
            connection.sendall(packet)
            time.sleep(0.02)
        return received_answers(connection)


def received_answers(connection: socket.socket) -> list[tuple[int, str]]:
    found = []
    with connection.makefile("rb") as received:
        while status := received.readline():
            fields = dict(line.lower().split(b": ", 1) for line in iter(received.readline, b"\r\n"))
            body = received.read(int(fields[b"content-length"]))
            path = json.loads(body)["path"] if body.startswith(b"{") else body.decode()
            found.append((int(status.split()[1]), path))
    return found


PATHS = ["/hit-1", "/miss-1", "/hit-2", "/hit-3", "/miss-2", "/miss-3", "/hit-4"]


def test_pipelined_hits_and_misses_are_answered_in_order(port: int) -> None:
    sent = b"".join(asked(path) for path in PATHS) + request("Host: a", target="/hit-end")
    assert answers(port, sent) == [(200, path) for path in [*PATHS, "/hit-end"]]


def test_requests_cut_anywhere_are_answered_in_order(port: int) -> None:
    sent = b"".join(asked(path) for path in PATHS) + request("Host: a", target="/hit-end")
    packets = [sent[start : start + 37] for start in range(0, len(sent), 37)]
    assert answers(port, *packets) == [(200, path) for path in [*PATHS, "/hit-end"]]


def test_a_client_that_reads_late_gets_all_answers_in_order(port: int) -> None:
    """The answers pass what the system buffers: from there on the requests wait their turn."""
    paths = [f"/hit-{number}-{'x' * 4000}" for number in range(2000)]
    sent = b"".join(asked(path) for path in paths) + request("Host: a", target="/hit-end")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        sending = threading.Thread(target=connection.sendall, args=(sent,))
        sending.start()
        time.sleep(0.3)
        assert received_answers(connection) == [(200, path) for path in [*paths, "/hit-end"]]
        sending.join(timeout=10)


def test_a_client_that_says_no_more_still_gets_its_answers(port: int) -> None:
    """It closes its sending side in the packet of the last request, before the answers of that turn are written."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(asked("/hit-1") + asked("/hit-2"))
        connection.shutdown(socket.SHUT_WR)
        assert received_answers(connection) == [(200, "/hit-1"), (200, "/hit-2")]


def test_answers_are_written_before_the_refusal_that_follows(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(asked("/hit-1") + b"NONSENSE\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.index(b"/hit-1") < received.index(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        (b"GET /hit HTTP/1.0\r\nHost: a\r\n\r\n", "/hit"),
        (request("Host: a", target="/hit"), "/hit"),
        (asked("/hit-raises", "Connection: close"), "/hit-raises"),
    ],
    ids=["HTTP/1.0", "Connection: close", "an error"],
)
def test_what_is_special_goes_the_long_way(port: int, sent: bytes, path: str) -> None:
    assert answers(port, sent) == [(200, path)]


def test_head_gets_no_body(port: int) -> None:
    sent = asked("/hit-1", method="HEAD") + request("Host: a", target="/miss")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, rest = received.partition(b"\r\n\r\n")
    assert b"content-length: 6" in head
    assert rest.startswith(b"HTTP/1.1 200 OK")


def test_a_hit_does_not_cut_off_a_slow_miss_behind_it() -> None:
    """The hit's keep-alive timer ends with the next request, also with one in the same packet."""

    def slow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        time.sleep(1.5)
        return echo(environ, start_response)

    with served(EchoWithHits(slow, threads=1), timeout_keep_alive=1) as port:
        assert answers(port, asked("/hit") + request("Host: a", target="/miss")) == [(200, "/hit"), (200, "/miss")]


def test_empty_lines_do_not_hold_an_idle_connection() -> None:
    with (
        served(EchoWithHits(echo, threads=1), timeout_keep_alive=1) as port,
        socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection,
    ):
        connection.sendall(asked("/hit"))
        assert connection.recv(200).startswith(b"HTTP/1.1 200")
        give_up_at = time.monotonic() + 20  # twice what a head may take: the connection's timer looks this seldom
        while time.monotonic() < give_up_at:
            with suppress(TimeoutError, ConnectionError):
                connection.sendall(b"\r\n")
                if connection.recv(200) == b"":
                    return
    pytest.fail("the connection is still open")


def test_a_refusal_is_no_answer_to_an_earlier_request(port: int) -> None:
    assert exchange(port, asked("/miss") + b"GET / HTTP/1.1\r\n\r\n")[0] in {0, 200}


# --- what a body brings along


def test_trailers_are_no_headers(port: int) -> None:
    """A proxy passes them on as they are: they would name any client address."""
    chunks = b"5\r\nhello\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: evil=1\r\n\r\n"
    sent = request("Host: a", "X-Forwarded-For: 1.2.3.4", "Transfer-Encoding: chunked", method="POST", body=chunks)
    seen = json.loads(exchange(port, sent)[1])["headers"]
    assert (seen["HTTP_X_FORWARDED_FOR"], "HTTP_COOKIE" in seen) == ("1.2.3.4", False)


def test_an_endless_trailer_is_cut_off(port: int) -> None:
    sent = request("Host: a", "Transfer-Encoding: chunked", method="POST", body=b"0\r\nX-Huge: " + b"x" * 20_000_000)
    assert exchange(port, sent)[0] in {0, 413}


def test_a_body_in_the_packet_that_ends_the_head_counts_as_body(port: int) -> None:
    head, rest = request("Host: a", "Content-Length: 60000", method="POST", body=b"x" * 60_000).split(b"\r\nHost", 1)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head)
        time.sleep(0.1)
        connection.sendall(b"\r\nHost" + rest)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_client_that_reads_nothing_holds_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "UNREAD_SECONDS", 0.3)

    def long(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return (b"x" * 65536 for _ in range(1000 if environ["PATH_INFO"] == "/long" else 1))

    with served(DjangoLane(long, threads=1)) as port, socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(request("Host: a", target="/long"))
        started = time.monotonic()
        assert exchange(port, request("Host: a"))[0] == 200
        assert time.monotonic() - started < 5


def test_a_slow_reader_of_an_ordinary_answer_holds_no_thread() -> None:
    """It takes nothing of 8 MB, more than the system's buffers do, in 500 pieces; the only thread is free at once."""

    def file(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return (b"x" * 16384 for _ in range(500 if environ["PATH_INFO"] == "/file" else 1))

    with served(DjangoLane(file, threads=1)) as port, socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.connect(("127.0.0.1", port))
        idle.sendall(request("Host: a", target="/file"))
        assert exchange(port, request("Host: a"))[0] == 200
