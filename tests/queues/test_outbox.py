"""Our events: with the change or not at all, marked once, never lost between the two."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection as database
from django.db import transaction
from django.utils import timezone
from kombu import Connection, Queue
from pytest_django.fixtures import Settings

from linklayer import outbox, queues
from linklayer.models import OutboxEvent
from linklayer.topology import EVENTS
from tests.queues.conftest import take, wait_for_depth

pytestmark = pytest.mark.django_db

asked: list[tuple[int, dict[str, object]]] = []


def _happened(event_id: int, payload: dict[str, object]) -> bool:
    asked.append((event_id, payload))
    if payload["happened"] is None:
        raise RuntimeError("Linktree is away")
    return bool(payload["happened"])


sweepers = {"links.updated": _happened}


@pytest.fixture(autouse=True)
def _sweepers(settings: Settings) -> None:
    asked.clear()
    settings.ANNOUNCEMENT_SWEEPERS = ["tests.queues.test_outbox.sweepers"]


@pytest.fixture
def listener(empty_queues: Connection) -> Iterator[Queue]:
    """A queue that listens for events of links."""
    queue = Queue("test-listener", EVENTS, routing_key="link.*", durable=True)
    bound = queue(empty_queues.default_channel)
    bound.declare()
    yield queue
    bound.delete()


def state_of(event_id: int) -> str:
    return OutboxEvent.objects.get(pk=event_id).state


def test_an_event_is_published_once_with_its_id(empty_queues: Connection, listener: Queue) -> None:
    outbox.publish_event("link.created", {"slug": "abc"})
    assert outbox.dispatch_outbox() == 1
    assert outbox.dispatch_outbox() == 0
    message = take(empty_queues, listener)
    body = json.loads(message.body or "")
    event = OutboxEvent.objects.get()
    assert (body["id"], body["type"], body["payload"]) == (event.pk, "link.created", {"slug": "abc"})
    assert (event.state, body["createdAt"][-1]) == ("published", "Z")


def test_an_event_that_nobody_hears_is_published_all_the_same(empty_queues: Connection) -> None:
    outbox.publish_event("profile.updated", {})
    assert outbox.dispatch_outbox() == 1


def test_an_event_goes_with_its_transaction() -> None:
    def change() -> None:
        with transaction.atomic():
            outbox.publish_event("link.created", {})
            raise ValueError("the change fails")

    with pytest.raises(ValueError, match="fails"):
        change()
    assert not OutboxEvent.objects.exists()


def test_while_the_broker_is_away_events_wait() -> None:
    outbox.publish_event("link.created", {})
    queues._pause.begin()
    assert outbox.dispatch_outbox() == 0
    assert OutboxEvent.objects.get().state == "ready"


@pytest.mark.django_db(transaction=True)
def test_dispatchers_at_once_publish_each_event_once(empty_queues: Connection, listener: Queue) -> None:
    OutboxEvent.objects.bulk_create([OutboxEvent(type="link.created", payload={"n": n}) for n in range(250)])

    def dispatch(_: int) -> int:
        try:
            return outbox.dispatch_outbox()
        finally:
            database.close()

    with ThreadPoolExecutor(3) as threads:
        assert sum(threads.map(dispatch, range(3))) == 250
    wait_for_depth(empty_queues, listener, 250)
    assert OutboxEvent.objects.filter(state="published").count() == 250


def test_an_announced_event_is_published_once_it_is_confirmed() -> None:
    happened, failed = outbox.announce("links.updated", {}), outbox.announce("links.updated", {})
    assert state_of(happened) == "pending"
    outbox.confirm(happened)
    outbox.abandon(failed)
    outbox.abandon(happened)
    assert (state_of(happened), state_of(failed)) == ("ready", "abandoned")


def test_the_sweep_asks_what_became_of_old_announcements() -> None:
    ids = {happened: outbox.announce("links.updated", {"happened": happened}) for happened in (True, False, None)}
    fresh = outbox.announce("links.updated", {"happened": True})
    unknown = outbox.announce("other.event", {})
    old = timezone.now() - timedelta(seconds=121)
    OutboxEvent.objects.exclude(pk=fresh).update(created_at=old)
    assert outbox.sweep_announcements() == 3
    assert [state_of(ids[happened]) for happened in (True, False, None)] == ["ready", "abandoned", "pending"]
    assert (state_of(fresh), state_of(unknown)) == ("pending", "ready")


def test_published_events_are_kept_for_a_week() -> None:
    outbox.publish_event("link.created", {})
    outbox.publish_event("link.created", {})
    newest = OutboxEvent.objects.latest("pk")
    OutboxEvent.objects.update(state="published", created_at=timezone.now() - timedelta(days=6))
    OutboxEvent.objects.exclude(pk=newest.pk).update(created_at=timezone.now() - timedelta(days=8))
    outbox.sweep_announcements()
    assert OutboxEvent.objects.get() == newest


def test_a_slow_broker_ends_a_batch_before_postgresql_ends_its_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(queues, "publish_event", lambda _type, event_id, _body: sent.append(event_id))
    monkeypatch.setattr(outbox, "BATCH_SECONDS", 0.0)
    for slug in ("a", "b", "c"):
        outbox.publish_event("link.created", {"slug": slug})
    assert [outbox.dispatch_outbox() for _ in range(4)] == [1, 1, 1, 0]
    assert len(set(sent)) == len(sent) == 3
