"""Requests of every kind behind one another on one connection: each gets the answer that it would get alone, in order.

First against a real web process, where tier 1, tier 2 and Django answer side by side; then, what that does not show,
against a server in this process.
"""

import random
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from analytics import frames
from analytics.spool import SEAL_SECONDS
from linklayer import edge
from linklayer.edge import BoundedProtocol
from linklayer.embedded.processes import Keeper
from linklayer.exchange import Head, Ready
from shortlinks import services
from shortlinks.resolver import redirect_reads
from tests.linklayer.attacked import SETTINGS, Web, get
from tests.linklayer.test_edge import EchoWithHits, asked, echo, received_answers, request, served
from tests.product import Product
from tests.raw_http import CLOSING, Connection, RawReply
from tests.servers.addresses import ROOT
from tests.test_story import eventually

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 30
AT_ONCE = 25  # requests in a round
SLUGS = 6  # of a kind


@pytest.fixture(scope="module")
def web(keeper: Keeper, django_db_setup: None) -> Iterator[Web]:
    folder = ROOT / "pipelines"
    folder.mkdir()
    product = Product(keeper, folder, SETTINGS)
    _, server = product.web(processes=1)
    yield Web(product, server.pid)
    product.stop()


def drawn_slug(chance: random.Random, number: int) -> str:
    """Slugs of tier 1, and of each round's own in tier 2, only in the database, and nowhere."""
    kind = chance.choice(["hot", "hot", "t2", "t2", "db", "no"])
    return f"{kind}-{chance.randrange(SLUGS)}" if kind == "hot" else f"{kind}-{number}-{chance.randrange(SLUGS)}"


def drawn_request(chance: random.Random, number: int) -> bytes:
    path = chance.choice(["/livez", *[f"/{drawn_slug(chance, number)}"] * 7])
    lines = chance.choice(
        [
            *[()] * 8,
            ("X-Twice: 1", "X-Twice: 2"),  # the front door answers these behind the scope, not before it
            ("Accept: */*", "Accept: text/html", "If-None-Match: *"),
            ("Upgrade: h2c", "Connection: Upgrade"),
            ("Authorization: Bearer nonsense",),
            ("Content-Length: 5",),
            ("Transfer-Encoding: chunked",),
            ("Connection: keep-alive",),
        ]
    )
    body = b"hello" if "Content-Length: 5" in lines else b""
    body = b"5\r\nhello\r\n0\r\n\r\n" if "Transfer-Encoding: chunked" in lines else body
    return get(path, *lines, method=chance.choice(["GET"] * 5 + ["HEAD"])) + body


def drawn_end(chance: random.Random, number: int) -> bytes:
    """The last request: it closes, by its header or its version."""
    path = f"/{drawn_slug(chance, number)}"
    old = f"GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n".encode()
    return chance.choice([get(path, "Connection: close"), old, CLOSING])


def sent_in_pieces(chance: random.Random, connection: Connection, data: bytes) -> None:
    """Cut anywhere, now and then with a moment between the pieces."""
    size = chance.choice([13, 200, 5000, len(data)])
    for start in range(0, len(data), size):
        connection.send(data[start : start + size])
        if chance.random() < 0.05:
            time.sleep(0.002)


def replies(connection: Connection, requests: list[bytes]) -> list[RawReply]:
    return [without_date(connection.reply(is_head=one.startswith(b"HEAD"))) for one in requests]


def without_date(reply: RawReply) -> RawReply:
    kept = tuple(pair for pair in reply.headers if pair[0] not in {"date", "connection"})
    return RawReply(reply.status, kept, reply.body, reply.interim)


def alone(web: Web, request: bytes) -> RawReply:
    with Connection(web.port) as connection:
        connection.send(request)
        connection.socket.shutdown(socket.SHUT_WR)
        return replies(connection, [request])[0]


def kept_clicks(web: Web) -> int:
    sealed = [path.read_bytes() for path in web.spool.glob("*.sealed")]
    return sum(frame.mark == frames.RECORD_MARK for data in sealed for frame in frames.scan(data))


def settled_clicks(web: Web) -> int:
    """Count when everything that was written by now is sealed."""
    time.sleep(3 * SEAL_SECONDS)
    return kept_clicks(web)


