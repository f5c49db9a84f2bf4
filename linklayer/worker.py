"""What our Celery workers do differently: no message ends a worker, and outages are not failures.

Rule of the house: each task has somebody who asks again (the shipper, a sweeper, beat), so a task may let go.
"""

import time
from collections.abc import Callable
from typing import Any, ClassVar

import structlog
from celery import Task
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from django.db import InterfaceError, OperationalError, close_old_connections, connections
from kombu import Connection
from kombu.message import Message

from linklayer import dead_letters, queue_metrics
from linklayer.backoff import equal_jitter_seconds
from linklayer.celery import consuming_connection
from linklayer.errors import Unavailable, UpstreamFailed
from linklayer.topology import DEAD_LETTERS

log = structlog.get_logger(__name__)
transport_log = get_logger(__name__)  # kombu's reject_log_error takes a standard logger

# Another part is down or slow: nothing is wrong with the data.
TRANSIENT = (OperationalError, InterfaceError, Unavailable, UpstreamFailed, ConnectionError, TimeoutError)


class SafeTask(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """Base of all our tasks: three tries for data errors, then a dead letter; patience in outages, never a dead letter.

    - The data are at fault (anything not in TRANSIENT): three tries, 0.25 to 1 s apart with equal jitter, then a
      DeadLetter row with the message. If the row cannot be written the error is raised, and RabbitMQ's dead-letter
      exchange is the net below. A tick of beat carries no data: it is only logged, the next one is due anyway.
    - Something is down: tried again for `patience_seconds` (a tick not at all), then let go, which is: acknowledged,
      logged, counted. Running into the soft time limit counts as that too; a frozen database looks like it.
    Called directly, not by a worker, it is the plain function.
    """

    __header__: ClassVar[Callable[..., object]]  # Celery's: raises TypeError for arguments that the task does not take
    tries: ClassVar[int] = 3
    patience_seconds: ClassVar[float] = 30.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        try:
            self.__header__(*args, **kwargs)
        except TypeError as error:
            return self._bury(args, kwargs, error)
        try:
            return self._work(args, kwargs)
        except SoftTimeLimitExceeded as error:
            connections.close_all()
            return self._let_go(error)

    def _work(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        is_tick = not args and not kwargs
        give_up_at = time.monotonic() + (0.0 if is_tick else self.patience_seconds)
        failures = outages = 0
        while True:
            close_old_connections()
            try:
                return self.run(*args, **kwargs)
            except SoftTimeLimitExceeded:
                raise
            except TRANSIENT as error:
                connections.close_all()
                outages += 1
                wait_seconds = equal_jitter_seconds(outages, base_seconds=0.5, cap_seconds=5.0)
                if time.monotonic() + wait_seconds > give_up_at:
                    return self._let_go(error)
            except Exception as error:  # noqa: BLE001 - the edge that must answer: the queue waits behind it
                failures += 1
                if failures >= self.tries:
                    return self._bury(args, kwargs, error)
                log.warning("task_failed", task=self.name, id=self.request.id, tries=failures, error=repr(error))
                wait_seconds = equal_jitter_seconds(failures, base_seconds=0.5, cap_seconds=2.0)
            queue_metrics.task_retries.labels(task=self.name).inc()
            time.sleep(wait_seconds)

    def _let_go(self, error: Exception) -> None:
        queue_metrics.tasks_let_go.labels(task=self.name).inc()
        log.warning("task_let_go", task=self.name, id=self.request.id, error=repr(error))

    def _bury(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> None:
        log.error("task_gave_up", task=self.name, id=self.request.id, exc_info=error)
        if not args and not kwargs:
            return
        replayed_as = {
            header: self.request.get(header)
            for header in (dead_letters.KEY_HEADER, dead_letters.REPLAYS_HEADER)
            if self.request.get(header) is not None
        }
        reason = f"{type(error).__name__}: {error}"
        try:
            dead_letters.bury_task(
                self.name, args, kwargs, reason, task_id=str(self.request.id), replayed_as=replayed_as
            )
        except Exception:
            log.exception("dead_letter_not_written", task=self.name, id=self.request.id)
            raise error from None


class SafeConsumer(Consumer):
    """Celery's consumer, but no malformed message ends it or is passed by.

    Celery acknowledges and drops what it cannot decode, and its main process dies of a body that is not a list of
    three. Here both are rejected to the dead letters. What we do not use is left out: remote control, talk between
    workers, and native delayed delivery with its 28 queues (nothing here is sent with an ETA).
    """

    connection_errors: tuple[type[Exception], ...]
    conninfo: Connection

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc,valid-type]  # a class; the stubs call it a variable
        default_steps = (
            "celery.worker.consumer.connection:Connection",
            "celery.worker.consumer.mingle:Mingle",
            "celery.worker.consumer.events:Events",
            "celery.worker.consumer.tasks:Tasks",
            "celery.worker.consumer.consumer:Evloop",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Tasks requires Mingle, Mingle requires Events: they are there, and do nothing.
        super().__init__(*args, **{**kwargs, "without_mingle": True, "without_gossip": True, "without_heartbeat": True})

    def connection_for_read(self, heartbeat: float | None = None) -> Connection:
        """Connect, however long the broker is away; tried every two seconds, so that work goes on when it is back."""
        return consuming_connection(heartbeat_seconds=heartbeat).ensure_connection(
            self._note_no_connection, interval_start=1, interval_step=1, interval_max=2, callback=maybe_shutdown
        )

    @staticmethod
    def _note_no_connection(error: Exception, wait_seconds: float) -> None:
        log.warning("broker_away", error=str(error), wait_seconds=wait_seconds)

    def connect(self) -> Connection:
        """Connect, and make sure that what we reject has somewhere to go."""
        connection = super().connect()
        with connection.channel() as channel:
            DEAD_LETTERS(channel).declare()
        return connection

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        self._reject(message, f"undecodable: {exc!r}")

    def on_unknown_message(self, body: object, message: Message) -> None:
        self._reject(message, "not a task message")

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:
        self._reject(message, f"unknown task {message.headers.get('task')!r}")

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:
        self._reject(message, f"invalid task: {exc!r}")

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        handle = super().create_task_handler(*args, **kwargs)

        def guarded(message: Message) -> Any:
            try:
                if not _is_task_body(message.payload):
                    return self._reject(message, "malformed: the body is no [args, kwargs, embedded] of ours")
                return handle(message)
            except LookupError as error:
                # A header is missing; the Redis transport counts KeyError among its connection errors.
                return self._reject(message, f"malformed: {error!r}")
            except Exception as error:
                if message.acknowledged or isinstance(error, self.connection_errors):
                    raise
                return self._reject(message, f"malformed: {error!r}")

        return guarded

    def _reject(self, message: Message, reason: str) -> None:
        """Reject to the dead letters; the Redis transport has no such exchange, so there the row is written here."""
        log.error("message_rejected", reason=reason)
        if self.conninfo.transport.driver_type == "amqp":
            message.reject_log_error(transport_log, self.connection_errors)
            return
        try:
            dead_letters.bury_message(message, queue=message.delivery_info.get("routing_key", ""), reason=reason)
        except TRANSIENT:
            log.exception("dead_letter_not_written")  # not acknowledged: it comes again after the visibility time-out
        else:
            message.ack_log_error(transport_log, self.connection_errors)
        finally:
            connections.close_all()  # this is the worker's main process: its children must inherit no connection


def _is_task_body(payload: object) -> bool:
    """Tell whether a decoded body is one of ours: a list, a dict, and a dict of canvas parts, none of which we use.

    Celery would find out in the child process or after the task has run, too late to keep the message.
    """
    if not isinstance(payload, list) or len(payload) != 3:
        return False
    args, kwargs, embedded = payload
    return (
        isinstance(args, list)
        and isinstance(kwargs, dict)
        and isinstance(embedded, dict)
        and not any(embedded.values())
    )
