"""Keeps programs running: one that ends is started again, later and later while it keeps ending."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from linklayer.embedded.processes import EmbeddedError, Keeper, Program, obituary

_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
_STABLE_SECONDS = 30.0  # one that ran that long starts again with the first delay
_TRIES_AT_START = 3
_POLL_SECONDS = 0.1


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started_at: float
    failures: int = 0
    due_at: float | None = None


class Supervisor:
    """Starts programs and starts them again. say: takes one line for the user about each end."""

    def __init__(self, keeper: Keeper, say: Callable[[str], None]) -> None:
        self._keeper = keeper
        self._say = say
        self._children: list[_Child] = []

    def start(self, program: Program) -> subprocess.Popen[bytes]:
        process = self._keeper.start(program)
        self._children.append(_Child(program, process, time.monotonic()))
        return process

    def start_until(self, is_ready: Callable[[], bool], *, timeout_seconds: float) -> None:
        """Watch over the programs until all is ready.

        Raises EmbeddedError when one keeps ending or the time is over, StopRequested when the user wants no more.
        """
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            self._look(_TRIES_AT_START)
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"not ready after {timeout_seconds:.0f} s: see {self._children[-1].program.log.parent}"
                )
            self._keeper.pause(_POLL_SECONDS)

    def watch(self) -> None:
        """Watch over the programs until StopRequested is raised."""
        while True:
            self._look(None)
            self._keeper.pause(_POLL_SECONDS)

    def _look(self, tries: int | None) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.due_at is None and child.process.poll() is not None:
                self._bury(child, now, tries)
            if child.due_at is not None and now >= child.due_at:
                child.process, child.started_at, child.due_at = self._keeper.start(child.program), now, None

    def _bury(self, child: _Child, now: float, tries: int | None) -> None:
        self._keeper.forget(child.process)
        child.failures = 1 if now - child.started_at > _STABLE_SECONDS else child.failures + 1
        epitaph = obituary(child.program, child.process.returncode)
        if tries is not None and child.failures >= tries:
            raise EmbeddedError(f"{epitaph}; tried {tries} times")
        delay = min(_FIRST_DELAY_SECONDS * 2 ** (child.failures - 1), _LONGEST_DELAY_SECONDS)
        self._say(f"{epitaph}; starts again in {delay:g} s")
        child.due_at = now + delay
