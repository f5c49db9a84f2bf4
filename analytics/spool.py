"""This process's end of the spool: a record is kept by one `write` into the page cache, which outlives `kill -9`.

A writer never waits for the disk to sync, for a network, or for another process. A thread of the process's own syncs
every 100 ms and seals after 250 ms or 1 MiB. While the disk fails or the spool is full, records wait in a memory ring
of 10,000; what falls out of it is counted. After a fork the child starts a segment, a generation and a thread anew.
"""

import itertools
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from analytics import metrics
from analytics.segments import OPEN, SEALED, OpenSegment, SegmentHeader, create_segment, list_segments

logger = structlog.get_logger(__name__)

SEAL_SECONDS = 0.25
# Thousands of small files wait during a long outage; then fewer, larger ones serve better than fresh ones.
SEAL_SECONDS_WITH_BACKLOG = 10.0
BACKLOG_SEGMENTS = 1000
SEAL_BYTES = 1 << 20
SYNC_SECONDS = 0.1
RING_RECORDS = 10_000
RECOVER_SECONDS = 0.25
MEASURE_SECONDS = 5.0
TICK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class SpoolCounts:
    """What one process did with its records: accepted = written + ring + dropped."""

    generation: int
    accepted: int
    ring: int
    dropped: int


class Spool:
    """Keeps records of this process in directory; safe from any thread. max_bytes: of the whole folder."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._start_anew()
        os.register_at_fork(after_in_child=self._after_fork)

    def _start_anew(self) -> None:
        self.generation = 1 + secrets.randbits(62)
        self._sequence = itertools.count(1)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._keeper: threading.Thread | None = None
        self._segment: OpenSegment | None = None
        self._unsealed: list[OpenSegment] = []
        self._ring: deque[bytes] = deque(maxlen=RING_RECORDS)
        self._written = self._dropped = 0
        self._is_failing = self._is_over_cap = self._stopping = False
        self._seal_seconds = SEAL_SECONDS
        self._synced_at = self._recovered_at = 0.0
        self._measured_at = 0.0

    def next_record(self) -> tuple[int, int]:
        """Return the generation of this process and the next place in it, from 1."""
        return self.generation, next(self._sequence)

    def append(self, *frames: bytes) -> None:
        """Keep whole frames, by one write: on disk, else in the ring. Never raises, never waits for more than that."""
        with self._lock:
            if self._keeper is None:
                self._open()
            self._write_or_ring(frames)

    def counts(self) -> SpoolCounts:
        with self._lock:
            ring = len(self._ring)
            return SpoolCounts(self.generation, self._written + ring + self._dropped, ring, self._dropped)

    def close(self) -> None:
        """Seal what is open and stop the thread; a last try is made to write the ring, what is left counts as dropped.

        The next record opens anew.
        """
        self._stopping = True
        self._wake.set()
        keeper = self._keeper
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join(timeout=5)
        if self._ring:
            self._recover()
        with self._lock:
            segment, self._segment, self._keeper = self._segment, None, None
            self._stopping = False
        left, self._unsealed = self._unsealed, []
        for unsealed in (*left, segment):
            if unsealed is not None:
                self._seal(unsealed)
        with self._lock:
            lost = len(self._ring)
            self._ring.clear()
            self._dropped += lost
        if lost:
            metrics.clicks_dropped.inc(lost)
            logger.error("spool_ring_lost", records=lost)

    # --- the write, under the lock

    def _open(self) -> None:
        if self._segment is None and not self._is_failing:
            try:
                self._segment = create_segment(self._directory, self._header())
            except OSError as error:
                self._fail(error)
        keeper = threading.Thread(target=self._keep, name="spool", daemon=True)
        try:
            keeper.start()
        except RuntimeError:
            logger.exception("spool_thread_failed")  # no thread to be had: the next record asks again
        else:
            self._keeper = keeper

    def _write_or_ring(self, frames: Sequence[bytes]) -> None:
        segment = self._segment
        kept = 0 if segment is None or self._is_failing else self._written_frames(segment, frames)
        waiting = frames[kept:]
        overflow = max(0, len(self._ring) + len(waiting) - RING_RECORDS)
        self._ring.extend(waiting)  # its bound drops the oldest
        if overflow:
            self._dropped += overflow
            metrics.clicks_dropped.inc(overflow)

    def _written_frames(self, segment: OpenSegment, frames: Sequence[bytes]) -> int:
        """Write frames at once; returns how many of them the disk took whole."""
        data = b"".join(frames)
        try:
            written = os.write(segment.descriptor, data)
        except OSError as error:
            self._fail(error)
            return 0
        kept = len(frames)
        if written < len(data):
            kept, written = _whole(frames, written)
            self._cut_off(segment, segment.size + written)
        if kept and not segment.records:
            segment.first_record_at = time.monotonic()
            self._wake.set()
        elif segment.size + written >= SEAL_BYTES:
            self._wake.set()
        segment.size += written
        segment.records += kept
        self._written += kept
        return kept

    def _cut_off(self, segment: OpenSegment, size: int) -> None:
        """A full disk took a part of a frame: cut that off; where even this fails, the reader skips it."""
        try:
            os.ftruncate(segment.descriptor, size)
        except OSError as error:
            self._fail(error)
        else:
            self._fail(OSError("the disk took a part of a record"))

    def _fail(self, error: Exception) -> None:
        if not self._is_failing:
            logger.error("spool_failing", error=repr(error))
        self._is_failing = True
        self._wake.set()

    # --- the thread

    def _keep(self) -> None:
        while not self._stopping:
            self._wake.wait(TICK_SECONDS if self._is_busy() else None)
            self._wake.clear()
            try:
                self._turn(time.monotonic())
            except Exception:
                logger.exception("spool_turn_failed")
                time.sleep(TICK_SECONDS)

    def _is_busy(self) -> bool:
        segment = self._segment
        has_records = segment is not None and segment.records > 0
        return has_records or self._is_failing or bool(self._ring) or bool(self._unsealed)

    def _turn(self, now: float) -> None:
        if now >= self._measured_at + MEASURE_SECONDS:
            self._measured_at = now
            self._measure()
        if self._is_failing:
            if now >= self._recovered_at + RECOVER_SECONDS:
                self._recovered_at = now
                self._recover()
            return
        segment = self._segment
        if segment is None or not segment.records:
            return
        if segment.size >= SEAL_BYTES or now >= segment.first_record_at + self._seal_seconds:
            self._rotate()
        elif segment.size > segment.synced_size and now >= self._synced_at + SYNC_SECONDS:
            self._synced_at = now
            segment.sync()

    def _rotate(self) -> None:
        """Put a fresh segment in place, then seal the old one: no request ever opens a file but for the first."""
        while self._unsealed:
            if not self._seal(self._unsealed.pop()):
                return  # the segment in use grows meanwhile
        fresh = create_segment(self._directory, self._header())
        with self._lock:
            old, self._segment = self._segment, fresh
        if old is not None:
            self._seal(old)

    def _seal(self, segment: OpenSegment) -> bool:
        try:
            segment.seal()
        except FileNotFoundError:
            # Somebody deleted the file of a living process; its records are in the ledger as a gap.
            logger.exception("spool_segment_vanished", path=str(segment.path), records=segment.records)
            segment.let_go()
        except OSError as error:
            logger.warning("spool_seal_failed", path=str(segment.path), error=repr(error))
            self._unsealed.append(segment)
            return False
        return True

    def _recover(self) -> None:
        """Try the disk again with a fresh segment, and write the ring into it, the oldest record first."""
        if self._is_over_cap:
            return
        try:
            fresh = create_segment(self._directory, self._header())
        except OSError:
            return
        with self._lock:
            old, self._segment = self._segment, fresh
            self._is_failing = False
        while self._flushed_one(fresh):
            pass
        if old is not None:
            self._seal(old)
        if not self._is_failing:
            logger.info("spool_recovered", records=fresh.records)

    def _flushed_one(self, segment: OpenSegment) -> bool:
        with self._lock:
            if not self._ring or self._is_failing:
                return False
            if not self._written_frames(segment, (self._ring[0],)):
                return False
            self._ring.popleft()
            return True

    def _measure(self) -> None:
        segments = list_segments(self._directory, OPEN, SEALED)
        held_bytes = sum(segment.size for segment in segments)
        metrics.spool_bytes.set(held_bytes)
        metrics.spool_segments.set(len(segments))
        metrics.spool_ring.set(len(self._ring))
        self._seal_seconds = SEAL_SECONDS_WITH_BACKLOG if len(segments) > BACKLOG_SEGMENTS else SEAL_SECONDS
        self._is_over_cap = held_bytes >= self._max_bytes
        if self._is_over_cap:
            self._fail(OSError(f"the spool holds {held_bytes} bytes, its cap is {self._max_bytes}"))

    # --- life

    def _header(self) -> SegmentHeader:
        return SegmentHeader(host=socket.gethostname(), pid=os.getpid(), generation=self.generation)

    def _after_fork(self) -> None:
        """The child's copies of the descriptors would keep the parent's locks alive; its counts are the parent's."""
        for segment in (*self._unsealed, self._segment):
            if segment is not None:
                segment.let_go()
        self._start_anew()


def _whole(frames: Sequence[bytes], written: int) -> tuple[int, int]:
    """Return how many frames lie wholly in the first `written` bytes, and how many bytes these are."""
    size = 0
    for count, frame in enumerate(frames):
        if size + len(frame) > written:
            return count, size
        size += len(frame)
    return len(frames), size
