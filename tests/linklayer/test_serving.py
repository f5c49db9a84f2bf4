"""The end of a server against raw sockets: what was asked is answered, and the client knows that it was the last."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import uvicorn

from linklayer import draining, edge, serving
from linklayer.edge import BoundedProtocol
from linklayer.lane import DjangoLane
from linklayer.serving import EdgeServer


class Served:
    """A running server of one slow application: it answers once `go` is set. endless: never."""

    def __init__(self, *, endless: bool = False) -> None:
        self.go = threading.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        app: Any = _never_answer if endless else DjangoLane(self._answer, threads=4)
        config = uvicorn.Config(app, http=BoundedProtocol, lifespan="off", log_config=None)
        self.server = EdgeServer(config, graceful_seconds=20)
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        wait_until(lambda: self.server.started)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert self.go.wait(10)
        body = environ["PATH_INFO"].encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def connect(self, *paths: str) -> socket.socket:
        """Open a connection and ask for paths in one packet."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client.sendall(asked(*paths))
        return client

    def waiting_requests(self) -> int:
        """Count the requests that wait for an earlier one on their connection."""
        connections = [found for found in self.server.server_state.connections if isinstance(found, BoundedProtocol)]
        return sum(len(connection.pipeline) for connection in connections)

    def end(self) -> None:
        """Ask it to end; returns once it accepts no more."""
        self.server.should_exit = True
        wait_until(lambda: not self.server.servers[0].is_serving())

    def join(self) -> None:
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()


async def _never_answer(_scope: Any, _receive: Any, _send: Any) -> None:
    await asyncio.Event().wait()


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.go.set()
    served.server.should_exit = True
    served.join()


def wait_until(is_so: Any) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def asked(*paths: str) -> bytes:
    return b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode() for path in paths)


def read_until(client: socket.socket, ending: bytes) -> None:
    received = b""
    while not received.endswith(ending):
        chunk = client.recv(65536)
        assert chunk, received
        received += chunk


def answers(client: socket.socket) -> list[tuple[str, bool]]:
    """Read until the server closes; returns the path that each answer names, and whether it said that it closes."""
    received = b""
    with client:
        while chunk := client.recv(65536):
            received += chunk
    heads = [answer.partition(b"\r\n\r\n") for answer in received.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    return [(body.decode(), b"connection: close" in head) for head, _, body in heads]


def test_all_requests_of_a_packet_are_answered_and_the_last_says_so(served: Served) -> None:
    client = served.connect("/a", "/b", "/c")
    served.end()
    served.go.set()
    assert answers(client) == [("/a", False), ("/b", False), ("/c", True)]


def test_what_follows_in_a_packet_of_its_own_is_answered_too(served: Served) -> None:
    client = served.connect("/a")
    served.end()
    client.sendall(asked("/b", "/c"))
    wait_until(lambda: served.waiting_requests() == 2)
    served.go.set()
    assert answers(client) == [("/a", False), ("/b", False), ("/c", True)]


def test_an_idle_connection_may_ask_once_more(served: Served) -> None:
    served.go.set()
    idle, new = served.connect("/before"), served.connect()
    read_until(idle, b"/before")
    served.end()
    for client in (idle, new):
        client.sendall(asked("/after", "/too"))
        assert answers(client) == [("/after", False), ("/too", True)]


def test_what_waits_to_be_accepted_is_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is busy until it is told to end: connections that came meanwhile would be reset with their listener."""
    monkeypatch.setattr(edge, "LINGER_SECONDS", 0.1)
    served.go.set()
    is_busy, may_go_on = threading.Event(), threading.Event()

    def be_busy() -> None:
        is_busy.set()
        may_go_on.wait(10)

    served.server.servers[0].get_loop().call_soon_threadsafe(be_busy)
    assert is_busy.wait(10)
    served.server.should_exit = True
    clients = [served.connect("/waiting") for _ in range(8)]
    time.sleep(0.2)  # uvicorn looks every 0.1 s whether it is to end
    may_go_on.set()
    assert [[path for path, _ in answers(client)] for client in clients] == [["/waiting"]] * 8


def test_an_idle_connection_does_not_hold_the_end_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "LINGER_SECONDS", 0.1)
    client = served.connect()
    served.end()
    assert answers(client) == []
    served.join()


def test_an_answer_that_takes_too_long_does_not_hold_the_end_up() -> None:
    served = Served(endless=True)
    served.server.config.timeout_graceful_shutdown = 1
    client = served.connect("/endless")
    wait_until(lambda: served.server.server_state.tasks)
    served.end()
    with client:
        assert client.recv(65536).startswith(b"HTTP/1.1 500 ")
    served.join()


def test_a_worker_that_is_replaced_serves_until_its_successor_does(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "_shared", [0, 1, 0])
    served.go.set()
    served.server.should_exit = True
    for _ in range(5):
        time.sleep(0.1)
        with served.connect("/still") as client:
            read_until(client, b"/still")
    draining.serves(1)
    served.end()


def test_a_successor_that_never_comes_is_not_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SUCCESSOR_SECONDS", 0.2)
    monkeypatch.setattr(draining, "_shared", [0, 1, 0])
    served.end()
