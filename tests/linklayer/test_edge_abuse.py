"""The web process under attack, end to end: refused early or closed, memory flat, other visitors answered.

A real gunicorn with one worker, sockets as strangers would use them; the time-outs are the product's own.
"""

import resource
import selectors
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import pytest

from linklayer.embedded.processes import Keeper, Program
from shortlinks import services
from tests.linklayer.attacked import SETTINGS, Web, get
from tests.product import Product
from tests.raw_http import CLOSING, Connection, answer
from tests.servers.addresses import ROOT

HALF_SENT = 2000  # of heads, and as many of bodies
MEGABYTE = 1 << 20

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def web(keeper: Keeper, django_db_setup: None) -> Iterator[Web]:
    folder = ROOT / "abuse"
    folder.mkdir()
    product = Product(keeper, folder, SETTINGS)
    _, server = product.web(processes=1)
    yield Web(product, server.pid)
    product.stop()


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> Iterator[None]:
    """Let this process hold thousands of sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
def _warm(web: Web) -> None:
    """`/warm-a` and `/warm-b` stand in tier 1, `/cold-...` only in the database."""
    for slug in ("warm-a", "warm-b", *(f"cold-{number}" for number in range(10))):
        services.create_short_link(url=f"https://example.com/{slug}", slug=slug)
    for slug in ("warm-a", "warm-b"):
        assert answer(web.port, get(f"/{slug}")).status == 302


@contextmanager
def flat_memory(web: Web, *, megabytes: int) -> Iterator[None]:
    before = web.begin_peak()
    yield
    assert web.peak() - before < megabytes * MEGABYTE


def good_visitors_are_answered(web: Web, *, cold: str) -> None:
    """By the front door, on new and on standing connections, and by Django: a link that no cache holds."""
    for _ in range(50):
        assert answer(web.port, get("/warm-a")).status == 302
    with Connection(web.port) as connection:
        for slug in ("warm-a", "warm-b") * 50:
            connection.send(get(f"/{slug}"))
            assert connection.reply().header("location") == f"https://example.com/{slug}"
    assert answer(web.port, get(f"/{cold}")).status == 302


def push(port: int, start: bytes, piece: bytes, *, at_most: int) -> tuple[int, bytes]:
    """Send the start and then the piece over and over; returns how many bytes went out, and what came back."""
    sent = 0
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(start)
            while sent < at_most:
                connection.sendall(piece)
                sent += len(piece)
        with suppress(ConnectionResetError):
            received = connection.recv(4096)
    return sent, received


# --- heads and bodies without end


def test_a_header_of_100_megabytes_is_refused_early(web: Web) -> None:
    with flat_memory(web, megabytes=10):
        for _ in range(5):
            sent, received = push(web.port, get("/warm-a")[:-2] + b"X-Huge: ", b"x" * 65536, at_most=100 * MEGABYTE)
            assert sent < 10 * MEGABYTE  # what the system's buffers take before the reset arrives
            assert received[:12] in {b"HTTP/1.1 431", b""}
    good_visitors_are_answered(web, cold="cold-0")


def test_a_target_of_100_megabytes_is_refused_early(web: Web) -> None:
    with flat_memory(web, megabytes=10):
        for _ in range(5):
            sent, received = push(web.port, b"GET /", b"x" * 65536, at_most=100 * MEGABYTE)
            assert sent < 10 * MEGABYTE
            assert received[:12] in {b"HTTP/1.1 414", b"HTTP/1.1 431", b""}


def test_fifty_thousand_fields_are_refused_early(web: Web) -> None:
    with flat_memory(web, megabytes=10):
        for fields in (b"X: y\r\n" * 50_000, b"".join(b"X-%d: y\r\n" % number for number in range(50_000))):
            _, received = push(web.port, get("/warm-a")[:-2], fields, at_most=1)
            assert received[:12] in {b"HTTP/1.1 431", b""}


@pytest.mark.parametrize("path", ["/warm-a", "/livez", "/api/links", "/webhooks/linktree", "/admin/login/"])
def test_a_body_of_100_megabytes_is_refused_early(web: Web, path: str) -> None:
    """Said beforehand, and in chunks without saying."""
    with flat_memory(web, megabytes=15):
        sent, received = push(
            web.port, get(path, "Content-Length: 104857600", method="POST"), b"x" * 65536, at_most=100 * MEGABYTE
        )
        assert sent < 20 * MEGABYTE
        assert received[:12] in {b"HTTP/1.1 413", b""}
        sent, received = push(
            web.port,
            get(path, "Transfer-Encoding: chunked", method="POST"),
            b"10000\r\n" + b"x" * 65536 + b"\r\n",
            at_most=100 * MEGABYTE,
        )
        assert sent < 20 * MEGABYTE
        assert received[:12] in {b"HTTP/1.1 413", b""}


def test_chunks_of_one_byte_with_long_extensions_are_refused(web: Web) -> None:
    """Their bytes count, although they are no body."""
    piece = (b"1;" + b"x" * 200 + b"\r\na\r\n") * 300
    with flat_memory(web, megabytes=15):
        sent, _ = push(
            web.port, get("/api/links", "Transfer-Encoding: chunked", method="POST"), piece, at_most=100 * MEGABYTE
        )
    assert sent < 20 * MEGABYTE


# --- half-sent, by the thousand


@contextmanager
def flood(web: Web, *packets: bytes, each: int, may_break: bool = False) -> Iterator[list[socket.socket]]:
    """Hold open `each` connections per packet, which has been sent on each of them; may_break: or been refused."""
    with ExitStack() as stack:
        held = []
        for packet in packets:
            for _ in range(each):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=10))
                with suppress(*([BrokenPipeError, ConnectionResetError] if may_break else [])):
                    connection.sendall(packet)
                held.append(connection)
        yield held


def first_lines(held: list[socket.socket], *, within_seconds: float) -> list[bytes]:
    """Wait until the other side has closed each of them; returns how the first lines began."""
    received: dict[socket.socket, bytes] = {}
    deadline = time.monotonic() + within_seconds
    with selectors.DefaultSelector() as selector:
        for connection in held:
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(0.5):
                connection = key.fileobj  # type: ignore[assignment] # only sockets are registered
                chunk = b""
                with suppress(ConnectionResetError):
                    chunk = connection.recv(4096)
                received[connection] = received.get(connection, b"") + chunk
                if not chunk:
                    selector.unregister(connection)
        assert not selector.get_map(), "some are still open"
    return [received[connection][:12] for connection in held]


def test_half_sent_heads_and_bodies_by_the_thousand_harm_nobody(web: Web) -> None:
    """Neither takes a thread of Django or a place in its queue, and each is ended by its time-out of 10 s."""
    head = b"GET /warm-a HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    for_api = get("/api/links", "Content-Type: application/json", "Content-Length: 200", method="POST") + b"{"
    for_webhooks = get("/webhooks/linktree", "Transfer-Encoding: chunked", method="POST") + b"64\r\n{"
    with flat_memory(web, megabytes=60), flood(web, head, head, for_api, for_webhooks, each=HALF_SENT // 2) as held:
        good_visitors_are_answered(web, cold="cold-1")
        lines = first_lines(held, within_seconds=30)
    assert set(lines) == {b"HTTP/1.1 408"}
    good_visitors_are_answered(web, cold="cold-2")


def test_large_half_sent_bodies_are_bounded_together(web: Web) -> None:
    """Each is within its own limit; what they hold together has one too, and links are still resolved."""
    packet = get("/webhooks/linktree", "Content-Length: 262144", method="POST") + b"x" * 200_000
    with flat_memory(web, megabytes=100), flood(web, packet, each=500, may_break=True):
        good_visitors_are_answered(web, cold="cold-3")


# --- pipelining


def test_ten_thousand_requests_in_one_packet_are_answered_in_order(web: Web) -> None:
    slugs = ["warm-a", "warm-b", "warm-b"] * 3334
    with flat_memory(web, megabytes=40), Connection(web.port) as connection:
        connection.send(b"".join(get(f"/{slug}") for slug in slugs) + CLOSING)
        for slug in slugs:
            assert connection.reply().header("location") == f"https://example.com/{slug}"
        assert connection.reply().status == 200


def test_thousands_of_requests_for_django_in_one_packet_are_bounded(web: Web) -> None:
    """On 20 connections at once, which do not read. Whoever is served is served in order; others are served too."""
    packet = get("/livez") * 5000
    with flat_memory(web, megabytes=60), flood(web, packet[:200_000], each=20):
        good_visitors_are_answered(web, cold="cold-4")


# --- more connections than files


class WithFewFiles(Product):
    """limit: an option of the shell's ulimit."""

    limit = ""

    def _program(self, name: str, argv: tuple[str, ...], settings: Mapping[str, str]) -> Program:
        program = super()._program(name, argv, settings)
        return replace(program, argv=("/bin/sh", "-c", f'ulimit {self.limit}; exec "$0" "$@"', *program.argv))


