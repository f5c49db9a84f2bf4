"""Clients on kept-open connections that ask without pause, and know exactly which of their requests were cut off."""

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

_ANSWER_SECONDS = 20.0
_RECONNECT_SECONDS = 0.01


@dataclass(slots=True)
class Seen:
    """What all clients of one crowd saw.

    answered: whole answers by status. cut: requests that were sent and got none or a part of one. refused: connections
    that could not be opened. told_to_close: answers with `connection: close`. A connection that ends between an answer
    and the next request is no loss, and not counted.
    """

    answered: Counter[int] = field(default_factory=Counter)
    cut: list[str] = field(default_factory=list)
    refused: int = 0
    told_to_close: int = 0


class Crowd:
    """`clients` connections at once, each asking for `paths` in turn, in packets of `together` requests.

    pause_seconds: between an answer and the next request. fresh: a new connection for every request.
    """

    def __init__(
        self,
        port: int,
        paths: list[str],
        *,
        clients: int = 20,
        together: int = 1,
        pause_seconds: float = 0.0,
        fresh: bool = False,
    ) -> None:
        self.seen = Seen()
        self.fresh = fresh
        self._port = port
        self._paths = paths
        self._clients = clients
        self._together = together
        self._pause_seconds = pause_seconds
        self._is_stopping = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End every client after the answer it waits for."""
        self._is_stopping = True
        self._thread.join()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._clients):
                group.create_task(self._ask_on(number))

    async def _ask_on(self, number: int) -> None:
        while not self._is_stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionError:
                self.seen.refused += 1
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            try:
                number = await self._use(reader, writer, number)
            finally:
                writer.close()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> int:
        """Ask on one connection until it ends; returns the number of the next request."""
        while not self._is_stopping and not reader.at_eof():
            asked = [self._paths[(number + place) % len(self._paths)] for place in range(self._together)]
            number += self._together
            if not await self._exchange(reader, writer, asked) or self.fresh:
                return number
            if self._pause_seconds:
                await asyncio.sleep(self._pause_seconds)
        return number

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, paths: list[str]) -> bool:
        """Send requests in one packet and read their answers; returns whether the connection stays open."""
        done = 0
        stays_open = True
        try:
            writer.write(b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode() for path in paths))
            for _ in paths:
                status, stays_open = await asyncio.wait_for(read_answer(reader), _ANSWER_SECONDS)
                done += 1
                self.seen.answered[status] += 1
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.seen.cut += [f"{path}: {error!r}" for path in paths[done:]]
            return False
        if not stays_open:
            self.seen.told_to_close += 1
        return stays_open


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one whole answer with a length; returns its status and whether the connection stays open."""
    lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines[1:] if line)
    await reader.readexactly(int(fields.get(b"content-length", b"0")))
    return int(lines[0].split()[1]), fields.get(b"connection") != b"close"
