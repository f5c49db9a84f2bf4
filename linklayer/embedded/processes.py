"""Starts programs in process groups of their own, and ends them all, whatever happens to us.

Each program leads its own group, so that a Ctrl-C in the terminal reaches only the launcher, and the launcher decides
the order in which the others end. A guardian process ends them when the launcher itself is killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from linklayer.embedded import guardian

_POLL_SECONDS = 0.02
_AUTOGROUP_TRIES = 5
_AUTOGROUP_PAUSE_SECONDS = 0.05


class EmbeddedError(Exception):
    """Something could not be started; the message is one line for the user, naming the log to read."""


class StopRequested(Exception):
    """The user wants us to end (Ctrl-C, SIGTERM); raised where the launcher waits, never where it starts something."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how to end it.

    environ: added to our own environment. log: the file that takes its output. stdin: a short text for it to read.
    stage: programs of lower stages end before those of higher ones. niceness: 0 to 19. user: the uid (and gid) to run
    as, only for root.
    """

    name: str
    argv: tuple[str, ...]
    directory: Path
    log: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    stage: int = 0
    niceness: int = 0
    user: int | None = None


class Keeper:
    """Holds started programs; leaving its context ends them.

    held_open: file descriptors that the guardian keeps, such as a lock to be held until everything has ended.
    """

    def __init__(self, *, held_open: tuple[int, ...] = ()) -> None:
        self.stop_requested = False
        self._kept: dict[int, tuple[subprocess.Popen[bytes], guardian.Group]] = {}
        reading_end, writing_end = os.pipe()
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__],
            stdin=reading_end,
            start_new_session=True,
            cwd="/",
            pass_fds=held_open,
        )
        os.close(reading_end)
        self._pipe = os.fdopen(writing_end, "w", buffering=1)  # line by line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, program: Program) -> subprocess.Popen[bytes]:
        """Start a program and return its process.

        Raises EmbeddedError when it cannot be executed.
        """
        try:
            with program.log.open("ab") as log:
                process = subprocess.Popen(
                    program.argv,
                    cwd=program.directory,
                    env={**os.environ, **program.environ},
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    user=program.user,
                    group=program.user,
                    extra_groups=None if program.user is None else (),
                )
        except OSError as error:
            raise EmbeddedError(f"{program.name} cannot be started: {error}") from error
        group = guardian.Group(process.pid, program.stop_signal, program.stage)
        self._kept[process.pid] = process, group
        self._tell(f"+{group.pgid} {group.stop_signal} {group.stage}")
        if program.niceness:
            _lower_priority(process.pid, program.niceness)
        _feed(process, program.stdin)
        return process

    def run(self, program: Program) -> None:
        """Start a program that ends by itself, and wait for that.

        Raises EmbeddedError when it fails, StopRequested when the user does not want to wait for it.
        """
        self.wait_for_end(self.start(program), program)

    def wait_for_end(self, process: subprocess.Popen[bytes], program: Program) -> None:
        """Wait for the end of a started program; raises like `run`."""
        while process.poll() is None:
            self.pause()
        self.forget(process)
        if process.returncode:
            raise EmbeddedError(obituary(program, process.returncode))

    def wait_until(
        self,
        is_ready: Callable[[], bool],
        process: subprocess.Popen[bytes],
        program: Program,
        *,
        timeout_seconds: float = 30.0,
    ) -> None:
        """Wait until a started program is ready.

        Raises EmbeddedError when it ends first or is not ready in time, StopRequested as `run`.
        """
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            if process.poll() is not None:
                raise EmbeddedError(obituary(program, process.returncode))
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{program.name} is not ready after {timeout_seconds:.0f} s: see {program.log}")
            self.pause()

    def pause(self, seconds: float = _POLL_SECONDS) -> None:
        """Sleep; raises StopRequested when the user wants us to end (a signal cuts the sleep short)."""
        deadline = time.monotonic() + seconds
        while not self.stop_requested and time.monotonic() < deadline:
            time.sleep(min(_POLL_SECONDS, seconds))
        if self.stop_requested:
            raise StopRequested

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End one program and everything it started."""
        if process.pid in self._kept:
            guardian.end_groups([self._kept[process.pid][1]])
            self.forget(process)

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        """Let go of a program that has ended by itself; what it may have left in its group is killed."""
        if self._kept.pop(process.pid, None) is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._tell(f"-{process.pid}")

    def close(self) -> None:
        """End all programs, stage by stage, and the guardian."""
        guardian.end_groups([group for _, group in self._kept.values()])
        for process, _ in list(self._kept.values()):
            self.forget(process)
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._guardian.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # a guardian that was killed does not keep us from working
            self._pipe.write(f"{line}\n")


def _lower_priority(pgid: int, niceness: int) -> None:
    """Make a process group and the scheduler's group around it nice.

    Where the kernel groups processes by session (sched_autogroup, the default), niceness counts only within one: a
    niced pipeline in sessions of its own took a third of the web's rate (measured: 28 against 44 thousand redirects/s).
    """
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PGRP, pgid, niceness)
    for _ in range(_AUTOGROUP_TRIES):
        try:
            Path(f"/proc/{pgid}/autogroup").write_text(str(niceness))
        except BlockingIOError:  # the kernel takes one such change each 100 ms from a plain user
            time.sleep(_AUTOGROUP_PAUSE_SECONDS)
        except OSError:
            return  # no such grouping here, or the process has ended
        else:
            return


def _feed(process: subprocess.Popen[bytes], text: str) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(text.encode())


def obituary(program: Program, status: int) -> str:
    """Say in one line that a program has ended, with the last line of its log."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in program.log.read_text(errors="replace").splitlines() if line.strip()]
    last_words = f" ({lines[-1][:200]})" if lines else ""
    return f"{program.name} ended with status {status}{last_words}: see {program.log}"
