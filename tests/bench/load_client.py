"""A load client in plain asyncio, for machines without wrk: keep-alive connections, each a closed loop.

A connection sends its next request when the answer to the last one is complete. At the end nothing new is sent and
every outstanding answer is awaited, so that what the client counted is exactly what the server answered.
Run as a program it takes its orders as JSON on standard input and prints what it measured as JSON.
"""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import cast

import uvloop

from tests.bench.measurement import Latencies, Measurement, merged

# Above any pause a serving process may make under load, below the patience of who waits for the benchmark.
ANSWER_SECONDS = 10.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Orders:
    """What to load. paths: asked in turn, each connection from a place of its own. connections: in this process.

    headers: (name, value) of each, besides Host, User-Agent and, for a body, Content-Length.
    """

    host: str
    port: int
    paths: tuple[str, ...]
    connections: int
    seconds: float
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


@dataclass(slots=True)
class Tally:
    """What all connections of a process share: the clock and the counts."""

    stop_at: float
    latencies: Latencies
    errors: Counter[str]


class Connection(asyncio.Protocol):
    """One keep-alive connection in a closed loop, until the tally's time is over or the connection fails."""

    def __init__(self, requests: Iterator[bytes], tally: Tally, done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._tally = tally
        self._done = done
        self._received = b""
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but does not inherit from it
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        end = answer_end(self._received)
        if end is None:
            return
        if end != len(self._received) or not self._waiting:
            self._fail("more than one answer")
            return
        status = self._received[9:12]
        self._received = b""
        self._waiting = False
        self._tally.latencies.add(time.perf_counter() - self._asked_at)
        if status[:1] not in b"23":
            self._tally.errors[status.decode("latin-1")] += 1
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._tally.errors["connection"] += 1
        self._finish()

    def give_up(self) -> None:
        """End the wait for an answer that does not come."""
        if self._waiting:
            self._waiting = False
            self._fail("timeout")

    def _ask(self) -> None:
        if self._transport.is_closing():
            return
        self._asked_at = time.perf_counter()
        if self._asked_at >= self._tally.stop_at:
            self._transport.close()
            self._finish()
            return
        self._waiting = True
        self._transport.write(next(self._requests))

    def _fail(self, what: str) -> None:
        self._tally.errors[what] += 1
        self._waiting = False
        self._transport.close()
        self._finish()

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


def answer_end(received: bytes) -> int | None:
    """Return where the first answer ends in the bytes received so far, None while it is incomplete.

    Source: RFC 9112, section 6.3, for answers to GET: 204 and 304 have no body, else Content-Length or chunks.
    """
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head, body_start = received[:head_end], head_end + 4
    if received[9:12] in {b"204", b"304"}:
        return body_start
    if length := _LENGTH.search(head):
        end = body_start + int(length[1])
        return end if len(received) >= end else None
    if _CHUNKED.search(head):
        return _chunks_end(received, body_start)
    raise ValueError("an answer with neither Content-Length nor chunks ends with its connection: no keep-alive")


def _chunks_end(received: bytes, start: int) -> int | None:
    while (line_end := received.find(b"\r\n", start)) >= 0:
        size = int(received[start:line_end].split(b";")[0], 16)
        end = line_end + 2 + size + 2
        if len(received) < end:
            return None
        if size == 0:
            return end
        start = end
    return None


async def load(orders: Orders) -> Tally:
    """Run one process's share of the load; a connection that fails is opened again until the time is over."""
    tally = Tally(time.perf_counter() + orders.seconds, Latencies(), Counter())
    requests = _requests(orders)
    step = max(1, len(requests) // orders.connections)
    async with asyncio.TaskGroup() as tasks:
        for number in range(orders.connections):
            from_its_place = islice(cycle(requests), number * step, None)
            tasks.create_task(_keep_asking(orders, tally, from_its_place))
    return tally


async def _keep_asking(orders: Orders, tally: Tally, requests: Iterator[bytes]) -> None:
    while time.perf_counter() < tally.stop_at:
        try:
            await _one_connection(orders, tally, requests)
        except OSError:
            tally.errors["connection"] += 1
            await asyncio.sleep(0.05)


async def _one_connection(orders: Orders, tally: Tally, requests: Iterator[bytes]) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    transport, connection = await loop.create_connection(
        lambda: Connection(requests, tally, done), orders.host, orders.port
    )
    try:
        async with asyncio.timeout(max(0.0, tally.stop_at - time.perf_counter()) + ANSWER_SECONDS):
            await done
    except TimeoutError:
        connection.give_up()
    finally:
        transport.close()


def _requests(orders: Orders) -> list[bytes]:
    body = orders.body.encode()
    headers = [("Host", f"{orders.host}:{orders.port}"), ("User-Agent", "linklayer-bench"), *orders.headers]
    if body:
        headers.append(("Content-Length", str(len(body))))
    rest = "".join(f"{name}: {value}\r\n" for name, value in headers).encode() + b"\r\n" + body
    return [f"{orders.method} {path} HTTP/1.1\r\n".encode() + rest for path in orders.paths]


def run(orders: Orders, *, processes: int = 2) -> Measurement:
    """Load from so many processes at once, which share the connections, and return what they measured together.

    Raises subprocess.CalledProcessError if one of them fails.
    """
    shares = [
        orders.connections // processes + (number < orders.connections % processes) for number in range(processes)
    ]
    with contextlib.ExitStack() as started:
        clients = [started.enter_context(_client(orders, share)) for share in shares if share]
        outputs = [client.communicate()[0] for client in clients]
    for client in clients:
        if client.returncode:
            raise subprocess.CalledProcessError(client.returncode, client.args)
    return merged(_part(json.loads(output)) for output in outputs)


def _client(orders: Orders, connections: int) -> subprocess.Popen[str]:
    client = subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert client.stdin
    client.stdin.write(json.dumps({**asdict(orders), "connections": connections}))
    client.stdin.close()
    client.stdin = None  # communicate() would flush it again
    return client


def _part(said: dict[str, dict[str, int] | float]) -> tuple[Counter[int], Counter[str], float]:
    counts, errors, seconds = said["latencies"], said["errors"], said["seconds"]
    assert isinstance(counts, dict)
    assert isinstance(errors, dict)
    assert isinstance(seconds, int | float)
    return Counter({int(step): count for step, count in counts.items()}), Counter(errors), seconds


def main() -> None:
    """Obey the orders on standard input and print what was measured."""
    given = json.load(sys.stdin)
    headers = tuple((name, value) for name, value in given["headers"])
    orders = Orders(**{**given, "paths": tuple(given["paths"]), "headers": headers})
    began = time.perf_counter()
    tally = uvloop.run(load(orders))
    seconds = time.perf_counter() - began
    json.dump({"latencies": tally.latencies.counts, "errors": tally.errors, "seconds": seconds}, sys.stdout)


if __name__ == "__main__":
    main()