def test_drawn_requests_are_answered_as_each_alone_and_every_click_counts_once(web: Web) -> None:
    chance = random.Random(20261120)
    before = settled_clicks(web)
    create = services.create_short_link
    for number in range(SLUGS):
        create(url=f"https://example.com/hot/{number}", slug=f"hot-{number}")
        assert alone(web, get(f"/hot-{number}")).status == 302
    redirects, answered = SLUGS + before, {}
    for number in range(ROUNDS):
        for place in range(SLUGS):
            for kind in ("t2", "db"):
                create(url=f"https://example.com/{kind}/{number}/{place}", slug=f"{kind}-{number}-{place}")
            redirect_reads.resolve(f"t2-{number}-{place}")
        requests = [drawn_request(chance, number) for _ in range(AT_ONCE)] + [drawn_end(chance, number)]
        is_ended = chance.random() < 0.3
        behind = b"" if is_ended else get("/hot-0") * chance.choice([0, 3])  # never to be answered, nor counted
        with Connection(web.port) as connection:
            sent_in_pieces(chance, connection, b"".join(requests) + behind)
            if is_ended:
                connection.socket.shutdown(socket.SHUT_WR)
            together = replies(connection, requests)
            assert connection.rest() == b""
        redirects += sum(
            reply.status == 302 and one.startswith(b"GET") for one, reply in zip(requests, together, strict=True)
        )
        for one, reply in zip(requests, together, strict=True):
            if one not in answered:
                answered[one] = alone(web, one)
                redirects += answered[one].status == 302 and one.startswith(b"GET")
            assert reply == answered[one], (number, one)
    eventually(lambda: kept_clicks(web) >= redirects)
    assert settled_clicks(web) == redirects


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_click_behind_a_closing_answer_is_not_counted(web: Web, version: str) -> None:
    """HTTP/1.0 with keep-alive: the parser goes on, the connection does not."""
    services.create_short_link(url="https://example.com/", slug="closing")
    for _ in range(3):  # from the third on surely from tier 1
        assert alone(web, get("/closing")).status == 302
        time.sleep(SEAL_SECONDS)
    before = settled_clicks(web)
    last = f"GET /closing HTTP/{version}\r\nHost: localhost\r\nConnection: "
    last += "close\r\n\r\n" if version == "1.1" else "keep-alive\r\n\r\n"
    with Connection(web.port) as connection:
        connection.send(last.encode() + get("/closing") * 20)
        assert connection.rest().count(b"HTTP/1.1 ") == 1
    eventually(lambda: kept_clicks(web) > before)
    assert settled_clicks(web) == before + 1


# --- in this process


class WithSoon(EchoWithHits):
    """Answers `/soon...` behind the scope, at once; notes the hits in their order, and how deep the stack is."""

    def __init__(self) -> None:
        super().__init__(echo, threads=1)
        self.paths: list[str] = []
        self.depths: list[int] = []
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def answer_now(self, head: Head) -> Ready | None:
        if head.path == b"/hit-gate":
            self.begun.set()
            self.may_go_on.wait(10)
        if head.path.startswith(b"/hit"):
            self.paths.append(head.path.decode())
        return super().answer_now(head)

    def answer_soon(self, scope: dict[str, Any], deliver: Callable[[Ready | None], object]) -> bool:
        path: bytes = scope["raw_path"]
        if not path.startswith(b"/soon"):
            return False
        self.depths.append(depth())
        deliver(Ready(200, b"content-length: %d\r\n" % len(path), b"\r\n", path))
        return True


def depth() -> int:
    return sum(1 for _ in traceback.walk_stack(None))


def test_a_hundred_answers_in_a_row_take_no_deeper_stack_than_two() -> None:
    app = WithSoon()
    paths = ["/miss", *[f"/soon-{number}" for number in range(100)]]
    with served(app) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"".join(asked(path) for path in paths) + request("Host: a", target="/hit-end"))
        assert received_answers(connection) == [(200, path) for path in [*paths, "/hit-end"]]
    assert len(app.depths) == 100
    assert max(app.depths) - min(app.depths) < 10  # those in the first packet's piece, and those behind it


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_flood_of_requests_in_one_packet_does_not_go_before_all_other_visitors(loop: str) -> None:
    """While the first of them is answered another visitor asks, and need not wait for the last."""
    app = WithSoon()
    with (
        served(app, loop=loop) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as flood,
        socket.create_connection(("127.0.0.1", port), timeout=10) as visitor,
    ):
        flood.sendall(asked("/hit-gate") + asked("/hit-flood") * 1000 + asked("/hit-last") + request("Host: a"))
        assert app.begun.wait(10)
        visitor.sendall(asked("/hit-visitor"))
        app.may_go_on.set()
        assert visitor.recv(200).startswith(b"HTTP/1.1 200")
        assert len(received_answers(flood)) == 1003
    assert app.paths.index("/hit-visitor") < app.paths.index("/hit-last") / 2


def test_a_head_that_waits_with_us_is_not_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All was sent at once; where it is cut to wait its turn, nobody but us takes longer than a head may."""
    monkeypatch.setattr(edge, "HEAD_SECONDS", 0.1)

    def slow(environ: dict[str, Any], start_response: Any) -> Any:
        time.sleep(0.02)
        return echo(environ, start_response)

    paths = [f"/miss-{'x' * 100}-{number}" for number in range(60)]
    with (
        served(EchoWithHits(slow, threads=1)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        connection.sendall(b"".join(asked(path) for path in paths) + request("Host: a", target="/hit-end"))
        assert received_answers(connection) == [(200, path) for path in [*paths, "/hit-end"]]


def test_a_connection_whose_last_answers_are_never_taken_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than what stops the writing is left, so the transport waits for its client, and would do so for ever."""
    monkeypatch.setattr(edge, "UNREAD_SECONDS", 0.2)
    made: list[BoundedProtocol] = []
    connection_made = BoundedProtocol.connection_made

    def noted(self: BoundedProtocol, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection_made(self, transport)
        made.append(self)

    monkeypatch.setattr(BoundedProtocol, "connection_made", noted)
    with (
        served(EchoWithHits(echo, threads=1), timeout_keep_alive=1, loop="uvloop") as port,
        socket.socket() as silent,
    ):
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect(("127.0.0.1", port))
        eventually(lambda: bool(made))
        (protocol,) = made
        hit = asked(f"/hit-{'x' * 2000}")
        while not protocol.transport.get_write_buffer_size():
            silent.sendall(hit)
            time.sleep(0.005)
        assert not protocol.flow.write_paused
        eventually(lambda: protocol not in protocol.connections)
