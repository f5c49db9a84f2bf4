"""What `make run` and `make test` say before there is a Python to say it: one line, status 1, nothing half-made."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
TOOLS = ("sh", "dirname", "cat", "cmp", "df", "awk", "rm", "mktemp", "tail", "id", "ls", "tr", "grep", "date")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone as far as the scripts look, in a folder with a space."""
    folder = tmp_path / "a fresh clone"
    folder.mkdir()
    shutil.copytree(PROJECT / ".ci", folder / ".ci")
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(PROJECT / name, folder)
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A search path with the tools of any system, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    return folder


def program(path: Path, name: str, script: str) -> None:
    (path / name).unlink(missing_ok=True)
    (path / name).write_text(f"#!/bin/sh\n{script}\n")
    (path / name).chmod(0o755)


def said(clone: Path, path: Path, script: str) -> str:
    """Run a script that must refuse; returns the one line that it says."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    ended = subprocess.run(
        ["sh", f".ci/{script}"],
        cwd=clone,
        env={**environ, "PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert not (clone / ".venv").exists()
    assert not (clone / "var").exists()
    return ended.stderr


@pytest.mark.parametrize(("script", "command"), [("run.sh", "make run"), ("test.sh", "make test")])
def test_a_missing_python_is_said_in_one_line(clone: Path, path: Path, script: str, command: str) -> None:
    assert said(clone, path, script).startswith(f"{command}: Python 3.11 or newer is needed")


def test_a_python_that_is_too_old_is_none(clone: Path, path: Path) -> None:
    program(path, "python3", "exit 1")  # what it answers when asked whether it is new enough
    assert "Python 3.11 or newer is needed" in said(clone, path, "run.sh")


def test_a_full_disk_is_said_in_one_line(clone: Path, path: Path) -> None:
    program(path, "python3", "exit 0")
    program(path, "df", "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'; echo 'x 9 9 2048 99% /'")
    assert "the disk is full" in (line := said(clone, path, "run.sh"))
    assert "has 2 MB left" in line


def test_ci_runs_what_a_developer_runs_and_skips_nothing() -> None:
    script = (PROJECT / ".ci/run").read_text()
    assert "export CI=true" in script
    assert "make test" in script
    assert os.access(PROJECT / ".ci/run", os.X_OK)
