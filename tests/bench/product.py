"""Link Layer as it is measured: two web workers, the shipper and a clicks worker, on private servers, clicks on."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import django

from linklayer.embedded.processes import EmbeddedError, Keeper, Program
from linklayer.embedded.programs import Programs
from linklayer.embedded.servers import Servers
from tests.bench import rows
from tests.bench.contenders import HOST, cpu_seconds, family
from tests.bench.results import Sample

ROOT = Path(__file__).resolve().parents[2]
WEB_WORKERS = 2
# Roll-ups and refreshes are left out: they would come and go between the runs, also those of the peers.
_PIPELINE = ("shipper", "clicks")
# Longer than the spool takes to seal what it holds, so that every click of a run is in a sealed segment.
_SEAL_SECONDS = 0.6


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What is behind web. leaders: the processes of shipper and clicks worker."""

    leaders: tuple[int, ...]
    spool: Path

    def cpu_seconds(self) -> float:
        """Return what shipper and clicks worker have used of the processors so far, in seconds."""
        return cpu_seconds([process for pid in self.leaders for process in family(pid)])

    def sample(self) -> Sample:
        """Return what pipeline and tier 2 have done so far; for a process that `prepare` made one of ours."""
        from django_redis import get_redis_connection

        from linklayer.tier2 import ALIAS

        stats = get_redis_connection(ALIAS).info("stats")
        waiting = len(list(self.spool.glob("*.sealed")))
        hits, misses = stats["keyspace_hits"], stats["keyspace_misses"]
        return Sample(time.monotonic(), self.cpu_seconds(), hits, misses, waiting)

    def wait(self, timeout_seconds: float) -> float:
        """Wait until every click and view taken so far is stored, and return for how long, in seconds.

        The shipper deletes a segment when all its batches stand in the database: no segment, nothing under way.
        Raises EmbeddedError when that takes longer than timeout_seconds.
        """
        began = time.monotonic()
        time.sleep(_SEAL_SECONDS)
        while waiting := list(self.spool.glob("*.sealed")):
            if time.monotonic() - began > timeout_seconds:
                raise EmbeddedError(f"{len(waiting)} segments are still in {self.spool} after {timeout_seconds:.0f} s")
            time.sleep(0.1)
        return time.monotonic() - began


def start_servers(keeper: Keeper, folder: Path, private: Path) -> dict[str, str]:
    """Start the private servers and return the settings by which our processes find them and their data in folder.

    private: a short folder for sockets. Raises EmbeddedError.
    """
    return {
        **Servers(folder, private, secrets.token_hex(16)).start(keeper),
        "DJANGO_SETTINGS_MODULE": "linklayer.settings",
        "LINKLAYER_EMBEDDED": "1",
        "LINKLAYER_VAR": str(folder),
        "SPOOL_DIR": str(folder / "spool"),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "LINKTREE_BASE_URL": "",
        "LOG_LEVEL": "warning",
    }


def prepare(environ: Mapping[str, str], links: int) -> None:
    """Make this process one of ours (settings and database), migrate, insert links and profiles, warm the cache.

    Raises EmbeddedError.
    """
    os.environ.update(environ)
    _manage("migrate", "--verbosity=0")
    django.setup()
    rows.insert_links(1, links)
    rows.insert_profiles()
    _manage("warm_cache", "--all")
    _manage("collectstatic", "--noinput", "--verbosity=0")  # pages name their files by content


def _manage(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EmbeddedError(f"manage.py {arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}")


def api_key() -> str:
    """Make an API key that may create short links, and return its text; for a process that `prepare` made ours."""
    from linklayer.keys import create_api_key

    return create_api_key(name="bench", scopes=["links:write"])[1]


def start_pipeline(keeper: Keeper, environ: Mapping[str, str], folder: Path) -> Pipeline:
    """Start shipper and clicks worker as `make run` does."""
    programs = _programs(environ, folder)
    return Pipeline(tuple(keeper.start(programs[name]).pid for name in _PIPELINE), Path(environ["SPOOL_DIR"]))


def web(environ: Mapping[str, str], port: int, folder: Path) -> Program:
    """Return how to run a web as `make run` does. folder: its own, for logs and metrics; the spool is everybody's."""
    own = {**environ, "BIND": HOST, "PORT": str(port), "WEB_CONCURRENCY": str(WEB_WORKERS)}
    return _programs(own, folder)["web"]


def desk(environ: Mapping[str, str], port: int, folder: Path) -> Program:
    """Return how to run Django alone under gunicorn's threads, with as many of them as web has."""
    from django.conf import settings

    program = web(environ, port, folder)
    own = ("-k", "gthread", "--threads", str(settings.DJANGO_THREADS), "linklayer.wsgi:application")
    return replace(program, name="desk", argv=(*program.argv, *own))


def _programs(environ: Mapping[str, str], folder: Path) -> dict[str, Program]:
    (folder / "log").mkdir(parents=True, exist_ok=True)
    return {program.name: program for program in Programs(ROOT, folder, environ).long_running(on_rabbitmq=False)}
