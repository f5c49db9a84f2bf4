"""The shipper: a segment goes when all its batches are stored, and not before, whatever fails on the way."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from analytics import shipper as shipper_module
from analytics.contracts import encode_event
from analytics.frames import from_text, record_frame
from analytics.models import Click
from analytics.segments import OPEN, SEALED, list_segments
from analytics.services import ingest_batch
from analytics.shipper import Shipper
from analytics.spool import Spool
from linklayer.errors import Unavailable
from tests.analytics.makers import make_event, wait_for
from tests.servers.running import RunningServer

pytestmark = pytest.mark.django_db


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Queue:
    """A broker that holds, loses or refuses what it is sent; `work` is a worker's turn."""

    def __init__(self) -> None:
        self.is_up = True
        self.held: list[tuple[UUID, str]] = []
        self.sent = 0

    def send(self, batch_id: UUID, records: str) -> None:
        if not self.is_up:
            raise Unavailable("the broker is down")
        self.sent += 1
        self.held.append((batch_id, records))

    def work(self) -> None:
        while self.held:
            batch_id, records = self.held.pop(0)
            ingest_batch(batch_id, from_text(records))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def shipper(tmp_path: Path, clock: Clock, queue: Queue) -> Shipper:
    return Shipper(tmp_path, queue.send, clock=clock)


def write_clicks(folder: Path, clicks: int) -> None:
    spool = Spool(folder, max_bytes=1 << 30)
    for _ in range(clicks):
        spool.append(record_frame(encode_event(make_event())))
    spool.close()


def turn(shipper: Shipper, clock: Clock, seconds: float = 1.0) -> None:
    clock.now += seconds
    shipper.turn()


def test_clicks_reach_the_database_and_their_segment_goes(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path
) -> None:
    write_clicks(tmp_path, 1234)
    turn(shipper, clock)
    queue.work()
    turn(shipper, clock)
    assert (Click.objects.count(), queue.sent) == (1234, 3)
    assert list_segments(tmp_path, OPEN, SEALED) == []


def test_a_segment_stays_while_one_of_its_batches_is_missing(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path
) -> None:
    write_clicks(tmp_path, 1234)
    turn(shipper, clock)
    lost = queue.held.pop(1)
    queue.work()
    turn(shipper, clock)
    assert len(list_segments(tmp_path, SEALED)) == 1
    turn(shipper, clock, 60)
    assert queue.held == [lost]  # and nothing else is sent again
    queue.work()
    turn(shipper, clock)
    assert (Click.objects.count(), list_segments(tmp_path, SEALED)) == (1234, [])


def test_what_stays_missing_is_sent_again_ever_more_seldom(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path
) -> None:
    write_clicks(tmp_path, 1)
    sent_at = []
    for _ in range(130):
        before = queue.sent
        turn(shipper, clock, 30)
        sent_at += [clock.now] * (queue.sent - before)
    waits = [later - earlier for earlier, later in itertools.pairwise(sent_at)]
    assert waits == [60, 120, 240, 480, 600, 600, 600, 600]


def test_a_shipper_that_starts_anew_goes_on_where_the_old_one_died(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path
) -> None:
    write_clicks(tmp_path, 700)
    turn(shipper, clock)
    queue.work()
    heir = Shipper(tmp_path, queue.send, clock=clock)
    for _ in range(2):
        turn(heir, clock)
        queue.work()
    assert (Click.objects.count(), list_segments(tmp_path, SEALED)) == (700, [])


def test_clicks_wait_while_the_broker_is_down(shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path) -> None:
    write_clicks(tmp_path, 600)
    queue.is_up = False
    for _ in range(100):
        turn(shipper, clock)
    queue.is_up = True
    for _ in range(10):
        turn(shipper, clock)
        queue.work()
    assert (Click.objects.count(), list_segments(tmp_path, SEALED)) == (600, [])


