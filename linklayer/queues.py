"""The one way into the broker: tasks by name, and our events. Bounded in time, confirmed, loud when it fails.

Never called by a visitor's request. A call ends within 1.5 s, whatever the broker does: down, frozen, out of memory,
queue full, queue deleted. What it raises then is `errors.Unavailable`; the caller has the work in a table, a spool or a
schedule, and it is asked for again.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from amqp.exceptions import AMQPError, MessageNacked
from kombu import Producer
from kombu.exceptions import LimitExceeded, OperationalError
from redis.exceptions import RedisError

from linklayer import queue_metrics
from linklayer.celery import CONFIRM_TIMEOUT_SECONDS, app
from linklayer.errors import Unavailable
from linklayer.topology import DEAD_LETTERS, EVENTS, ROUTES, TASK_QUEUES

__all__ = ["ROUTES", "TASK_QUEUES", "publish_event", "publish_message", "send"]

# What a publish may raise when the broker is at fault. A queue deleted under us is an AMQPError (312 NO_ROUTE) and no
# OperationalError; a full queue is a nack.
BROKER_FAULTS = (OperationalError, LimitExceeded, AMQPError, MessageNacked, RedisError, OSError)

PERSISTENT = 2  # delivery mode: on disk
IDLE_DEATH_SHOWS_WITHIN_SECONDS = 0.25


def send(task_name: str, *args: Any, task_id: str | None = None, expires_seconds: float | None = None) -> None:
    """Ask for a task by name; return once the broker has confirmed that it holds the message.

    args: JSON values. task_id: given where a repeat must be recognised, else random. expires_seconds: a worker that
    takes it later than that drops it.
    Raises Unavailable within 1.5 s if the broker does not confirm (it may hold the message all the same, so every task
    bears a repeat); KeyError for a task that ROUTES does not name.
    """
    queue_name = ROUTES[task_name]
    _publish(
        lambda producer: app.send_task(
            task_name,
            args=args,
            task_id=task_id,
            expires=expires_seconds,
            producer=producer,
            queue=queue_name,
            declare=[TASK_QUEUES[queue_name], DEAD_LETTERS],
            ignore_result=True,
            add_to_parent=False,
            mandatory=True,
            confirm_timeout=CONFIRM_TIMEOUT_SECONDS,
        )
    )


def publish_message(queue_name: str, body: bytes, headers: Mapping[str, Any]) -> None:
    """Put a task message as it is (body: JSON bytes of protocol 2) into one of our queues; raises like `send`."""
    queue = TASK_QUEUES[queue_name]
    _publish(
        lambda producer: producer.publish(
            body,
            exchange="",
            routing_key=queue.name,
            declare=[queue, DEAD_LETTERS],
            content_type="application/json",
            content_encoding="utf-8",
            headers=dict(headers),
            correlation_id=headers.get("id"),
            delivery_mode=PERSISTENT,
            mandatory=True,
            confirm_timeout=CONFIRM_TIMEOUT_SECONDS,
        )
    )


def publish_event(event_type: str, event_id: int, body: bytes) -> None:
    """Put one of our events onto the topic exchange `events.v1`, routing key = its type; raises like `send`.

    An event that nobody listens for is confirmed and gone: that is what a topic exchange means.
    """
    _publish(
        lambda producer: producer.publish(
            body,
            exchange=EVENTS,
            routing_key=event_type,
            declare=[EVENTS],
            content_type="application/json",
            content_encoding="utf-8",
            message_id=str(event_id),
            type=event_type,
            delivery_mode=PERSISTENT,
            confirm_timeout=CONFIRM_TIMEOUT_SECONDS,
        )
    )


class _Pause:
    """After a failed publish, refuse at once for a second: threads must not queue up behind a dead broker."""

    SECONDS = 1.0

    def __init__(self) -> None:
        self._ends_at = 0.0

    def begin(self) -> None:
        self._ends_at = time.monotonic() + self.SECONDS

    def check(self) -> None:
        if time.monotonic() < self._ends_at:
            raise Unavailable("The broker did not confirm a moment ago")


_pause = _Pause()


def _publish(publish: Callable[[Producer], object]) -> None:
    """Publish through a pooled connection; if it had died while it lay idle that shows at once: a fresh one is tried.

    A frozen broker shows late, and is not tried again: two waits would pass the bound.
    """
    _pause.check()
    started = time.monotonic()
    for tries_left in (2, 1, 0):
        try:
            with app.producer_or_acquire() as producer:
                publish(producer)
        except BROKER_FAULTS as error:
            queue_metrics.publish_failures.inc()
            if tries_left and time.monotonic() - started < IDLE_DEATH_SHOWS_WITHIN_SECONDS:
                continue
            _pause.begin()
            raise Unavailable(f"The broker did not confirm: {type(error).__name__} {error}") from error
        return
