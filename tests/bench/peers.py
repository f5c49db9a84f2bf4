"""Who we are measured beside: plain Django, nginx, and running servers given by address."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from linklayer.embedded.processes import Program
from tests.bench.contenders import HOST, Contender, Server, in_turn
from tests.bench.rows import destination

# One worker per core, as ours; 16 threads each, more than the 100 connections keep busy on two cores.
PLAIN_WORKERS, PLAIN_THREADS = 2, 16


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server given as NAME=URL. `{n}` in the URL's path stands for the numbers from 1 on."""

    name: str
    url: str

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """Raises ValueError unless text is NAME=http://HOST:PORT/PATH."""
        name, _, url = text.partition("=")
        parts = urlsplit(url)
        if not name or parts.scheme != "http" or not parts.hostname or not parts.port or not parts.path:
            raise ValueError(f"{text!r} is not of the form NAME=http://HOST:PORT/PATH")
        url.format(n=1)
        return cls(name, url)

    def contender(self, numbers: range, *, status: int) -> Contender:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        paths = tuple(dict.fromkeys(parts.path.format(n=number) for number in numbers))
        server = Server(parts.port, listener(parts.port), host=parts.hostname)
        return Contender(self.name, f"given as {self.name}={self.url}", server, in_turn(paths, status=status))


def listener(port: int) -> int | None:
    """Return the process that listens on a local TCP port: the oldest, where several share it."""
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid is not None
    }
    return min(pids, key=lambda pid: psutil.Process(pid).create_time(), default=None)


def plain_django(python: str, port: int, folder: Path, environ: Mapping[str, str]) -> Program:
    """Return how to run the plain application under gunicorn's threads."""
    scale = ("--workers", str(PLAIN_WORKERS), "--threads", str(PLAIN_THREADS))
    options = ("-k", "gthread", "--keep-alive", "75", "--bind", f"{HOST}:{port}", "--no-control-socket")
    return Program(
        name="plain Django",
        argv=(python, "-m", "gunicorn", *options, *scale, "tests.bench.plain_django:application"),
        directory=Path(__file__).resolve().parents[2],
        log=folder / "plain-django.log",
        environ={**environ, "DJANGO_SETTINGS_MODULE": "tests.bench.plain_django_settings"},
    )


def nginx(port: int, folder: Path) -> Program | None:
    """Return how to run nginx with a fixed 302, or None where it is not installed."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or shutil.which("nginx")
    if binary is None:
        return None
    home = folder / "nginx"
    home.mkdir()
    configuration = home / "nginx.conf"
    configuration.write_text(_NGINX.format(home=home, host=HOST, port=port, destination=destination(1)))
    return Program(
        name="nginx",
        argv=(binary, "-p", str(home), "-e", str(home / "error.log"), "-c", str(configuration)),
        directory=home,
        log=home / "log",
        environ={},
    )


_NGINX = """
daemon off;
pid {home}/pid;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen {host}:{port} backlog=2048;
        location / {{ return 302 {destination}; }}
    }}
}}
"""