def test_what_an_outage_of_the_broker_took_is_sent_again_soon_after(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path
) -> None:
    write_clicks(tmp_path, 1)
    turn(shipper, clock)
    queue.held.clear()
    queue.is_up = False
    write_clicks(tmp_path, 1)
    turn(shipper, clock)
    queue.is_up = True
    for _ in range(10):
        turn(shipper, clock)
        queue.work()
    assert Click.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_while_the_database_is_down(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path, postgres: RunningServer
) -> None:
    write_clicks(tmp_path, 1)
    turn(shipper, clock)
    queue.held.clear()
    postgres.stop()
    try:
        turn(shipper, clock)
        write_clicks(tmp_path, 1)
        for _ in range(5):
            turn(shipper, clock)
        assert queue.held == []
    finally:
        postgres.start()
    for _ in range(10):
        turn(shipper, clock)
        queue.work()
    assert Click.objects.count() == 2


def test_no_more_is_under_way_than_memory_should_hold(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "BATCHES_UNDER_WAY", 3)
    for _ in range(10):
        write_clicks(tmp_path, 1)
    turn(shipper, clock)
    assert queue.sent == 3
    for _ in range(10):
        queue.work()
        turn(shipper, clock)
    assert (Click.objects.count(), list_segments(tmp_path, SEALED)) == (10, [])


def test_a_dead_writers_segment_is_adopted_and_its_clicks_stored(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path
) -> None:
    frames = [record_frame(encode_event(make_event())) for _ in range(5)]
    (tmp_path / "6a4b0a52-7a2e-4a6e-8ee1-51a4f0f6f0aa.open").write_bytes(b"".join(frames)[:-1])
    turn(shipper, clock)
    queue.work()
    turn(shipper, clock)
    assert (Click.objects.count(), list(tmp_path.iterdir())) == (4, [])


def test_kill_9_of_a_recording_process_loses_no_click_and_doubles_none(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.analytics.writer", str(tmp_path), "3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        kept = next(int(line) for line in writer.stdout if int(line) >= 2000)
        writer.kill()
        kept = max([kept, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    for _ in range(3):
        turn(shipper, clock)
        queue.work()
    stored = sorted(Click.objects.values_list("sequence", flat=True))
    # The last one may have been written without the process living to say so.
    assert stored in (list(range(1, kept + 1)), list(range(1, kept + 2)))
    assert list_segments(tmp_path, OPEN, SEALED) == []


def test_a_foreign_file_is_set_aside_and_stops_nothing(
    shipper: Shipper, clock: Clock, queue: Queue, tmp_path: Path
) -> None:
    (tmp_path / "notes.sealed").write_text("mine")
    write_clicks(tmp_path, 1)
    turn(shipper, clock)
    assert queue.sent == 1
    assert (tmp_path / "notes.foreign").read_text() == "mine"


def test_the_command_stops_at_once_and_a_second_one_stands_by(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    environment = {**os.environ, "SPOOL_DIR": str(spool), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> Path:
        log = tmp_path / name
        with log.open("wb") as stderr:
            command = [sys.executable, "-m", "django", "ship_clicks"]
            running.append(subprocess.Popen(command, env=environment, stderr=stderr))
        return log

    def holds_the_lock_file(pid: int) -> bool:
        """Whether it has the file open: locked, or waiting for the lock."""
        with contextlib.suppress(OSError):
            return any(entry.resolve() == spool / "shipper.lock" for entry in Path(f"/proc/{pid}/fd").iterdir())
        return False

    try:
        first_log = start("first")
        wait_for(lambda: "shipper_started" in first_log.read_text(), seconds=30)
        second_log = start("second")
        wait_for(lambda: holds_the_lock_file(running[1].pid), seconds=30)
        assert "shipper_started" not in second_log.read_text()
        running[0].send_signal(signal.SIGTERM)
        assert running[0].wait(timeout=10) == 0
        wait_for(lambda: "shipper_started" in second_log.read_text(), seconds=30)
    finally:
        for process in running:
            process.terminate()
            process.wait(timeout=10)
