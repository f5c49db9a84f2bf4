"""gunicorn's settings for web and, with `-k gthread linklayer.wsgi:application`, for desk."""

import os
import signal
from pathlib import Path
from typing import Any

from prometheus_client import multiprocess

from linklayer import draining

_embedded = os.environ.get("LINKLAYER_EMBEDDED") == "1"
_port = os.environ.get("PORT") or "3000"
_drain_seconds = float(os.environ.get("DRAIN_SECONDS") or 0)
_shared_memory = Path("/dev/shm")  # noqa: S108 - gunicorn keeps unnamed files there

wsgi_app = "linklayer.asgi:application"
worker_class = "linklayer.serving.EdgeWorker"
bind = [f"{host}:{_port}" for host in (os.environ.get("BIND") or "0.0.0.0").split(",")]
workers = int(os.environ.get("WEB_CONCURRENCY") or os.cpu_count() or 1)
# Longer than the idle time of the proxies before us: they, not we, close a connection that both hold open.
keepalive = 75
timeout = 30  # a heartbeat, not a limit on requests
graceful_timeout = 1 if _embedded else 25
# The same bounds as linklayer/edge.py has; only the desk needs them from gunicorn.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190
accesslog = None
# Heartbeats on a slow disk would stall the workers.
worker_tmp_dir = str(_shared_memory) if os.access(_shared_memory, os.W_OK) else None
# A socket in the home folder, which a second gunicorn of the same user would take over.
control_socket_disable = True


def on_starting(_server: Any) -> None:
    """Begin the counts anew: those of processes long gone would be added to ours."""
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for left in Path(folder).glob("*.db"):
            left.unlink()


def when_ready(server: Any) -> None:
    """Let SIGTERM be seen in /readyz first, and reach gunicorn after DRAIN_SECONDS, or when it comes again."""

    def end(_number: int, _frame: Any) -> None:
        if os.getpid() != server.pid:  # a worker so young that it has the master's handlers
            return
        is_first = not draining.is_ending()
        draining.announce_end()
        if is_first and _drain_seconds:
            signal.setitimer(signal.ITIMER_REAL, _drain_seconds)
        else:
            server.signal(signal.SIGTERM, None)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, end)


def on_reload(_server: Any) -> None:
    """Say that the workers of now will be replaced, before their successors start."""
    draining.renew()


def child_exit(_server: Any, worker: Any) -> None:
    """Drop the gauges of a worker that is gone."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # untyped in prometheus_client
