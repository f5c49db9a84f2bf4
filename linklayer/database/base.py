"""Django's PostgreSQL backend with an end to every wait.

The server's own time-outs need a server that runs. One that is frozen (SIGSTOP, a stalled disk or hypervisor) takes
connections and queries, the kernel acknowledges each packet, and the client waits for ever.
"""

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from psycopg.errors import ConnectionTimeout
from psycopg.errors import _WaitTimeout as WaitTimeout  # it has no public name, but this is what `wait` raises

HEALTH_CHECK_SECONDS = 1.0
PAUSE_SECONDS = 1.0
CONNECT_LOOK_SECONDS = 0.1  # psycopg's own: so often it asks whether to go on waiting for a connection


@contextmanager
def answers_within(seconds: float) -> Iterator[None]:
    """Give each query of this thread so long; past it the connection is closed and OperationalError raised."""
    before = _patience.seconds
    _patience.seconds = min(seconds, before)
    try:
        yield
    finally:
        _patience.seconds = before


class _Patience(threading.local):
    """How long this thread waits for the server: longer than the server lets a statement run."""

    def __init__(self) -> None:
        self.seconds: float = settings.DATABASE_PATIENCE_SECONDS


class _Silence:
    """When not even `SELECT 1` or a connection came, nobody connects for a second, and then one at a time: threads must
    not queue up. A query that took too long says nothing about the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0

    def begin(self) -> None:
        self._until = time.monotonic() + PAUSE_SECONDS

    def end(self) -> None:
        self._until = 0.0

    def check(self, attempt_seconds: float) -> None:
        """Raise OperationalError while it lasts; who asks first after it may try, for so long."""
        with self._lock:
            now = time.monotonic()
            if now < self._until:
                raise psycopg.OperationalError("the database did not answer a moment ago")
            if self._until:
                self._until = now + attempt_seconds


_patience = _Patience()
_silence = _Silence()


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer in time."""

    has_waited_in_vain = False

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Self]:
        """Connect as psycopg does, within this thread's patience: `connect_timeout` cannot be less than two seconds."""
        until = time.monotonic() + _patience.seconds - CONNECT_LOOK_SECONDS
        attempt = super()._connect_gen(conninfo)
        wanted = next(attempt)
        while True:
            ready = yield wanted
            if time.monotonic() > until:
                attempt.close()
                raise ConnectionTimeout("the database does not take the connection")
            try:
                wanted = attempt.send(ready)
            except StopIteration as connected:
                return connected.value  # type: ignore[no-any-return] # what a generator returns comes untyped

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, _patience.seconds if timeout is None else timeout)
        except WaitTimeout:
            self.close()  # what comes now would be the answer to a question that nobody waits for
            self.has_waited_in_vain = True
            raise psycopg.OperationalError("the database does not answer") from None


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> BoundedConnection:
        self.isolation_level = IsolationLevel.READ_COMMITTED
        _silence.check(conn_params["connect_timeout"])
        try:
            connection = BoundedConnection.connect(**conn_params)
        except ConnectionTimeout:
            _silence.begin()
            raise
        _silence.end()
        return connection

    def is_usable(self) -> bool:
        if self.connection.closed:  # by a query that took too long, perhaps: the server is not asked
            return False
        with answers_within(HEALTH_CHECK_SECONDS):
            is_usable = bool(super().is_usable())
        if not is_usable and self.connection.has_waited_in_vain:
            _silence.begin()
        return is_usable
