"""The edge against a real uvicorn server and raw sockets: what is refused, and how early."""

import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn

from linklayer import edge
from linklayer.edge import BoundedProtocol
from linklayer.lane import DjangoLane

LIMIT = 64 * 1024


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """A WSGI application that shows what reached it."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    seen = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    answer = json.dumps({"headers": seen, "body_bytes": len(body)}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    config = uvicorn.Config(
        DjangoLane(echo, threads=4), port=0, http=BoundedProtocol, lifespan="off", log_config=None, proxy_headers=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(timeout=10)


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
    monkeypatch.setattr(edge, "BODY_SECONDS", 0.2)
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

    config = uvicorn.Config(DjangoLane(slow, threads=2), port=0, http=BoundedProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(22)]
    for connection in waiting:
        connection.sendall(request("Host: a"))
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request("Host: a"))
        refused = connection.recv(4096)
    gate.set()
    answered = [connection.recv(4096).split(b"\r\n")[0] for connection in waiting]
    server.should_exit = True
    thread.join(timeout=10)
    for connection in waiting:
        connection.close()
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in refused
    assert answered == [b"HTTP/1.1 200 OK"] * 22
