"""From the spool to the database, end to end: sealed segments go out in batches, and a segment's file goes when all its
batch ids stand in the database. What is missing there is sent again; a repeat is harmless.

One shipper per spool folder, by a lock on a file. It keeps nothing that it could not read again, so it may be killed at
any moment, and a backlog of any size takes no more memory than what is under way. It asks nothing of the host or the
pid in a segment: writers in other containers are alive as long as they hold their file's lock.
"""

import contextlib
import fcntl
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connection

from analytics import metrics
from analytics.frames import to_text
from analytics.models import IngestedBatch
from analytics.segments import (
    OPEN,
    SEALED,
    adopt_segment,
    create_spool,
    delete_segment,
    list_segments,
    read_segment,
)
from linklayer.database.base import answers_within
from linklayer.errors import Unavailable

logger = structlog.get_logger(__name__)

# Enough to keep the workers busy; what is beyond waits in the spool and not in the broker.
BATCHES_UNDER_WAY = 200
CONFIRM_SECONDS = 0.2
CONFIRM_PATIENCE_SECONDS = 5.0
ADOPT_SECONDS = 1.0
RESEND_FIRST_SECONDS = 60.0
RESEND_LONGEST_SECONDS = 600.0
# After an outage nobody knows which messages are left: what is missing is then due at once, but for what a worker may
# just be storing.
RESEND_AFTER_OUTAGE_SECONDS = 2.0
PAUSE_FIRST_SECONDS = 0.5
PAUSE_LONGEST_SECONDS = 5.0

Send = Callable[[UUID, str], None]
"""Ask for the ingest of one batch: its id and its records as text; raises Unavailable if the broker cannot."""


@dataclass(slots=True)
class Shipment:
    """A sealed segment under way. missing: its batches that are not stored yet; unsent: of those, never sent."""

    path: Path
    missing: set[UUID]
    unsent: set[UUID]
    due_at: float
    sent_times: int = 0
    wait_seconds: float = RESEND_FIRST_SECONDS


@dataclass(slots=True)
class Outage:
    """What is down, since when, and when to try again."""

    name: str
    is_down: bool = False
    retry_at: float = 0.0
    pause_seconds: float = field(default=PAUSE_FIRST_SECONDS)

    def began(self, now: float, error: Exception) -> None:
        if not self.is_down:
            logger.warning("shipper_waits", waits_for=self.name, error=repr(error))
            self.pause_seconds = PAUSE_FIRST_SECONDS
        self.is_down = True
        self.retry_at = now + self.pause_seconds
        self.pause_seconds = min(self.pause_seconds * 2, PAUSE_LONGEST_SECONDS)

    def is_over(self) -> bool:
        """Note a success; True if it ends an outage."""
        was_down, self.is_down = self.is_down, False
        if was_down:
            logger.info("shipper_goes_on", waited_for=self.name)
        return was_down


