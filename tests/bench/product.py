"""Link Layer as it is measured: two web workers, the shipper and a clicks worker, on private servers, clicks on."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import django

from linklayer.embedded.processes import EmbeddedError, Keeper
from linklayer.embedded.programs import Programs
from linklayer.embedded.servers import Servers
from tests.bench.contenders import DESTINATION, HOST, SLUG, cpu_seconds, family

ROOT = Path(__file__).resolve().parents[2]
WEB_WORKERS = 2
# Roll-ups and refreshes are left out: they would come and go between the runs, also those of the peers.
_PIPELINE = ("shipper", "clicks")
# Longer than the spool takes to seal what it holds, so that every click of a run is in a sealed segment.
_SEAL_SECONDS = 0.6
_INSERT_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Product:
    """The running processes. web: leader of the web workers; pipeline: leaders of shipper and clicks worker."""

    web: int
    pipeline: tuple[int, ...]
    spool: Path

    def pipeline_cpu_seconds(self) -> float:
        """Return what shipper and clicks worker have used of the processors so far, in seconds."""
        return cpu_seconds([process for pid in self.pipeline for process in family(pid)])

    def wait_for_pipeline(self, timeout_seconds: float) -> float:
        """Wait until every click taken so far is stored, and return for how long, in seconds.

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
    """Make this process one of ours (settings and database), migrate, insert so many short links, and warm the cache.

    Raises EmbeddedError.
    """
    os.environ.update(environ)
    _manage("migrate", "--verbosity=0")
    django.setup()
    from shortlinks.models import ShortLink

    rows = (
        ShortLink(slug=SLUG.format(number=number), destination=DESTINATION.format(number=number))
        for number in range(1, links + 1)
    )
    ShortLink.objects.bulk_create(rows, batch_size=_INSERT_ROWS)
    _manage("warm_cache", "--all")


def _manage(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EmbeddedError(f"manage.py {arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}")


def start(keeper: Keeper, environ: Mapping[str, str], port: int, folder: Path) -> Product:
    """Start web, shipper and clicks worker as `make run` does; the caller waits until web answers."""
    (folder / "log").mkdir()
    own = {**environ, "BIND": HOST, "PORT": str(port), "WEB_CONCURRENCY": str(WEB_WORKERS)}
    programs = {program.name: program for program in Programs(ROOT, folder, own).long_running(on_rabbitmq=False)}
    web = keeper.start(programs["web"]).pid
    pipeline = tuple(keeper.start(programs[name]).pid for name in _PIPELINE)
    return Product(web, pipeline, Path(environ["SPOOL_DIR"]))
