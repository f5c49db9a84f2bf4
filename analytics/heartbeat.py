"""What a recording process tells the database about itself, once a second, from a thread of its own.

The ledger's row of the process (accepted, ring, dropped) and the salt of the day. A database that is down or frozen
holds up this thread only; the counts are cumulative, so the next beat makes up for those that failed.
"""

import os
import socket
import threading
import time

import structlog
from django.db import connection

from analytics.spool import Spool, SpoolCounts
from analytics.visitors import Salts, date_of

logger = structlog.get_logger(__name__)

BEAT_SECONDS = 1.0
IDLE_BEATS = 15  # a process with nothing new to say repeats itself this often, in beats
DAY_SECONDS = 86_400
NEXT_SALT_SECONDS = 3600  # the coming day's salt is agreed upon this long before midnight


class Heartbeat:
    """The beating thread of one recorder; `start` once, `stop` waits for the last beat."""

    def __init__(self, spool: Spool, salts: Salts) -> None:
        self._spool = spool
        self._salts = salts
        self._told: SpoolCounts | None = None
        self._silent_beats = 0
        self._is_failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End with one last beat; a database that hangs is not waited for beyond 2 s."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def beat(self) -> None:
        """Agree on the salts and write the counts. Raises django.db.Error if the database cannot."""
        now = time.time()
        for day in {int(now // DAY_SECONDS), int((now + NEXT_SALT_SECONDS) // DAY_SECONDS)}:
            if not self._salts.is_agreed(day):
                self._salts.agree(day, shared_salt(day, self._salts.salt(day)))
        counts = self._spool.counts()
        self._silent_beats += 1
        if counts != self._told or self._silent_beats >= IDLE_BEATS:
            write_counts(counts)
            self._told, self._silent_beats = counts, 0

    def _run(self) -> None:
        try:
            self._try_beat()
            while not self._stopping.wait(BEAT_SECONDS):
                self._try_beat()
            self._try_beat()
        finally:
            connection.close()

    def _try_beat(self) -> None:
        try:
            self.beat()
        except Exception as error:  # noqa: BLE001 - the thread's edge: whatever failed is tried again in a second
            if not self._is_failing:
                logger.warning("heartbeat_failing", error=repr(error))
            self._is_failing = True
            connection.close()
        else:
            self._is_failing = False


def shared_salt(day: int, proposal: bytes) -> bytes:
    """Return the day's salt in the table, which is the proposal if it is the first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_dailysalt (day, salt) VALUES (%s, %s) ON CONFLICT (day) DO NOTHING",
            [date_of(day), proposal],
        )
        cursor.execute("SELECT salt FROM analytics_dailysalt WHERE day = %s", [date_of(day)])
        return bytes(cursor.fetchone()[0])


def write_counts(counts: SpoolCounts) -> None:
    """Set what the process has accepted, holds in memory and has dropped; what is stored the ingest counts."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_processgeneration"
            " (generation, host, pid, accepted, ring, dropped, stored, dead_lettered, highest_sequence, heartbeat_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, 0, 0, 0, now()) ON CONFLICT (generation) DO UPDATE SET"
            " host = EXCLUDED.host, pid = EXCLUDED.pid, accepted = EXCLUDED.accepted,"
            " ring = EXCLUDED.ring, dropped = EXCLUDED.dropped, heartbeat_at = EXCLUDED.heartbeat_at",
            [counts.generation, socket.gethostname(), os.getpid(), counts.accepted, counts.ring, counts.dropped],
        )