@contextmanager
def web_with_few_files(keeper: Keeper, name: str, limit: str) -> Iterator[Web]:
    folder = ROOT / name
    folder.mkdir()
    product = WithFewFiles(keeper, folder, SETTINGS)
    product.limit = limit
    _, server = product.web(processes=1)
    try:
        yield Web(product, server.pid)
    finally:
        product.stop()


def test_a_process_with_few_files_keeps_some_for_its_own_work(keeper: Keeper) -> None:
    """A flood of connections takes no file that a click, the cache or the database needs, and no CPU."""
    idle = get("/warm-a")[:-2]
    with web_with_few_files(keeper, "few-files", "-n 400") as web:
        with Connection(web.port) as visitor:
            visitor.send(get("/warm-a"))
            assert visitor.reply().status == 302
            with flood(web, idle, each=600, may_break=True):
                before = web.cpu_seconds()
                time.sleep(1)
                assert web.cpu_seconds() - before < 0.5
                for slug in (*["warm-a", "warm-b"] * 20, *(f"cold-{number}" for number in range(10))):
                    visitor.send(get(f"/{slug}"))
                    assert visitor.reply().header("location") == f"https://example.com/{slug}"
                visitor.send(get("/metrics"))
                metrics = visitor.reply().body.decode()
        good_visitors_are_answered(web, cold="cold-5")
    assert "linklayer_clicks_dropped_total 0.0" in metrics


def test_the_limit_of_files_is_raised_where_it_may_be(keeper: Keeper) -> None:
    """As for a plain user, who has a low soft limit."""
    with (
        web_with_few_files(keeper, "soft-limit", "-S -n 256") as web,
        flood(web, get("/warm-a")[:-2], each=400) as held,
    ):
        for connection in held:
            connection.sendall(b"\r\n")
            assert connection.recv(12) == b"HTTP/1.1 302"


def test_a_client_that_never_stops_asking_django_is_read_no_faster_than_it_is_answered(web: Web) -> None:
    """It reads all its answers and sends on, 30 MB if it may, for two seconds."""
    packet = get("/livez") * 5000
    end = time.monotonic() + 2
    with flat_memory(web, megabytes=10), Connection(web.port) as connection:
        connection.socket.setblocking(False)
        answered, waiting = b"", packet
        with selectors.DefaultSelector() as selector:
            selector.register(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while time.monotonic() < end:
                for _, events in selector.select(0.1):
                    if events & selectors.EVENT_READ:
                        answered += connection.socket.recv(1 << 18)
                    if events & selectors.EVENT_WRITE:
                        waiting = waiting[connection.socket.send(waiting) :] or packet
    assert answered.count(b"HTTP/1.1 200") > 100
