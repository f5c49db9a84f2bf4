"""A server of the test run while it lives: tests break it, and put it right again."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from linklayer.embedded.processes import Keeper, Program

_START_SECONDS = 60.0


class RunningServer:
    """A started server with its address; `start` after `kill` or `stop` brings it back with its data."""

    def __init__(
        self, keeper: Keeper, url: str, program: Callable[[], Program], is_ready: Callable[[], bool], *before: Program
    ) -> None:
        self.url = url
        self._keeper = keeper
        self._program = program
        self._is_ready = is_ready
        for helper in before:
            keeper.start(helper)
        self.launch()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def launch(self) -> None:
        """Start without waiting."""
        self._process: subprocess.Popen[bytes] = self._keeper.start(self._program())

    def wait(self) -> None:
        """Wait until it answers."""
        self._keeper.wait_until(self._is_ready, self._process, self._program(), timeout_seconds=_START_SECONDS)

    def start(self) -> None:
        self.launch()
        self.wait()

    def stop(self) -> None:
        self._keeper.stop(self._process)

    def kill(self) -> None:
        """End it and all its descendants as `kill -9` would."""
        self._signal_all(signal.SIGKILL)
        self._process.wait()
        self._keeper.forget(self._process)

    def freeze(self) -> None:
        """Stop it from answering, without ending it (SIGSTOP to all its processes)."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, wanted: signal.Signals) -> None:
        """Signal it and its descendants, parents first: PostgreSQL's backends lead groups of their own."""
        for pid in list(_family(self.pid)):  # all are found before the first is gone
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, wanted)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            for child in children.read_text().split():
                yield from _family(int(child))
