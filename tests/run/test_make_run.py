"""`make run` from start to end: ready with a table, counts a click, keeps its data, leaves no process."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.product import Site
from tests.run.running import PROJECT, Run, clean_environ, running
from tests.servers.addresses import free_port
from tests.servers.running import RunningServer

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]

STOP_SECONDS = 5.0  # the promise; asserted by the launcher's own clock, which other load does not hold up


READY = "Ctrl-C stops everything"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all tests that do not end it."""
    with running(tmp_path_factory.mktemp("live") / "var", free_port()) as run:
        run.wait_for(READY)
        yield run
    assert run.process.returncode == 0
    assert run.processes() == []


def site_of(run: Run) -> Site:
    return Site(f"http://127.0.0.1:{run.port}")


def make_link(run: Run, slug: str) -> None:
    reply = site_of(run).post("/api/links", {"url": f"https://example.com/{slug}", "slug": slug})
    assert reply.status == 201, reply.body


def wait_for_clicks(run: Run, slug: str, expected: int) -> None:
    deadline = time.monotonic() + 20
    while (clicks := site_of(run).get(f"/api/links/{slug}/stats").json()["totals"]["clicks"]) != expected:
        assert time.monotonic() < deadline, f"{clicks} clicks, not {expected}"
        time.sleep(0.1)


def kill_all(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_it_redirects_and_counts_and_the_lines_of_the_table_work(live: Run) -> None:
    make_link(live, "counted")
    assert site_of(live).get("/counted").headers["Location"] == "https://example.com/counted"
    wait_for_clicks(live, "counted", 1)
    assert site_of(live).get("/api/profiles/myusername").json()["username"] == "myusername"
    assert site_of(live).post("/api/cache/invalidate/myusername").status == 202


def test_the_table_names_addresses_commands_and_the_generated_password(live: Run) -> None:
    password = (live.var / "secrets" / "admin_password").read_text()
    for text in ("/@myusername", "/admin/", "/api/docs", f"user admin, password {password}", "curl -X POST"):
        assert text in live.output


def test_its_secrets_are_for_their_owner_only(live: Run) -> None:
    files = list((live.var / "secrets").iterdir())
    assert len(files) == 5
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_it_starts_as_many_web_processes_as_it_is_told(live: Run) -> None:
    """One, with WEB_CONCURRENCY=1, and gunicorn's own beside it."""
    assert sum(b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in live.processes()) == 2


def test_a_process_that_ends_is_started_again_and_said(live: Run) -> None:
    make_link(live, "resent")
    kill_all(pid for pid in live.processes() if b"ship_clicks" in Path(f"/proc/{pid}/cmdline").read_bytes())
    live.wait_for("shipper ended with status -9")
    site_of(live).get("/resent")
    wait_for_clicks(live, "resent", 1)


def test_a_command_beside_it_works_on_its_servers(live: Run) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "warm_cache"],
        cwd=PROJECT,
        env={**clean_environ(), "LINKLAYER_VAR": str(live.var)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"\b[1-9][0-9]*\b", result.stdout)


def test_a_second_run_beside_the_first_is_refused_in_one_line(live: Run) -> None:
    with running(live.var, free_port()) as second:
        assert second.process.wait(timeout=30) == 1
    assert second.output.count("\n") == 1
    assert f"already runs from this folder (process {live.process.pid})" in second.output


def test_data_are_kept_when_it_is_ended_and_started_again(tmp_path: Path) -> None:
    var = tmp_path / "a folder" / "var"
    var.parent.mkdir()
    with running(var, free_port()) as first:
        first.wait_for(READY)
        make_link(first, "kept")
        site_of(first).get("/kept")
        assert first.end(signal.SIGINT) == 0
    assert first.processes() == []
    stopped = re.search(r"Stopped in ([0-9.]+) s", first.output)
    assert stopped
    assert float(stopped[1]) <= STOP_SECONDS
    with running(var, free_port()) as second:
        second.wait_for(READY)
        wait_for_clicks(second, "kept", 1)


def test_it_recovers_from_a_killed_launcher_and_from_a_kill_of_everything(tmp_path: Path) -> None:
    with running(tmp_path / "var", free_port()) as first:
        first.wait_for(READY)
        make_link(first, "kept")
        pids = set(first.processes())
        first.process.kill()
        first.process.wait()
    with running(tmp_path / "var", free_port()) as second:
        second.wait_for(READY)
        assert pids.isdisjoint(second.processes())
        programs = b" ".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in second.processes())
        assert programs.count(b"valkey-server") == 2  # or they would outlive this test unseen
        while left := second.processes():
            kill_all(left)
        second.process.wait()
    with running(tmp_path / "var", free_port()) as third:
        third.wait_for(READY)
        assert site_of(third).get("/kept").status == 302


def refused(run: Run) -> str:
    """Return the one line that it ends with."""
    assert run.process.wait(timeout=30) == 1
    lines = run.output.splitlines()
    assert len(lines) == 1, run.output
    assert run.processes() == []
    return lines[0]


def test_a_busy_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with running(tmp_path / "var", taken.getsockname()[1]) as run:
            assert f"port {run.port} is busy" in refused(run)
    assert not (tmp_path / "var" / "postgres").exists()


@pytest.mark.parametrize("port", ["http", "0", "70000", "-1"])
def test_what_is_no_port_is_said_in_one_line(tmp_path: Path, port: str) -> None:
    with running(tmp_path / "var", 0, {"PORT": port}) as run:
        assert "PORT must be a number from 1 to 65535" in refused(run)


def test_what_is_no_number_of_processes_is_said_in_one_line(tmp_path: Path) -> None:
    with running(tmp_path / "var", free_port(), {"WEB_CONCURRENCY": "many"}) as run:
        assert "WEB_CONCURRENCY must be a whole number" in refused(run)


def test_a_server_that_is_given_is_used_and_none_started_for_it(
    tmp_path: Path, start_valkey: Callable[..., RunningServer]
) -> None:
    cache, broker = start_valkey(), start_valkey(durable=True)
    given = {"REDIS_URL": cache.url, "AMQP_URL": broker.url.replace("unix://", "redis+socket://").removesuffix("?db=0")}
    with running(tmp_path / "var", free_port(), given) as run:
        run.wait_for("Ctrl-C stops everything")
        assert "PostgreSQL is up" in run.output
        assert run.output.count("is given: nothing started for it") == 2
        programs = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in run.processes()]
        assert not [program for program in programs if b"valkey-server" in program]


def test_a_database_that_cannot_be_reached_is_said_in_one_line_and_nothing_stays(tmp_path: Path) -> None:
    nowhere = f"postgres://nobody@127.0.0.1:{free_port()}/nothing"
    with running(tmp_path / "var", free_port(), {"DATABASE_URL": nowhere}) as run:
        assert run.process.wait(timeout=60) == 1
        assert "migrations and demo data ended with status 1" in run.output.splitlines()[-1]
    assert run.processes() == []
