"""Who is measured: a server that answers, where it listens, what it is asked, and its processes."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from linklayer.embedded.processes import Program

DESTINATION = "https://example.com/some/long/path/{number}"
SLUG = "s{number:05d}"
HOST = "127.0.0.1"

# One worker per core, as ours; 16 threads each, more than the 100 connections keep busy on two cores.
PLAIN_WORKERS, PLAIN_THREADS = 2, 16


@dataclass(frozen=True, slots=True)
class Contender:
    """paths: {scenario name: what is asked in it}; it takes no part in a scenario that is not there.

    leader: process id whose descendants serve, with itself; None where they cannot be seen. counts_clicks: whether
    every redirect becomes a stored click, which the benchmark then checks.
    """

    name: str
    remark: str
    port: int
    paths: Mapping[str, tuple[str, ...]]
    leader: int | None
    host: str = HOST
    counts_clicks: bool = False

    def processes(self) -> list[psutil.Process]:
        """Return the serving processes that live now."""
        return [] if self.leader is None else family(self.leader)

    def cpu_seconds(self) -> float:
        """Return what the serving processes have used of the processors so far, in seconds."""
        return cpu_seconds(self.processes())

    def largest_rss_bytes(self) -> int:
        """Return the resident memory of the largest serving process, in bytes; 0 where it cannot be seen."""
        return max((process.memory_info().rss for process in self.processes()), default=0)


def family(leader: int) -> list[psutil.Process]:
    """Return the process of that id and its descendants; none if it has ended."""
    try:
        process = psutil.Process(leader)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Return what processes have used of the processors so far, in seconds; one that has just ended counts nothing."""
    used = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server given by `--peer NAME=URL`. `{n}` in the URL's path stands for the numbers from 1 on."""

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

    def contender(self, scenario: str, numbers: range) -> Contender:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        paths = tuple(dict.fromkeys(parts.path.format(n=number) for number in numbers))
        remark = f"given as {self.name}={self.url}"
        return Contender(self.name, remark, parts.port, {scenario: paths}, listener(parts.port), host=parts.hostname)


def listener(port: int) -> int | None:
    """Return the process that listens on a local TCP port: the oldest, where several share it."""
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid is not None
    }
    return min(pids, key=lambda pid: psutil.Process(pid).create_time(), default=None)


def plain_django(python: str, port: int, folder: Path, environ: Mapping[str, str]) -> Program:
    """Return how to run the peer application under gunicorn's threads."""
    scale = ("--workers", str(PLAIN_WORKERS), "--threads", str(PLAIN_THREADS))
    options = ("-k", "gthread", "--keep-alive", "75", "--bind", f"{HOST}:{port}", "--no-control-socket")
    return Program(
        name="plain Django",
        argv=(python, "-m", "gunicorn", *options, *scale, "tests.bench.peer:application"),
        directory=Path(__file__).resolve().parents[2],
        log=folder / "plain-django.log",
        environ={**environ, "DJANGO_SETTINGS_MODULE": "tests.bench.peer_settings"},
    )


def nginx(port: int, folder: Path) -> Program | None:
    """Return how to run nginx with a fixed 302, or None where it is not installed."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or shutil.which("nginx")
    if binary is None:
        return None
    home = folder / "nginx"
    home.mkdir()
    configuration = home / "nginx.conf"
    configuration.write_text(_NGINX.format(home=home, host=HOST, port=port, destination=DESTINATION.format(number=1)))
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
