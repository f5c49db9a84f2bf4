"""The load client counts what a real server answered, no more and no less."""

import itertools
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.bench import load, load_client
from tests.bench.load_client import Orders, answer_end
from tests.bench.measurement import Latencies, Measurement, Spread, merged


class _Server(ThreadingHTTPServer):
    """Answers by the path: `/s...` redirects, `/404` and `/500` fail, `/chunked` streams, `/drop` closes at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.posted: set[tuple[str | None, bytes]] = set()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/drop":
            self.close_connection = True
        elif self.path == "/chunked":
            self._answer(200, "Transfer-Encoding", "chunked", b"5\r\nhello\r\n0\r\n\r\n")
        elif self.path in {"/404", "/500"}:
            self._answer(int(self.path[1:]), "Content-Length", "4", b"oops")
        else:
            self._answer(302, "Content-Length", "0", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.add((self.headers["Authorization"], body))
        self._answer(201, "Content-Length", "4", b"made")

    def _answer(self, status: int, header: str, value: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as started:
        thread = threading.Thread(target=started.serve_forever, args=(0.02,))
        thread.start()
        yield started
        started.shutdown()
        thread.join()


@pytest.fixture
def put_load(server: _Server) -> Callable[..., Measurement]:
    def put(*paths: str, connections: int = 4, seconds: float = 0.3) -> Measurement:
        return load_client.run(Orders("127.0.0.1", server.port, paths, connections, seconds))

    return put


def test_it_counts_exactly_what_was_answered(server: _Server, put_load: Callable[..., Measurement]) -> None:
    measured = put_load("/s1", "/s2", "/s3")
    assert measured.requests == len(server.asked) > 0
    assert (measured.errors, measured.unread) == ({}, 0)


def test_it_asks_all_paths_equally_often(server: _Server, put_load: Callable[..., Measurement]) -> None:
    put_load("/s1", "/s2", connections=1)
    assert abs(server.asked.count("/s1") - server.asked.count("/s2")) <= 1


def test_it_reports_latencies_in_order(put_load: Callable[..., Measurement]) -> None:
    measured = put_load("/s1")
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measured.seconds >= 0.3


def test_failing_statuses_are_counted_by_status(server: _Server, put_load: Callable[..., Measurement]) -> None:
    measured = put_load("/404", "/500")
    assert set(measured.errors) == {"404", "500"}
    assert sum(measured.errors.values()) == measured.requests == len(server.asked)


def test_a_dropped_connection_is_an_error_and_is_opened_again(
    server: _Server, put_load: Callable[..., Measurement]
) -> None:
    measured = put_load("/drop", "/s1", connections=1)
    assert measured.errors["connection"] == server.asked.count("/drop") > 1
    assert measured.requests == server.asked.count("/s1")


def test_a_chunked_answer_is_read_whole(server: _Server, put_load: Callable[..., Measurement]) -> None:
    measured = put_load("/chunked")
    assert measured.requests == len(server.asked)
    assert measured.errors == {}


def test_a_server_that_is_not_there_is_an_error_and_no_crash() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as unused:
        port = unused.server_address[1]
    measured = load_client.run(Orders("127.0.0.1", port, ("/s1",), connections=1, seconds=0.2), processes=1)
    assert measured.requests == 0
    assert measured.errors["connection"] > 0


def test_both_clients_see_the_same(server: _Server) -> None:
    """Without wrk both are the bundled one."""
    measured = load.put_load(Orders("127.0.0.1", server.port, ("/s1", "/404"), connections=2, seconds=1.0))
    failed = sum(measured.errors.values())
    assert measured.requests <= len(server.asked) <= measured.requests + measured.unread
    assert abs(measured.requests / 2 - failed) <= len(server.asked) / 20 + 2
    assert 0 < measured.p50_ms <= measured.p99_ms


def test_both_clients_post_a_body_with_its_headers(server: _Server) -> None:
    """Without wrk both are the bundled one."""
    headers = (("Authorization", "Bearer key: 1"), ("Content-Type", "application/json"))
    posting = Orders("127.0.0.1", server.port, ("/api",), 2, 1.0, method="POST", headers=headers, body='{"a": "b"}')
    for put in (load.put_load, load_client.run):
        server.posted.clear()
        measured = put(posting)
        assert measured.requests > 0
        assert measured.errors == {}
        assert server.posted == {("Bearer key: 1", b'{"a": "b"}')}


ANSWERS = [
    b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length:  3\r\nX: y\r\n\r\nabc",
    b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_ends_at_its_last_byte_and_not_before(answer: bytes) -> None:
    assert answer_end(answer) == answer_end(answer + b"HTTP/1.1") == len(answer)
    assert [answer_end(answer[:cut]) for cut in range(len(answer))] == [None] * len(answer)


def test_an_answer_that_only_the_end_of_the_connection_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="keep-alive"):
        answer_end(b"HTTP/1.1 200 OK\r\n\r\n")


def test_percentiles_are_exact_below_a_millisecond_and_three_digits_above() -> None:
    latencies = Latencies()
    for microseconds in itertools.chain([100] * 98, [123_456, 999]):
        latencies.add(microseconds / 1e6 + 1e-9)
    assert (latencies.percentile_ms(50), latencies.percentile_ms(99), latencies.percentile_ms(100)) == (0.1, 0.999, 123)


def test_processes_of_one_run_add_up() -> None:
    whole = merged([(Counter({100: 3}), Counter(), 1.0), (Counter({200: 1}), Counter({"404": 1}), 2.0)])
    assert (whole.requests, whole.seconds, whole.rate, whole.errors) == (4, 2.0, 2.0, {"404": 1})


def test_the_spread_of_runs_is_median_and_extremes() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)
