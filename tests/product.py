"""The product as processes, on the private servers of the test run: what `docker compose up` would start."""

import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from linklayer.embedded.processes import Keeper, Program
from tests.servers.addresses import free_port
from tests.servers.running import RunningServer

ROOT = Path(__file__).parent.parent
LINKTREE_KEY = "lt_live_tests"
WEBHOOK_SECRET = "whsec_test_0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


class Site:
    """A running web process, spoken to over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None, key: str = ""
    ) -> Reply:
        """body: bytes as they are, anything else as JSON. Redirects are not followed."""
        sent = dict(headers or {})
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        if key:
            sent["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url + path, data=data, headers=sent, method=method)
        try:
            with _opener.open(request, timeout=10) as response:
                return Reply(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())

    def get(self, path: str, **options: Any) -> Reply:
        return self.ask("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        return self.ask("POST", path, body=body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> Reply:
        return self.ask("PATCH", path, body=body, **options)

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz").status == 200
        except (OSError, http.client.HTTPException):
            return False


class Product:
    """Starts processes of the product; each ends with the test run at the latest.

    folder: logs and the spool. environ: settings that differ from the test run's.
    """

    def __init__(self, keeper: Keeper, folder: Path, environ: Mapping[str, str]) -> None:
        self._keeper = keeper
        self._folder = folder
        self.spool = folder / "spool"
        self.linktree_port = free_port()
        self.web_port = free_port()
        self.environ = {
            "DJANGO_SETTINGS_MODULE": "tests.settings",  # the product's, but for static files by their own names
            "SPOOL_DIR": str(self.spool),
            "LINKTREE_BASE_URL": f"http://127.0.0.1:{self.linktree_port}/v1",
            "LINKTREE_API_KEY": LINKTREE_KEY,
            "LINKTREE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "LINKTREE_SIMULATOR_WEBHOOK_URL": f"http://127.0.0.1:{self.web_port}/webhooks/linktree",
            "PYTHONWARNINGS": "default",
            "REDIS_TIMEOUT_SECONDS": "0.1",
            "NOT_FOUND_RATE": "1000000/m",  # one address plays all visitors
            **environ,
        }
        self._running: list[RunningServer] = []

    def web(self, *, processes: int = 2, environ: Mapping[str, str] | None = None) -> tuple[Site, RunningServer]:
        """Start the front door under gunicorn and wait until it is ready."""
        site = Site(f"http://127.0.0.1:{self.web_port}")
        argv = ("-m", "gunicorn", "-c", "linklayer/gunicorn_conf.py", "linklayer.asgi:application")
        settings = {"PORT": str(self.web_port), "WEB_CONCURRENCY": str(processes), **(environ or {})}
        return site, self._serve("web", argv, settings, site)

    def desk(self) -> tuple[Site, RunningServer]:
        """Start Django without the front door."""
        port = str(free_port())
        site = Site(f"http://127.0.0.1:{port}")
        argv = ("-m", "gunicorn", "-c", "linklayer/gunicorn_conf.py", "-k", "gthread", "linklayer.wsgi:application")
        return site, self._serve("desk", argv, {"PORT": port, "WEB_CONCURRENCY": "1"}, site)

    def linktree(self) -> tuple[Site, RunningServer]:
        """Start the Linktree simulator."""
        site = Site(f"http://127.0.0.1:{self.linktree_port}")
        program = self._program("linktree", ("manage.py", "linktree_simulator", "--port", str(self.linktree_port)), {})

        def is_ready() -> bool:
            try:
                return site.get("/v1/health").status == 200
            except (OSError, http.client.HTTPException):
                return False

        return site, self._started(RunningServer(self._keeper, site.url, lambda: program, is_ready))

    def shipper(self) -> RunningServer:
        return self._background("shipper", ("manage.py", "ship_clicks"))

    def worker(self, queues: str) -> RunningServer:
        """queues: as celery takes them, "clicks.v1,default.v1"."""
        name = queues.partition(".")[0]
        argv = ("-m", "celery", "-A", "linklayer", "worker", "-Q", queues, "-c", "1", "-n", f"{name}@test")
        return self._background(f"worker-{name}", argv)

    def beat(self) -> RunningServer:
        return self._background("beat", ("-m", "celery", "-A", "linklayer", "beat"))

    def manage(self, *arguments: str) -> str:
        """Run a command to its end; returns what it printed."""
        log = self._folder / f"manage-{arguments[0]}.log"
        log.unlink(missing_ok=True)
        self._keeper.run(self._program(f"manage-{arguments[0]}", ("manage.py", *arguments), {}))
        return log.read_text()

    def stop(self) -> None:
        for server in reversed(self._running):
            server.stop()

    def _serve(self, name: str, argv: tuple[str, ...], settings: Mapping[str, str], site: Site) -> RunningServer:
        program = self._program(name, argv, {"BIND": "127.0.0.1", **settings})
        return self._started(RunningServer(self._keeper, site.url, lambda: program, site.is_ready))

    def _background(self, name: str, argv: tuple[str, ...]) -> RunningServer:
        program = self._program(name, argv, {})
        return self._started(RunningServer(self._keeper, "", lambda: program, lambda: True))

    def _started(self, server: RunningServer) -> RunningServer:
        self._running.append(server)
        server.wait()
        return server

    def _program(self, name: str, argv: tuple[str, ...], settings: Mapping[str, str]) -> Program:
        environ = {**self.environ, **settings}
        return Program(name, (sys.executable, *argv), ROOT, self._folder / f"{name}.log", environ)
