"""Move the broker's dead letters into the table. A plain consumer: a dead letter must not need the task machinery."""

import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import structlog
from django.core.management.base import BaseCommand
from django.db import InterfaceError, OperationalError, connections
from kombu import Connection, Consumer
from kombu.message import Message
from kombu.mixins import ConsumerMixin

from linklayer import dead_letters
from linklayer.backoff import equal_jitter_seconds
from linklayer.celery import consuming_connection
from linklayer.topology import DEAD_LETTERS

log = structlog.get_logger(__name__)

PREFETCH = 50


class Command(BaseCommand):
    help = (
        "Store the messages of dlq.v1 as dead letters, until SIGTERM. With the Redis transport there is nothing to do."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        connection = consuming_connection(heartbeat_seconds=30)
        if connection.transport.driver_type != "amqp":
            self.stdout.write(
                "The broker has no dead-letter queue: workers write dead letters to the table themselves."
            )
            return
        consumer = DeadLetterConsumer(connection)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        log.info("dead_letter_consumer_started")
        consumer.run()


def _leave(*_: object) -> None:
    """End wherever we are: what is stored and not yet acknowledged comes again, and is the same letter."""
    log.info("dead_letter_consumer_stopped")
    sys.exit(0)


class DeadLetterConsumer(ConsumerMixin):
    """Each message: a row, committed, then acknowledged. Waits for broker and database as long as it takes."""

    connect_max_retries = None

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get_consumers(self, consumer_class: Callable[..., Consumer], channel: Any) -> list[Consumer]:
        return [
            consumer_class(
                queues=[DEAD_LETTERS],
                on_message=self.keep,
                prefetch_count=PREFETCH,
                accept=None,  # kept as bytes, never decoded
            )
        ]

    def keep(self, message: Message) -> None:
        """Store one message. While the database is away the rest waits in the broker, where it is safe."""
        queue, reason = dead_letters.broker_reason(message.headers)
        outages = 0
        while True:
            try:
                dead_letters.bury_message(message, queue=queue, reason=reason)
            except (OperationalError, InterfaceError) as error:
                connections.close_all()
                outages += 1
                log.warning("dead_letter_waits", error=str(error), outages=outages)
                time.sleep(equal_jitter_seconds(outages, base_seconds=0.5, cap_seconds=5.0))
            else:
                message.ack()
                return
