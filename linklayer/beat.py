"""Beat's scheduler: the schedule is in code, nothing is kept between runs, and ticks go out like every other task.

Celery's own scheduler keeps one connection and leaves its revival to kombu's publish retries, which we have off: after
a restart of the broker it would never send again.
"""

from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler

from linklayer import queues
from linklayer.errors import Unavailable

log = structlog.get_logger(__name__)


class Ticker(Scheduler):
    """Sends due ticks by `queues.send`; a tick that cannot be sent is dropped, the next one is due soon."""

    producer: Any = None  # the base would open a connection for it

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        try:
            queues.send(str(entry.task), expires_seconds=(entry.options or {}).get("expires"))
        except Unavailable as error:
            log.warning("tick_not_sent", task=entry.task, error=str(error))
