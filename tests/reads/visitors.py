"""Visitors in an event loop of their own: requests at a steady pace or all at once, over keep-alive connections.

The pace is an open loop: who is not answered holds up nobody else, so a stall shows in every answer that it touches.
"""

import asyncio
import contextlib
import re
import threading
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Any, Self, cast

from tests.bench.load_client import answer_end

PATIENCE_SECONDS = 10.0
SAMPLE_SECONDS = 0.02
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """status: 0 if none came. seconds: from the request to the end of its answer. asked_at: time.monotonic()."""

    port: int
    path: str
    status: int
    asked_at: float
    seconds: float
    head: bytes = b""

    def header(self, name: str) -> str:
        """Return the header's value, "" without it; name: in lower case, as the product's web writes it."""
        found = re.search(rb"\r\n" + name.encode() + rb": ([^\r\n]*)", self.head, re.IGNORECASE)
        return found[1].decode("latin-1") if found else ""


class _Connection(asyncio.Protocol):
    """One request at a time; `answered` is set to the bytes of the answer, empty if the connection ended before."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[bytes] | None = None
        self.is_open = True
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answered

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = answer_end(self._received)
        if end is None or self.answered is None:
            return
        answer, self._received = self._received[:end], b""
        self.is_open = self.is_open and not _CLOSES.search(answer[: answer.find(b"\r\n\r\n")])
        self.answered.set_result(answer)
        self.answered = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(b"")


class Visitors:
    """Asks ports in turn; `answers` grows as they come. Use as a context; at its end every answer has come.

    pids: by port, the process that answers there.
    """

    def __init__(self, pids: Mapping[int, int]) -> None:
        self.answers: list[Answer] = []
        self._ports = list(pids)
        self._pids = pids
        self._free: dict[int, list[_Connection]] = {port: [] for port in pids}
        self._sampled_at: list[float] = []
        self._in_line: list[dict[int, float]] = []  # by port, seconds stood in line for a processor until then
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="visitors")

    def __enter__(self) -> Self:
        self._thread.start()
        self._sampling = self._start(self._sample())
        return self

    def __exit__(self, *_: object) -> None:
        self._sampling.cancel()
        self._start(self._close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def asking(self, paths: Iterable[str], *, per_second: float) -> Iterator[list[Answer]]:
        """Ask for the paths, over and over, while the block runs; gives the answers of this time, complete after it."""
        since = len(self.answers)
        seen: list[Answer] = []
        stopping = asyncio.Event()
        pace = self._start(self._pace(cycle(paths), 1 / per_second, stopping))
        try:
            yield seen
        finally:
            self._loop.call_soon_threadsafe(stopping.set)
            pace.result()
            seen.extend(self.answers[since:])

    def ask_at_once(self, path: str, times: int) -> Callable[[], list[Answer]]:
        """Send so many requests in one go, over connections opened before; returns what waits for their answers."""
        share = times // len(self._ports)
        self._start(self._open(share)).result()
        asked = self._start(self._all([(port, path) for port in self._ports for _ in range(share)]))
        return asked.result

    def slowest(self, answers: Iterable[Answer]) -> float:
        """Return the seconds of the slowest answer, without those in which we and who answers had no processor.

        On a busy machine they are more than any time-out of ours.
        """
        return max(map(self.seconds, answers))

    def seconds(self, answer: Answer) -> float:
        """Return how long the answer took, in that sense."""
        return answer.seconds - self._seconds_in_line(answer)

    def _seconds_in_line(self, answer: Answer) -> float:
        begin = bisect(self._sampled_at, answer.asked_at) - 1
        end = min(bisect(self._sampled_at, answer.asked_at + answer.seconds), len(self._sampled_at) - 1)
        return self._in_line[end][answer.port] - self._in_line[max(begin, 0)][answer.port]

    def _start(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _sample(self) -> None:
        while True:
            mine = _seconds_in_line(f"self/task/{threading.get_native_id()}")
            self._in_line.append({
                port: mine + _seconds_in_line(f"{pid}/task/*") for port, pid in self._pids.items()
            })  # fmt: skip
            self._sampled_at.append(time.monotonic())
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _pace(self, paths: Iterator[str], interval: float, stopping: asyncio.Event) -> None:
        due_at = time.monotonic()
        numbers = count()
        async with asyncio.TaskGroup() as asked:
            while not stopping.is_set():
                port = self._ports[next(numbers) % len(self._ports)]
                asked.create_task(self._ask(port, next(paths)))
                due_at = max(due_at + interval, time.monotonic() - interval)  # what was held up is not made up for
                await asyncio.sleep(max(0.0, due_at - time.monotonic()))

    async def _all(self, asked: list[tuple[int, str]]) -> list[Answer]:
        return await asyncio.gather(*(self._ask(port, path) for port, path in asked))

    async def _ask(self, port: int, path: str) -> Answer:
        asked_at = time.monotonic()
        head = b""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                free = self._free[port]
                connection = free.pop() if free else await self._connected(port)
                while not connection.is_open:
                    connection = free.pop() if free else await self._connected(port)
                head = await connection.ask(_request(path))
            if connection.is_open:
                self._free[port].append(connection)
        except (OSError, TimeoutError):
            pass  # no answer: status 0 says so
        status = int(head[9:12]) if head else 0
        answer = Answer(port, path, status, asked_at, time.monotonic() - asked_at, head[: head.find(b"\r\n\r\n")])
        self.answers.append(answer)
        return answer

    async def _open(self, share: int) -> None:
        for port, free in self._free.items():
            while len(free) < share:
                free.append(await self._connected(port))

    async def _connected(self, port: int) -> _Connection:
        _, connection = await self._loop.create_connection(_Connection, "127.0.0.1", port)
        return connection

    async def _close(self) -> None:
        for free in self._free.values():
            for connection in free:
                connection.transport.close()
        await asyncio.sleep(0)


def _seconds_in_line(threads: str) -> float:
    """Return how long these threads, a pattern below /proc, have been ready to run and did not.

    Source: Linux, Documentation/scheduler/sched-stats.rst.
    """
    seconds = 0.0
    for file in Path("/proc").glob(f"{threads}/schedstat"):
        with contextlib.suppress(OSError):  # it has just ended
            seconds += int(file.read_text().split()[1]) / 1e9
    return seconds


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Firefox\r\n\r\n".encode()


def statuses(answers: Iterable[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)
