"""The address on which `make run` answers: read from the environment, checked to be free, asked whether it is ready."""

import contextlib
import errno
import os
import socket
from dataclasses import dataclass

from linklayer.embedded.processes import EmbeddedError

# Loopback only, unless BIND says otherwise: some doors are open to whoever reaches an embedded system.
_LOOPBACK = ("127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Door:
    """hosts: as gunicorn's bind wants them, IPv6 in brackets."""

    hosts: tuple[str, ...]
    port: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def check_free(self) -> None:
        """Raise EmbeddedError if another program listens there, or we may not."""
        for host in self.hosts:
            try:
                with _listening_socket(host) as probe:
                    probe.bind((host.strip("[]"), self.port))
            except OSError as error:
                raise EmbeddedError(self._complaint(error)) from error

    def is_ready(self) -> bool:
        """Say whether /readyz answers 200."""
        host = "127.0.0.1" if self.hosts[0] in {"0.0.0.0", "[::]"} else self.hosts[0].strip("[]")
        request = f"GET /readyz HTTP/1.1\r\nHost: localhost:{self.port}\r\nConnection: close\r\n\r\n"
        with contextlib.suppress(OSError), socket.create_connection((host, self.port), timeout=2) as connection:
            connection.sendall(request.encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
        return False

    def _complaint(self, error: OSError) -> str:
        if error.errno == errno.EADDRINUSE:
            return f"port {self.port} is busy: stop what listens there, or choose another one: make run PORT=3001"
        return f"cannot listen on port {self.port}: {error.strerror}; choose another one: make run PORT=3001"


def from_environment() -> Door:
    """Read PORT (3000) and BIND (loopback). Raises EmbeddedError for what is no port."""
    text = os.environ.get("PORT") or "3000"
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise EmbeddedError(f"PORT must be a number from 1 to 65535, not {text!r}")
    hosts = os.environ.get("BIND")
    return Door(tuple(hosts.split(",")) if hosts else _loopback_hosts(), int(text))


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    """Say whether something listens on a loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _loopback_hosts() -> tuple[str, ...]:
    def exists(host: str) -> bool:
        with contextlib.suppress(OSError), _listening_socket(host) as probe:
            probe.bind((host.strip("[]"), 0))
            return True
        return False

    return tuple(host for host in _LOOPBACK if exists(host))


def _listening_socket(host: str) -> socket.socket:
    probe = socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return probe
