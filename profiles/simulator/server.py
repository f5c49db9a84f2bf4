"""The simulator on the wire: HTTP/1.1 with keep-alive, one thread per connection, and the network faults."""

import http.server
import json
import socket
import struct
import time
from http import HTTPStatus
from typing import ClassVar

from profiles.simulator.answers import Json, Reply
from profiles.simulator.application import BODY_MAX_BYTES, Outcome, Request, Simulator

_IDLE_SECONDS = 60.0


class SimulatorServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        super().__init__(address, Handler)
        self.simulator = simulator

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or a fault that cut the line, is not worth a traceback."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "LinktreeSimulator/1"
    timeout: ClassVar[float] = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: SimulatorServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing per request: `/__sim__/requests` shows them."""

    def answer(self) -> None:
        body = self._read_body()
        if self.path.startswith("/__sim__/"):
            self._write(Outcome(self.server.simulator.control(self.command, self.path, _object(body))))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body, self.client_address[0])
        self._write(self.server.simulator.handle(request))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815 - names that http.server looks up

    def _read_body(self) -> bytes | None:
        """Return the body, or None when it is too large; the connection then ends with the answer."""
        text = self.headers.get("Content-Length", "0")
        length = int(text) if text.isascii() and text.isdigit() else BODY_MAX_BYTES + 1
        if length > BODY_MAX_BYTES:
            self.close_connection = True
            self.rfile.read(min(length, 1 << 20))
            return None
        return self.rfile.read(length)

    def _write(self, outcome: Outcome) -> None:
        wire = outcome.wire
        if "slow" in wire:
            time.sleep(wire["slow"] or 0.0)
        payload = outcome.reply.payload()
        head = self._head(outcome.reply, len(payload))
        if "commit-then-drop" in wire:
            self._cut(b"")
        elif "reset" in wire:
            self._cut(head[: len(head) // 2], reset=True)
        elif "truncate" in wire:
            self._cut(head + payload[: len(payload) // 2])
        elif "drip" in wire:
            self._drip(head + payload)
        else:
            self.wfile.write(head + (b"" if self.command == "HEAD" else payload))

    def _head(self, reply: Reply, length: int) -> bytes:
        headers = {"Server": self.server_version, "Date": self.date_time_string(), **reply.headers}
        if reply.status != 204:
            headers["Content-Length"] = str(length)
        if self.close_connection:
            headers["Connection"] = "close"
        known = {status.value: status.phrase for status in HTTPStatus}
        lines = [f"HTTP/1.1 {reply.status} {known.get(reply.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _cut(self, part: bytes, *, reset: bool = False) -> None:
        """Send a part of the answer and end the connection, with a TCP reset where the fault asks for one."""
        self.wfile.write(part)
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _drip(self, data: bytes) -> None:
        for place in range(len(data)):
            self.wfile.write(data[place : place + 1])
            time.sleep(1)


def _object(body: bytes | None) -> Json:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