class Shipper:
    """Ships one spool folder. clock: seconds that never go back."""

    def __init__(self, directory: Path, send: Send, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._send = send
        self._clock = clock
        self._waiting: deque[Path] = deque()
        self._under_way: dict[Path, Shipment] = {}
        self._adopt_at = self._confirm_at = 0.0
        self._broker = Outage("broker")
        self._database = Outage("database")

    def turn(self) -> bool:
        """Do what is due: adopt, take up, send, confirm. Returns whether anything is under way or was found."""
        now = self._clock()
        if now >= self._adopt_at:
            self._adopt_at = now + ADOPT_SECONDS
            self._adopt()
        is_waiting = bool(self._under_way) or self._database.is_down
        if is_waiting and now >= max(self._confirm_at, self._database.retry_at if self._database.is_down else 0.0):
            self._confirm_at = now + CONFIRM_SECONDS
            self._confirm(now)
        # With the database down the workers could only hold what we send; it waits better here.
        if not self._database.is_down:
            self._take_up(now)
            if not self._broker.is_down or now >= self._broker.retry_at:
                self._send_due(now)
        return bool(self._under_way)

    # --- taking up

    def _adopt(self) -> None:
        for segment in list_segments(self._directory, OPEN):
            try:
                if adopt_segment(segment.path):
                    metrics.segments_adopted.inc()
                    logger.info("segment_adopted", segment=segment.path.stem, bytes=segment.size)
            except OSError as error:
                logger.warning("segment_not_adopted", segment=segment.path.stem, error=repr(error))

    def _take_up(self, now: float) -> None:
        """Read further segments while there is room under way, the oldest first."""
        room = BATCHES_UNDER_WAY - sum(len(shipment.missing) for shipment in self._under_way.values())
        if room <= 0:
            return
        if not self._waiting:
            listed = (segment.path for segment in list_segments(self._directory, SEALED))
            self._waiting.extend(path for path in listed if path not in self._under_way)
        while self._waiting and room > 0:
            path = self._waiting.popleft()
            with contextlib.suppress(FileNotFoundError):  # an operator may have moved it away
                room -= self._take_up_one(path, now)

    def _take_up_one(self, path: Path, now: float) -> int:
        try:
            segment = read_segment(path)
        except ValueError:
            logger.exception("segment_foreign", path=str(path))
            path.rename(path.with_suffix(".foreign"))
            return 0
        if segment.damaged_bytes:
            metrics.spool_damaged_bytes.inc(segment.damaged_bytes)
            logger.error("segment_damaged", segment=str(segment.id), bytes=segment.damaged_bytes)
        ids = {batch.id for batch in segment.batches}
        if not ids:
            delete_segment(path)
            return 0
        self._under_way[path] = Shipment(path, missing=ids, unsent=set(ids), due_at=now)
        return len(ids)

    # --- sending

    def _send_due(self, now: float) -> None:
        for shipment in list(self._under_way.values()):
            if shipment.due_at <= now and not self._is_sent(shipment):
                return

    def _is_sent(self, shipment: Shipment) -> bool:
        """Send what the shipment misses; False if the broker cannot take it."""
        is_again = shipment.sent_times > 0
        wanted = shipment.missing if is_again else shipment.unsent
        try:
            for batch in read_segment(shipment.path).batches:
                if batch.id in wanted:
                    self._send(batch.id, to_text(batch.frames))
                    metrics.batches_sent.labels("yes" if is_again else "no").inc()
                    shipment.unsent.discard(batch.id)
        except FileNotFoundError:  # an operator has moved it away
            del self._under_way[shipment.path]
            return True
        except OSError as error:
            logger.warning("segment_unreadable", segment=shipment.path.stem, error=repr(error))
            shipment.due_at = self._clock() + shipment.wait_seconds
            return True
        except Unavailable as error:
            self._broker.began(self._clock(), error)
            return False
        if is_again:
            logger.warning("segment_sent_again", segment=shipment.path.stem, batches=len(wanted))
            shipment.wait_seconds = min(shipment.wait_seconds * 2, RESEND_LONGEST_SECONDS)
        shipment.sent_times += 1
        shipment.due_at = self._clock() + shipment.wait_seconds
        if self._broker.is_over():
            self._make_all_due()
        return True

    # --- confirming

    def _confirm(self, now: float) -> None:
        """Ask the database what is stored, and delete the segments of which nothing is missing."""
        missing = [batch_id for shipment in self._under_way.values() for batch_id in shipment.missing]
        try:
            with answers_within(CONFIRM_PATIENCE_SECONDS):
                stored = set(IngestedBatch.objects.filter(pk__in=missing).values_list("pk", flat=True))
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            self._database.began(now, error)
            return
        if self._database.is_over():
            self._make_all_due()
        for path, shipment in list(self._under_way.items()):
            shipment.missing -= stored
            shipment.unsent -= stored
            if not shipment.missing:
                delete_segment(path)
                del self._under_way[path]

    def _make_all_due(self) -> None:
        due_at = self._clock() + RESEND_AFTER_OUTAGE_SECONDS
        for shipment in self._under_way.values():
            if shipment.sent_times:
                shipment.due_at = min(shipment.due_at, due_at)
                shipment.wait_seconds = RESEND_FIRST_SECONDS


@contextlib.contextmanager
def shipper_lock(directory: Path, *, wait: Callable[[], None]) -> Iterator[None]:
    """Be the only shipper of a spool folder; while another is, `wait` is called between the tries."""
    create_spool(directory)
    descriptor = os.open(directory / "shipper.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                wait()
        yield
    finally:
        os.close(descriptor)
