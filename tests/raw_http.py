"""HTTP as bytes on a socket: what no client library would send, and what comes back for it."""

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

CLOSING = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class RawReply:
    """One answer. headers: sorted, names in lower case. next_status: what the same connection answered to a request
    after it, 0 if it was closed. status 0: closed without an answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    interim: tuple[int, ...] = ()
    next_status: int = 0

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class Connection:
    """A connection to a web process of this machine."""

    def __init__(self, port: int, *, timeout_seconds: float = 8.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send; a server that has had enough may cut it short."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def reply(self, *, is_head: bool = False) -> RawReply:
        """Read one answer, to the end of the connection if it says that it closes. Raises TimeoutError."""
        interim: tuple[int, ...] = ()
        while True:
            if not self._until(lambda: b"\r\n\r\n" in self._received):
                return RawReply(0, interim=interim)
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            status = int(first.split(" ")[1])
            if status >= 200:
                break
            interim += (status,)
        fields = [line.split(": ", 1) for line in lines]
        headers = tuple(sorted((name.lower(), value) for name, value in fields))
        return RawReply(status, headers, self._body(dict(headers), is_empty=is_head or status == 304), interim)

    def rest(self) -> bytes:
        """Read to the end of the connection. Raises TimeoutError if it stays open."""
        self._until(lambda: False)
        rest, self._received = self._received, b""
        return rest

    def _body(self, headers: dict[str, str], *, is_empty: bool) -> bytes:
        if "close" in headers.get("connection", ""):
            return self.rest()
        if is_empty:
            return b""
        if "content-length" in headers:
            return self._take(int(headers["content-length"]))
        body = b""
        while size := int(self._line(), 16):
            body += self._take(size)
            self._line()
        self._line()
        return body

    def _line(self) -> bytes:
        assert self._until(lambda: b"\r\n" in self._received)
        line, _, self._received = self._received.partition(b"\r\n")
        return line

    def _take(self, size: int) -> bytes:
        assert self._until(lambda: len(self._received) >= size)
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _until(self, is_enough: Callable[[], bool]) -> bool:
        while not is_enough():
            try:
                chunk = self.socket.recv(1 << 18)
            except ConnectionResetError:
                return False
            if not chunk:
                return False
            self._received += chunk
        return True


def answer(port: int, request: bytes, *, is_head: bool = False) -> RawReply:
    """Send one request, then another one if the connection still stands."""
    with Connection(port) as connection:
        connection.send(request)
        reply = connection.reply(is_head=is_head)
        if reply.status == 0 or "close" in (reply.header("connection") or ""):
            return reply
        connection.send(CLOSING)
        following = connection.reply()
        return RawReply(reply.status, reply.headers, reply.body, reply.interim, following.status)
