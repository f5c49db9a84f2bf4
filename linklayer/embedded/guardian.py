"""Ends process groups: in an orderly stop, and as the process that outlives a killed launcher.

Run as a program it holds the reading end of a pipe. Its lines say which groups live ("+1234 15 0": group, signal,
stage) and which are gone ("-1234"); when the pipe closes, whatever is left is ended. It knows process ids only, so it
needs nothing of the launcher, and a `kill -9` of that leaves nothing behind.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

STAGE_SECONDS = 2.0  # two stages, programs and then their servers, end within the 5 s that a stop may take
KILL_SECONDS = 0.3
_POLL_SECONDS = 0.02
_PROC = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Group:
    """A process group: its id, the signal that asks it to end, and its stage (lower stages end first)."""

    pgid: int
    stop_signal: int
    stage: int


def end_groups(groups: Collection[Group], *, stage_seconds: float = STAGE_SECONDS) -> None:
    """End groups stage by stage: each is asked by its own signal, and killed after stage_seconds."""
    for stage in sorted({group.stage for group in groups}):
        members = [group for group in groups if group.stage == stage]
        _signal_each((group.pgid, group.stop_signal) for group in members)
        _wait_until_gone([group.pgid for group in members], stage_seconds)
        _signal_each((group.pgid, signal.SIGKILL) for group in members)
        _wait_until_gone([group.pgid for group in members], KILL_SECONDS)


def _signal_each(orders: Iterable[tuple[int, int]]) -> None:
    for pgid, number in orders:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pgid, number)


def _wait_until_gone(pgids: Collection[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _any_lives(pgids) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _any_lives(pgids: Collection[int]) -> bool:
    """Say whether one of the groups has a member that runs.

    What is our own child is reaped on the way. An orphan that has ended may stay in its group until process 1 gets
    round to reaping it, which in a container may be never: it does not count.
    """
    for pgid in pgids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-pgid, os.WNOHANG)
    present = {pgid for pgid in pgids if _is_present(pgid)}
    return bool(present and (present & _running_groups() or not _PROC.exists()))


def _is_present(pgid: int) -> bool:
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _running_groups() -> set[int]:
    """Return the ids of all process groups with a member that has not ended (proc(5), stat: state and pgrp)."""
    groups = set()
    for stat in _PROC.parent.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _parent, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            if state not in "ZX":
                groups.add(int(pgrp))
    return groups


def watch(lines: Iterable[str]) -> None:
    """Follow the launcher's lines until it is gone, then end what it left."""
    groups: dict[int, Group] = {}
    for line in lines:
        if line.startswith("+"):
            group = Group(*(int(number) for number in line[1:].split()))
            groups[group.pgid] = group
        else:
            groups.pop(int(line[1:]), None)
    end_groups(groups.values())


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watch(sys.stdin)
