"""The programs of `make run` besides its servers: what each is called, how it is run, and how it ends."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from linklayer.embedded.processes import Program

_MANAGE = "manage.py"
# Clicks wait in the spool, visitors do not: what ships and stores them gives way to the web.
_GIVES_WAY = 19
# A second's worth of gossip between workers, which ours do not need.
_WORKER = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "info")


@dataclass(frozen=True, slots=True)
class Programs:
    """All programs of one installation.

    project: the folder of manage.py. var: where their data and logs are. environ: their settings, besides our own.
    """

    project: Path
    var: Path
    environ: Mapping[str, str]

    def simulator(self, port: int, receiver: str) -> Program:
        """The Linktree simulator on loopback. receiver: the address that takes its webhooks."""
        state = str(self.var / "linktree.json")
        return self._python(
            "simulator", _MANAGE, "linktree_simulator", "--port", str(port), "--webhook-url", receiver, "--state", state
        )

    def prepare_database(self) -> Program:
        return self._python("migrations and demo data", "-m", "linklayer.embedded.prepare")

    def collect_static(self) -> Program:
        return self._python("static files", _MANAGE, "collectstatic", "--noinput", "--clear", "--verbosity", "0")

    def long_running(self, *, on_rabbitmq: bool) -> list[Program]:
        """Web first: it takes the longest to come up."""
        dead_letters = [self._python("dead-letters", _MANAGE, "consume_dead_letters")] if on_rabbitmq else []
        return [
            self._web(),
            self._python("shipper", _MANAGE, "ship_clicks", niceness=_GIVES_WAY),
            self._worker("clicks", "clicks.v1", concurrency=1, niceness=_GIVES_WAY),
            self._worker("work", "linktree.v1,webhooks.v1,default.v1", concurrency=2),
            self._celery("beat", "beat", "--schedule", str(self.var / "beat"), "--pidfile=", "--loglevel", "info"),
            *dead_letters,
        ]

    def _web(self) -> Program:
        """gunicorn; whichever worker is asked for /metrics answers for all of them."""
        web = self._python("web", "-m", "gunicorn", "-c", "linklayer/gunicorn_conf.py")
        return replace(web, environ={**web.environ, "PROMETHEUS_MULTIPROC_DIR": str(self.var / "metrics")})

    def _worker(self, name: str, queues: str, *, concurrency: int, niceness: int = 0) -> Program:
        options = ("-n", f"{name}@%h", "-Q", queues, "--concurrency", str(concurrency), *_WORKER)
        return self._celery(name, "worker", *options, niceness=niceness)

    def _celery(self, name: str, *arguments: str, niceness: int = 0) -> Program:
        return self._python(name, "-m", "celery", "-A", "linklayer", *arguments, niceness=niceness)

    def _python(self, name: str, *arguments: str, niceness: int = 0) -> Program:
        log = self.var / "log" / f"{name.replace(' ', '-')}.log"
        return Program(name, (sys.executable, *arguments), self.project, log, self.environ, niceness=niceness)
