"""From a delivery over the broker to a worker, and what happens when the broker or the worker is missing."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from kombu import Connection
from pytest_django.fixtures import Settings

from linklayer import queues
from linklayer.topology import TASK_QUEUES, WEBHOOKS
from tests.queues.conftest import ROOT, SETTINGS, depth, take, wait_for_depth
from tests.queues.waiting import eventually
from tests.servers.running import RunningServer
from tests.webhooks.sender import SECRET, deliver, event_body
from webhooks import services
from webhooks.models import WebhookReceipt

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _receiver(settings: Settings) -> None:
    settings.EVENT_HANDLERS = ["tests.queues.effects.handlers"]
    settings.LINKTREE_WEBHOOK_SECRET = SECRET


def make_due() -> None:
    WebhookReceipt.objects.update(due_at=timezone.now() - timedelta(seconds=1))


def test_a_delivery_is_processed_by_a_worker(
    empty_queues: Connection, rabbitmq: RunningServer, start_worker: Callable[[str], RunningServer]
) -> None:
    start_worker(rabbitmq.url)
    for _ in range(5):
        assert deliver(event_body("test.effect")).json() == {"received": True}
    eventually(lambda: WebhookReceipt.objects.filter(state="done").count() == 5, "all are processed")


def test_without_the_broker_a_delivery_is_stored_and_asked_for_later(empty_queues: Connection) -> None:
    queues._pause.begin()
    assert deliver(event_body("test.effect")).status_code == 200
    make_due()
    assert services.requeue_due() == 0
    queues._pause = queues._Pause()
    assert services.requeue_due() == 1
    message = take(empty_queues, TASK_QUEUES[WEBHOOKS])
    message.ack()
    assert message.payload[0] == [str(WebhookReceipt.objects.get().pk)]


def test_what_was_asked_for_again_is_left_for_a_minute(empty_queues: Connection) -> None:
    deliver(event_body("test.effect"))
    assert services.requeue_due() == 0
    make_due()
    assert [services.requeue_due(), services.requeue_due()] == [1, 0]
    wait_for_depth(empty_queues, TASK_QUEUES[WEBHOOKS], 2)


def test_a_dead_workers_receipt_is_asked_for_until_somebody_takes_it(empty_queues: Connection) -> None:
    deliver(event_body("test.effect"))
    WebhookReceipt.objects.update(state="processing")
    make_due()
    assert services.requeue_due() == 1
    services.process(WebhookReceipt.objects.get().pk)
    assert WebhookReceipt.objects.get().state == "done"
    assert services.requeue_due() == 0


def test_an_ignored_event_is_not_asked_for(empty_queues: Connection) -> None:
    deliver(event_body("nobody.listens"))
    make_due()
    assert services.requeue_due() == 0
    assert depth(empty_queues, TASK_QUEUES[WEBHOOKS]) == 0


def test_with_the_redis_transport_the_dead_letter_consumer_has_nothing_to_do(broker_server: RunningServer) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "consume_dead_letters"],
        cwd=ROOT,
        env={**os.environ, **SETTINGS, "AMQP_URL": broker_server.url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "workers write dead letters to the table themselves" in done.stdout
