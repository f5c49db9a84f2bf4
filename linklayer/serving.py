"""gunicorn's worker for the web process, and uvicorn's server with an end that cuts no request: the other half of
`BoundedProtocol.shutdown`.

A worker that is replaced accepts connections until a successor does. Then it accepts no more, answers what is on its
way, and ends when its last connection has, or with its time: gunicorn's graceful_timeout, less what the exit takes.
"""

import asyncio
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gunicorn.arbiter import Arbiter
from uvicorn import Config, Server
from uvicorn_worker import UvicornWorker

from linklayer import draining
from linklayer.edge import CONNECTIONS, BoundedProtocol

SUCCESSOR_SECONDS = 10.0  # a worker starts within 3 s on a busy machine of two cores
EXIT_SECONDS = 2.0
RESERVED_FILES = 200  # for database, cache, spool and logs
_POLL_SECONDS = 0.05


class EdgeServer(Server):
    """Serves one worker. graceful_seconds: from the signal to the kill."""

    def __init__(self, config: Config, *, graceful_seconds: float) -> None:
        super().__init__(config)
        self._generation = draining.generation()
        limit = max(graceful_seconds - EXIT_SECONDS, graceful_seconds / 2)
        config.timeout_graceful_shutdown = limit  # type: ignore[assignment] # uvicorn says int, and gives it to asyncio

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        draining.serves(self._generation)

    async def main_loop(self) -> None:
        await super().main_loop()
        until = time.monotonic() + SUCCESSOR_SECONDS
        while draining.has_to_bridge(self._generation) and time.monotonic() < until:
            await self.on_tick(0)
            await asyncio.sleep(_POLL_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.callback_notify is not None:
            await self.config.callback_notify()  # the last heartbeat: from here on gunicorn waits for its `timeout`
        waiting = [connection for listener in sockets or [] for connection in _accepted(listener)]
        for server in self.servers:
            server.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        for _ in range(2):
            await asyncio.sleep(0)  # what this turn of the loop has accepted becomes a connection in the next
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        """Make the protocol of a connection, as uvicorn's `startup` does."""
        protocol_class: Any = self.config.http_protocol_class  # of a type too wide to be called
        made: asyncio.Protocol = protocol_class(self.config, self.server_state, self.lifespan.state)
        return made


class EdgeWorker(UvicornWorker):  # type: ignore[misc] # uvicorn-worker ships no types
    """gunicorn's worker class for the web process."""

    CONFIG_KWARGS = {
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "on",
        "proxy_headers": False,  # one function of ours decides the client address
        "server_header": False,
        "access_log": False,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server = EdgeServer(self.config, graceful_seconds=self.cfg.graceful_timeout)

    def init_process(self) -> None:
        BoundedProtocol.most_connections = _connections_within_the_file_limit()
        super().init_process()

    def init_signals(self) -> None:
        """Take the signals before uvicorn does, and when it raises them once more after its end.

        By default that would end the process there and then: nothing would seal the spool.
        """
        super().init_signals()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self.handle_exit)

    def handle_exit(self, _number: int, _frame: Any) -> None:
        self.alive = False
        self._server.should_exit = True

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        # Not gunicorn's wrappers: uvloop closes their descriptor, and they once more: by then it may be another file.
        await self._server.serve(sockets=[listener.sock for listener in self.sockets])
        if not self._server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


def _connections_within_the_file_limit() -> int:
    """Raise this process's limit on open files as far as needed and allowed; returns how many connections fit in it.

    A process without a free file can neither ask the database nor record a click.
    """
    wanted = CONNECTIONS + RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return CONNECTIONS
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(1, files - RESERVED_FILES)


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Take what waits to be accepted: the last one to close a listener would reset it."""
    with suppress(OSError):  # nobody waits any more, or there is no descriptor left
        while True:
            yield listener.accept()[0]
