"""The spool of a process: what was appended is found, whatever ends the process or fails below it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics import spool as spool_module
from analytics.frames import RECORD_MARK, record_frame, scan
from analytics.segments import OPEN, SEALED, adopt_segment, list_segments, read_segment
from analytics.spool import Spool
from tests.analytics.makers import wait_for


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path, max_bytes=1 << 30)
    yield spool
    spool.close()


def payloads(folder: Path, *suffixes: str) -> list[bytes]:
    found = []
    for segment in list_segments(folder, *suffixes):
        data = segment.path.read_bytes()
        found += [frame.payload(data) for frame in scan(data) if frame.mark == RECORD_MARK]
    return found


def test_a_record_is_in_the_file_when_append_returns(spool: Spool, tmp_path: Path) -> None:
    spool.append(record_frame(b"one"))
    assert b"one" in payloads(tmp_path, OPEN, SEALED)


def test_a_segment_is_sealed_although_no_further_record_comes(spool: Spool, tmp_path: Path) -> None:
    spool.append(record_frame(b"last"))
    wait_for(lambda: payloads(tmp_path, SEALED) == [b"last"])
    assert payloads(tmp_path, OPEN) == []


def test_a_megabyte_is_sealed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEAL_SECONDS", 3600.0)
    spool = Spool(tmp_path, max_bytes=1 << 30)
    for _ in range(40):
        spool.append(record_frame(bytes(30_000)))
    wait_for(lambda: list_segments(tmp_path, SEALED))
    spool.close()
    assert len(payloads(tmp_path, SEALED)) == 40


def test_closing_seals_and_leaves_no_empty_file(spool: Spool, tmp_path: Path) -> None:
    spool.append(record_frame(b"one"))
    spool.close()
    assert payloads(tmp_path, SEALED) == [b"one"]
    assert list_segments(tmp_path, OPEN) == []


def test_a_closed_spool_opens_again(spool: Spool, tmp_path: Path) -> None:
    for payload in (b"one", b"two"):
        spool.append(record_frame(payload))
        spool.close()
    assert sorted(payloads(tmp_path, SEALED)) == [b"one", b"two"]


def test_threads_that_write_while_segments_are_sealed_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEAL_BYTES", 2_000)
    monkeypatch.setattr(spool_module, "TICK_SECONDS", 0.001)
    spool = Spool(tmp_path, max_bytes=1 << 30)

    def write(first: int) -> None:
        for number in range(first, first + 2000):
            spool.append(record_frame(b"%d" % number))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 8000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spool.close()
    assert sorted(int(payload) for payload in payloads(tmp_path, SEALED)) == list(range(8000))


def test_a_forked_child_writes_a_segment_of_its_own(spool: Spool, tmp_path: Path) -> None:
    spool.append(record_frame(b"parent"))
    generation = spool.generation
    child = os.fork()
    if child == 0:
        status = 1
        try:
            spool.append(record_frame(b"child"))
            status = int(spool.generation == generation or spool.counts().accepted != 1)
            spool.close()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    spool.append(record_frame(b"parent again"))
    spool.close()
    assert sorted(payloads(tmp_path, SEALED)) == [b"child", b"parent", b"parent again"]


def test_the_segment_of_a_living_process_is_not_adopted(spool: Spool, tmp_path: Path) -> None:
    spool.append(record_frame(b"alive"))
    assert [adopt_segment(segment.path) for segment in list_segments(tmp_path, OPEN)] == [False]


def test_an_adopted_segment_ends_with_its_last_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "6a4b0a52-7a2e-4a6e-8ee1-51a4f0f6f0aa.open"
    path.write_bytes(record_frame(b"one") + record_frame(b"two") + record_frame(b"torn")[:-1])
    assert adopt_segment(path)
    sealed = read_segment(path.with_suffix(SEALED))
    assert [batch.records for batch in sealed.batches] == [2]
    assert sealed.damaged_bytes == 0


def test_an_adopted_segment_without_records_goes(tmp_path: Path) -> None:
    path = tmp_path / "6a4b0a52-7a2e-4a6e-8ee1-51a4f0f6f0aa.open"
    path.write_bytes(b"torn header")
    assert adopt_segment(path)
    assert list(tmp_path.iterdir()) == []


def test_batches_are_the_same_at_every_reading_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "6a4b0a52-7a2e-4a6e-8ee1-51a4f0f6f0aa.sealed"
    path.write_bytes(b"".join(record_frame(b"%d" % n) for n in range(1200)) + record_frame(bytes(60_000)) * 10)
    batches = read_segment(path).batches
    assert batches == read_segment(path).batches
    assert [batch.records for batch in batches] == [500, 500, 209, 1]
    assert len({batch.id for batch in batches}) == 4


def on_a_full_disk(folder: Path, before: int, during: int, ending: str, *, room: int = 0) -> list[str]:
    """Return [accepted ring dropped] while the disk is full, and at the end. room: bytes that it still takes."""
    numbers = [str(number) for number in (before, during, room)]
    command = [sys.executable, "-m", "tests.analytics.full_disk", str(folder), *numbers, ending]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout.split("\n")
    return [line.removeprefix("counts ") for line in printed if line.startswith("counts ")]


def test_a_full_disk_keeps_ten_thousand_records_and_counts_the_rest(tmp_path: Path) -> None:
    assert on_a_full_disk(tmp_path, 100, 10250, "recover") == ["10350 10000 250", "10350 0 250"]
    kept = sorted(int(payload) for payload in payloads(tmp_path, SEALED))
    assert kept == [*range(100), *range(350, 10350)]


@pytest.mark.parametrize("room", range(1, 60, 7))
def test_records_written_together_are_kept_once_each_wherever_the_disk_ends(room: int, tmp_path: Path) -> None:
    """Whole records stay on the disk, the cut one and those after it wait in the ring: none lost, none twice."""
    while_full, at_the_end = on_a_full_disk(tmp_path, 10, 5, "recover", room=room)
    assert while_full == f"15 {5 - room // len(record_frame(b'10'))} 0"
    assert at_the_end == "15 0 0"
    assert sorted(int(payload) for payload in payloads(tmp_path, SEALED)) == list(range(15))


def test_a_process_that_ends_on_a_full_disk_counts_what_it_takes_along(tmp_path: Path) -> None:
    assert on_a_full_disk(tmp_path, 100, 30, "end") == ["130 30 0", "130 0 30"]
    assert len(payloads(tmp_path, SEALED)) == 100


def test_a_spool_at_its_cap_takes_no_more_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MEASURE_SECONDS", 0.02)
    ballast = tmp_path / "6a4b0a52-7a2e-4a6e-8ee1-51a4f0f6f0aa.sealed"
    ballast.write_bytes(bytes(5000))
    spool = Spool(tmp_path, max_bytes=5000)
    spool.append(record_frame(b"first"))

    def is_refused() -> bool:
        spool.append(record_frame(b"more"))
        return spool.counts().ring > 0

    wait_for(is_refused)
    ballast.unlink()
    wait_for(lambda: spool.counts().ring == 0)
    accepted = spool.counts().accepted
    spool.close()
    assert len(payloads(tmp_path, SEALED)) == accepted
