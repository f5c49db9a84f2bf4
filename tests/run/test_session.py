"""What a run keeps in its folder."""

import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from linklayer.embedded import session as sessions
from linklayer.embedded.processes import EmbeddedError
from linklayer.embedded.session import Session, join, secret


def test_a_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    Session(tmp_path)
    assert secret(tmp_path, "key") == secret(tmp_path, "key") != secret(tmp_path, "other")
    assert stat.S_IMODE((tmp_path / "secrets" / "key").stat().st_mode) == 0o600


def test_a_second_run_of_the_same_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    Session(tmp_path).acquire(time.sleep)
    with pytest.raises(EmbeddedError, match=f"already runs from this folder .process {os.getpid()}"):
        Session(tmp_path).acquire(time.sleep)


def test_what_a_killed_run_left_in_the_temporary_folder_is_removed(tmp_path: Path) -> None:
    left = Session(tmp_path).private_folder()
    Session(tmp_path).acquire(time.sleep)
    assert not left.exists()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "FREE_BYTES", shutil.disk_usage(tmp_path).total * 2)
    with pytest.raises(EmbeddedError, match="the disk is full"):
        Session(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="cannot write to"):
        Session(tmp_path / "file" / "var")


def test_a_command_joins_the_run_that_lives_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "AMQP_URL", "LINKLAYER_EMBEDDED"):
        monkeypatch.delenv(name, raising=False)
    session = Session(tmp_path)
    session.acquire(time.sleep)
    session.publish(tmp_path, {"DATABASE_URL": "postgres://x", "LINKLAYER_TEST_JOINED": "1"})
    join(tmp_path)
    assert os.environ["DATABASE_URL"] == "postgres://x"
    monkeypatch.delenv("LINKLAYER_TEST_JOINED")


def test_a_command_keeps_the_servers_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://given")
    session = Session(tmp_path)
    session.acquire(time.sleep)
    session.publish(tmp_path, {"DATABASE_URL": "postgres://x"})
    join(tmp_path)
    assert os.environ["DATABASE_URL"] == "postgres://given"
