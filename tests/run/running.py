"""`make run` as a process: started in a folder of its own, read line by line, ended by a signal."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[2]
_OURS = re.compile(r"^(DATABASE_URL|REDIS_URL|AMQP_URL|LINKTREE_|LINKLAYER_|SECRET_KEY|DJANGO_|PORT|BIND|SPOOL_DIR)")


class Run:
    """One launcher with its own var folder; `output` holds what it has said so far."""

    def __init__(self, var: Path, port: int, environ: Mapping[str, str]) -> None:
        self.var = var
        self.port = port
        self.started_at = time.monotonic()
        self._log = var.parent / f"output-{port}"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "linklayer.run"],
                cwd=PROJECT,
                env={
                    **clean_environ(),
                    "LINKLAYER_VAR": str(var),
                    "PORT": str(port),
                    "WEB_CONCURRENCY": "1",
                    **environ,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str, *, seconds: float = 50.0) -> None:
        """Wait until it has said something; fails with all it said when it ends before, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=10)

    def processes(self) -> list[int]:
        """Return the ids of all living processes of this run: they have its var folder in their environment."""
        return _with_environment(f"LINKLAYER_VAR={self.var}")


def clean_environ() -> dict[str, str]:
    """Return our environment without what the test run has put there."""
    return {name: value for name, value in os.environ.items() if not _OURS.match(name)}


@contextmanager
def running(var: Path, port: int, environ: Mapping[str, str] | None = None) -> Iterator[Run]:
    run = Run(var, port, environ or {})
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.end()


def _with_environment(setting: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
            is_zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # ended meanwhile
            continue
        if setting.encode() in environ and not is_zombie:
            found.append(int(folder.name))
    return found
