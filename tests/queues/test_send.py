"""Publishing: confirmed, and bounded in time whatever the broker does."""

from collections.abc import Callable

import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection, Queue

from linklayer import queues
from linklayer.beat import Ticker
from linklayer.celery import BEAT_SCHEDULE, app
from linklayer.topology import DEAD_LETTERS, DEFAULT, ROUTES, TASK_QUEUES, WEBHOOKS
from tests.queues.conftest import Sender, take, wait_for_depth
from tests.queues.waiting import eventually
from tests.servers.running import RunningServer

StartSender = Callable[[str], Sender]
# What no call may pass, whatever the broker does: 1.5 s by design, and a little for a busy machine.
BOUND_SECONDS = 2.0


def test_a_sent_task_is_in_its_queue_with_its_id(empty_queues: Connection) -> None:
    queues.send("webhooks.process_receipt", "some-id", task_id="task-1")
    message = take(empty_queues, TASK_QUEUES[WEBHOOKS])
    message.ack()
    assert (message.headers["task"], message.headers["id"]) == ("webhooks.process_receipt", "task-1")
    assert message.payload[0] == ["some-id"]
    assert int(message.properties["delivery_mode"]) == queues.PERSISTENT


def test_an_unknown_task_is_not_sent() -> None:
    with pytest.raises(KeyError):
        queues.send("webhooks.typo")


@pytest.mark.parametrize("queue", [*TASK_QUEUES.values(), DEAD_LETTERS], ids=lambda queue: queue.name)
def test_a_queue_is_durable_and_a_quorum_queue(empty_queues: Connection, queue: Queue) -> None:
    """RabbitMQ compares the arguments of an existing queue with those of a new declaration."""
    queue(empty_queues.channel()).declare()
    classic = Queue(
        queue.name, durable=True, queue_arguments={**(queue.queue_arguments or {}), "x-queue-type": "classic"}
    )
    with pytest.raises(PreconditionFailed):
        classic(empty_queues.channel()).queue_declare()


def test_a_rejected_message_goes_to_the_dead_letters(empty_queues: Connection) -> None:
    queues.send("webhooks.process_receipt", "some-id")
    take(empty_queues, TASK_QUEUES[WEBHOOKS]).reject()
    wait_for_depth(empty_queues, DEAD_LETTERS, 1)


def test_an_expiring_tick_carries_no_time_to_live_for_the_broker(empty_queues: Connection) -> None:
    ticker = Ticker(app=app)
    ticker.setup_schedule()
    ticker.apply_entry(ticker.schedule["dispatch the outbox"])
    message = take(empty_queues, TASK_QUEUES[DEFAULT])
    message.ack()
    assert message.headers["expires"]
    assert "expiration" not in message.properties


def test_a_queue_deleted_under_a_live_connection_is_noticed_and_declared_again(empty_queues: Connection) -> None:
    queues.send("webhooks.process_receipt", "before")
    TASK_QUEUES[WEBHOOKS](empty_queues.default_channel).delete()
    queues.send("webhooks.process_receipt", "lost if it were not mandatory")
    wait_for_depth(empty_queues, TASK_QUEUES[WEBHOOKS], 1)


def test_every_route_leads_to_a_queue_and_every_tick_is_routed() -> None:
    assert set(ROUTES.values()) == set(TASK_QUEUES)
    assert {entry["task"] for entry in BEAT_SCHEDULE.values()} <= set(ROUTES)


@pytest.mark.parametrize("server", ["rabbitmq", "broker_server"])
def test_a_broker_that_is_frozen_or_dead_holds_a_sender_for_a_bounded_time(
    server: str, start_sender: StartSender, request: pytest.FixtureRequest
) -> None:
    broker: RunningServer = request.getfixturevalue(server)
    connected, fresh = start_sender(broker.url), start_sender(broker.url)
    assert connected.send()[0] == "sent"
    broker.freeze()
    try:
        answers = [connected.send(), fresh.send()]
    finally:
        broker.thaw()
    eventually(lambda: connected.send()[0] == "sent", "sent after the thaw")
    broker.kill()
    try:
        answers += [connected.send(), fresh.send()]
    finally:
        broker.start()
    assert {outcome for outcome, _ in answers} == {"unavailable"}
    assert max(seconds for _, seconds in answers) < BOUND_SECONDS
    eventually(lambda: connected.send()[0] == "sent", "sent after the restart")
