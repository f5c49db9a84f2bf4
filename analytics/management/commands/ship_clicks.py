"""`manage.py ship_clicks`: the shipper, one per host; a second one stands by until the first is gone."""

import signal
import time
from types import FrameType
from typing import Any, NoReturn
from uuid import UUID

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, connection

from analytics import services
from analytics.shipper import Shipper, shipper_lock
from linklayer import queues

logger = structlog.get_logger(__name__)

TICK_SECONDS = 0.05
IDLE_TICK_SECONDS = 0.1
STANDBY_SECONDS = 0.5


class Command(BaseCommand):
    help = "Ship the clicks in the spool to the database, by way of the broker, until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        # All state is in files and in the database: there is nothing to finish before the end.
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        with shipper_lock(settings.SPOOL_DIR, wait=_stand_by):
            logger.info("shipper_started", spool=str(settings.SPOOL_DIR))
            _make_partitions()
            shipper = Shipper(settings.SPOOL_DIR, _send)
            while True:
                try:
                    is_busy = shipper.turn()
                except OSError as error:
                    logger.warning("spool_unreadable", error=repr(error))
                    is_busy = False
                time.sleep(TICK_SECONDS if is_busy else IDLE_TICK_SECONDS)


def _send(batch_id: UUID, records: str) -> None:
    queues.send(services.INGEST_TASK, str(batch_id), records, task_id=str(batch_id))


def _make_partitions() -> None:
    """Today's partition should be there before today's rows; without it they land in DEFAULT, and beat tries again."""
    try:
        services.make_partitions()
    except (DatabaseError, InterfaceError) as error:
        connection.close()
        logger.warning("partitions_not_made", error=repr(error))


def _stand_by() -> None:
    time.sleep(STANDBY_SECONDS)


def _stop(_signal_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
