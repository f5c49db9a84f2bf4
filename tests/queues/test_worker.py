"""A real worker on a real broker: no message ends it, none is passed by."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from kombu import Connection, Producer

from linklayer import dead_letters
from linklayer.models import DeadLetter
from linklayer.topology import DEAD_LETTERS, TASK_QUEUES, WEBHOOKS
from tests.queues.conftest import StartProcess, depth
from tests.queues.waiting import eventually
from tests.servers.running import RunningServer
from webhooks.models import WebhookReceipt

StartWorker = Callable[[str], RunningServer]

pytestmark = pytest.mark.django_db(transaction=True)

TASK = "webhooks.process_receipt"
CALLS = b'{"callbacks":1,"errbacks":2,"chain":3,"chord":4}'
# The 11 shapes that a worker must outlive: a body, and what its headers hold beside task and id (None: no headers).
SHAPES: list[tuple[bytes, dict[str, Any] | None]] = [
    (b"\xff\xfe", {}),
    (b"[]", {}),
    (b"null", {}),
    (b'{"a":1}', {}),
    (b"[1,2,3]", {}),
    (b"[[1],{},{}]", {"id": None}),
    (b"[[1],{},{}]", None),
    (b'"x"', None),
    (b'[[1],{"b":2},{}]', {}),
    (b"[[77],{},{}]", {"retries": "NaN", "timelimit": 7, "eta": "garbage"}),
    (b"[[78],{}," + CALLS + b"]", {}),
]


@pytest.mark.parametrize("server", ["rabbitmq", "broker_server"])
def test_every_poison_shape_is_a_dead_letter_and_the_worker_lives(
    server: str, start_worker: StartWorker, start_process: StartProcess, request: pytest.FixtureRequest
) -> None:
    broker: RunningServer = request.getfixturevalue(server)
    if server == "rabbitmq":
        request.getfixturevalue("empty_queues")
        start_process(broker.url, "manage.py", "consume_dead_letters")
    worker = start_worker(broker.url)
    with Connection(broker.url) as connection, connection.Producer() as producer:
        for body, headers in SHAPES:
            publish(producer, body, headers)
        publish(producer, b"[[],{},{}]", {"task": "no.such.task"})
        receipt = a_receipt()
        publish(producer, json.dumps([[str(receipt.pk)], {}, {}]).encode(), {})
    eventually(lambda: DeadLetter.objects.count() == len(SHAPES) + 1, f"{DeadLetter.objects.count()} dead letters")
    eventually(lambda: WebhookReceipt.objects.get().state == "done", "the good one is processed")
    assert {bytes(letter.body) for letter in DeadLetter.objects.all()} >= {b"\xff\xfe", b"[]", b"null", b'"x"'}
    assert Path(f"/proc/{worker.pid}").exists()


def test_a_replayed_letter_is_processed_by_the_worker(
    empty_queues: Connection, start_worker: StartWorker, rabbitmq: RunningServer
) -> None:
    receipt = a_receipt()
    body = dead_letters.task_body(str(receipt.pk))
    dead_letters.bury(TASK, body, {"task": TASK, "id": "task-9"}, "was broken", dedupe_key="k")
    dead_letters.replay(DeadLetter.objects.get().pk)
    start_worker(rabbitmq.url)
    eventually(lambda: WebhookReceipt.objects.get().state == "done", "processed after the replay")
    assert DeadLetter.objects.get().state == DeadLetter.State.REPLAYED


def test_a_worker_outlives_its_broker(
    empty_queues: Connection, start_worker: StartWorker, rabbitmq: RunningServer
) -> None:
    """Also shows that messages survive `kill -9` of the broker once they are confirmed."""
    worker = start_worker(rabbitmq.url)
    eventually(lambda: consumers(rabbitmq.url) == 1, "the worker consumes")
    worker.freeze()
    receipt = a_receipt()
    with Connection(rabbitmq.url, transport_options={"confirm_publish": True}) as connection:
        publish(connection.Producer(), json.dumps([[str(receipt.pk)], {}, {}]).encode(), {})
    rabbitmq.kill()
    worker.thaw()
    rabbitmq.start()
    eventually(lambda: WebhookReceipt.objects.get().state == "done", "processed after the restart", timeout_seconds=30)
    with Connection(rabbitmq.url) as connection:
        assert depth(connection, DEAD_LETTERS) == 0


def publish(producer: Producer, body: bytes, headers: dict[str, Any] | None) -> None:
    whole = {} if headers is None else {"task": TASK, "id": str(uuid.uuid4()), **headers}
    producer.publish(
        body,
        exchange="",
        routing_key=WEBHOOKS,
        declare=[TASK_QUEUES[WEBHOOKS]],
        content_type="application/json",
        content_encoding="utf-8",
        headers={name: value for name, value in whole.items() if value is not None},
    )


def a_receipt() -> WebhookReceipt:
    return WebhookReceipt.objects.create(
        event_id=str(uuid.uuid4()),
        type="test.effect",
        body=b'{"id":"evt_1","type":"test.effect"}',
        headers={"x-linktree-timestamp": "1768478400"},
        happened_at=timezone.now(),
        due_at=timezone.now(),
    )


def consumers(broker_url: str) -> int:
    with Connection(broker_url) as connection:
        declared: Any = TASK_QUEUES[WEBHOOKS](connection.default_channel).queue_declare(passive=True)
        return int(declared.consumer_count)
