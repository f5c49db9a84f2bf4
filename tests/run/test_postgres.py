"""The embedded PostgreSQL: starts anywhere, keeps its data, survives a kill."""

import os
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from linklayer.embedded.postgres import Postgres
from linklayer.embedded.processes import EmbeddedError, Keeper


@pytest.fixture
def private(short_folder: Path) -> Path:
    return short_folder


def start(keeper: Keeper, server: Postgres) -> subprocess.Popen[bytes]:
    server.prepare(keeper)
    process = keeper.start(server.program())
    keeper.wait_until(server.is_ready, process, server.program())
    return process


def query(server: Postgres, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url()) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def test_data_are_kept_from_one_start_to_the_next(keeper: Keeper, tmp_path: Path, private: Path) -> None:
    server = Postgres(tmp_path / "pg", private, "secret", durable=False)
    keeper.stop(_with_a_table(keeper, server))
    process = start(keeper, server)
    assert query(server, "SELECT id FROM kept") == [(7,)]
    keeper.stop(process)


def _with_a_table(keeper: Keeper, server: Postgres) -> subprocess.Popen[bytes]:
    process = start(keeper, server)
    query(server, "CREATE TABLE kept AS SELECT 7 AS id")
    return process


@pytest.mark.parametrize("folder", ["a folder with spaces", "long/" + "x" * 100])
def test_it_runs_in_any_folder(keeper: Keeper, tmp_path: Path, private: Path, folder: str) -> None:
    server = Postgres(tmp_path / folder / "pg", private, "secret", durable=False)
    process = start(keeper, server)
    assert query(server, "SELECT current_database()") == [("linklayer",)]
    keeper.stop(process)


def test_it_runs_below_a_folder_that_is_closed_to_others(keeper: Keeper, tmp_path: Path, private: Path) -> None:
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    server = Postgres(closed / "project" / "pg", private, "secret", durable=False)
    keeper.stop(start(keeper, server))
    assert closed.stat().st_mode & 0o777 == 0o700


def test_the_password_is_asked_for(keeper: Keeper, tmp_path: Path, private: Path) -> None:
    server = Postgres(tmp_path / "pg", private, "secret", durable=False)
    process = start(keeper, server)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.url().replace("secret", "guess"))
    keeper.stop(process)


def test_it_starts_again_after_a_kill_that_left_its_pid_file(keeper: Keeper, tmp_path: Path, private: Path) -> None:
    server = Postgres(tmp_path / "pg", private, "secret", durable=False)
    process = _with_a_table(keeper, server)
    os.killpg(process.pid, signal.SIGKILL)
    keeper.forget(process)
    process = start(keeper, server)
    assert query(server, "SELECT id FROM kept") == [(7,)]
    keeper.stop(process)


def test_a_server_that_nobody_watches_any_more_is_ended_first(keeper: Keeper, tmp_path: Path, private: Path) -> None:
    server = Postgres(tmp_path / "pg", private, "secret", durable=False)
    left = _with_a_table(keeper, server)
    process = start(keeper, server)
    assert left.poll() is not None
    assert query(server, "SELECT id FROM kept") == [(7,)]
    keeper.stop(process)
    keeper.forget(left)


def test_a_pid_file_with_the_pid_of_another_program_is_no_obstacle(
    keeper: Keeper, tmp_path: Path, private: Path
) -> None:
    server = Postgres(tmp_path / "pg", private, "secret", durable=False)
    keeper.stop(_with_a_table(keeper, server))
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n/elsewhere\n")
    process = start(keeper, server)
    assert query(server, "SELECT id FROM kept") == [(7,)]
    keeper.stop(process)


def test_a_cluster_that_cannot_be_created_leaves_none(keeper: Keeper, tmp_path: Path, private: Path) -> None:
    server = Postgres(tmp_path / "pg", private, "", durable=False)  # initdb refuses an empty password
    with pytest.raises(EmbeddedError, match="initdb ended with status 1"):
        server.prepare(keeper)
    assert not server.data.exists()
