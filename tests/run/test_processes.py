"""Programs end with their keeper, orderly or not."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linklayer.embedded.processes import EmbeddedError, Keeper, Program, StopRequested
from linklayer.embedded.supervisor import Supervisor

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PARENT = "import subprocess, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); time.sleep(60)"


def python(tmp_path: Path, code: str, name: str = "program") -> Program:
    return Program(name, (sys.executable, "-c", code), tmp_path, tmp_path / f"{name}.log")


def start(keeper: Keeper, program: Program) -> subprocess.Popen[bytes]:
    process = keeper.start(program)
    keeper.wait_until(lambda: "up" in program.log.read_text(), process, program)
    return process


def group_is_gone(pgid: int) -> bool:
    """Whether no member of the group runs any more; one that waits to be reaped has ended."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            state, _parent, group = status.read_text().rpartition(")")[2].split()[:3]
            if group == str(pgid) and state not in "ZX":
                return False
    return True


@pytest.mark.parametrize("code", [STUBBORN, PARENT], ids=["ignores SIGTERM", "has a child"])
def test_closing_the_keeper_ends_whole_groups(tmp_path: Path, code: str) -> None:
    with Keeper() as keeper:
        process = start(keeper, python(tmp_path, code))
    assert group_is_gone(process.pid)


@pytest.mark.parametrize("code", [STUBBORN, PARENT], ids=["ignores SIGTERM", "has a child"])
def test_the_guardian_ends_what_a_killed_launcher_left(tmp_path: Path, code: str) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path), code], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert launcher.stdout
    with launcher, launcher.stdout:
        pgid = int(launcher.stdout.readline())
        launcher.kill()
    deadline = time.monotonic() + 10
    while not group_is_gone(pgid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert group_is_gone(pgid)


LAUNCHER = """
import pathlib, sys, time
from linklayer.embedded.processes import Keeper, Program
folder = pathlib.Path(sys.argv[1])
keeper = Keeper()
program = Program("program", (sys.executable, "-c", sys.argv[2]), folder, folder / "log")
process = keeper.start(program)
keeper.wait_until(lambda: "up" in program.log.read_text(), process, program)
print(process.pid, flush=True)
time.sleep(60)
"""


def test_a_program_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    program = python(tmp_path, "import sys; print('no luck'); sys.exit(3)", "printer")
    with Keeper() as keeper, pytest.raises(EmbeddedError, match=r"printer ended with status 3 \(no luck\): see .*log"):
        keeper.run(program)


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with Keeper() as keeper, pytest.raises(EmbeddedError, match="ghost cannot be started"):
        keeper.start(Program("ghost", (str(tmp_path / "none"),), tmp_path, tmp_path / "log"))


def test_a_stop_request_cuts_a_wait_short(tmp_path: Path) -> None:
    with Keeper() as keeper:
        keeper.stop_requested = True
        with pytest.raises(StopRequested):
            keeper.run(python(tmp_path, "import time; time.sleep(60)"))


def test_a_program_that_ends_is_started_again(tmp_path: Path) -> None:
    code = (
        "import pathlib, time; file = pathlib.Path('starts'); file.open('a').write('x')\n"
        "if len(file.read_text()) > 1: time.sleep(60)"
    )
    lines: list[str] = []
    with Keeper() as keeper:
        supervisor = Supervisor(keeper, lines.append)
        supervisor.start(python(tmp_path, code))
        starts = tmp_path / "starts"
        supervisor.start_until(lambda: starts.exists() and starts.read_text() == "xx", timeout_seconds=20)
    assert len(lines) == 1
    assert "starts again in 0.5 s" in lines[0]


def test_a_program_that_keeps_ending_at_the_start_is_given_up(tmp_path: Path) -> None:
    with Keeper() as keeper:
        supervisor = Supervisor(keeper, lambda _line: None)
        supervisor.start(python(tmp_path, "raise SystemExit('broken')"))
        with pytest.raises(EmbeddedError, match=r"ended with status 1 \(broken\).*tried 3 times"):
            supervisor.start_until(lambda: False, timeout_seconds=20)


def test_an_interrupt_in_the_terminal_does_not_reach_programs(tmp_path: Path) -> None:
    with Keeper() as keeper:
        process = start(keeper, python(tmp_path, PARENT))
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
        assert os.getsid(process.pid) != os.getsid(0)


def test_a_program_that_gives_way_gives_way_to_other_sessions_too(tmp_path: Path) -> None:
    """Where the kernel schedules by session, niceness alone would count only within the program's own."""
    with Keeper() as keeper:
        process = keeper.start(Program("sleeper", ("sleep", "60"), tmp_path, tmp_path / "log", niceness=10))
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 10
        grouping = Path(f"/proc/{process.pid}/autogroup")
        if grouping.exists():  # else this kernel does not group processes by session, and niceness is all there is
            assert grouping.read_text().endswith("nice 10\n")
