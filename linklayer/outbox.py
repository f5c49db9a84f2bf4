"""Events of ours: written in the transaction of the change they tell of, published to the broker afterwards.

At least once: who listens drops repeats by the event's id. A change at Linktree is announced before the call and
confirmed after it, so that a crash in between is found by the sweep and not forgotten.
"""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from linklayer import queue_metrics, queues, registries
from linklayer.errors import Unavailable
from linklayer.models import OutboxEvent

log = structlog.get_logger(__name__)

# What a sweeper of announcements is given: the event's id and its payload; it tells whether the change happened.
Sweeper = Callable[[int, dict[str, Any]], bool]

BATCH = 100
MAX_BATCHES = 50
# PostgreSQL ends a transaction that lies idle for 10 s, and what was published then would be published for ever again.
BATCH_SECONDS = 5.0
# Longer than any call to Linktree with its retries: until then the caller itself may still confirm.
ANNOUNCED_TOO_LONG = timedelta(seconds=120)
KEPT_PUBLISHED = timedelta(days=7)


def publish_event(type: str, payload: dict[str, Any]) -> None:  # noqa: A002 - an event's type is called that
    """Publish an event with the running transaction: with its commit it will be sent, without it there is none.

    type: `noun.past_verb`, at most 64 characters. payload: JSON.
    """
    OutboxEvent.objects.create(type=type, payload=payload, state=OutboxEvent.State.READY)
    transaction.on_commit(_ask_for_dispatch, robust=True)


def announce(type: str, payload: dict[str, Any]) -> int:  # noqa: A002 - as above
    """Note, durably, that a change elsewhere is about to be tried; return the id for `confirm` or `abandon`.

    Raises RuntimeError inside a transaction: the note must outlive whatever happens to the caller.
    """
    with transaction.atomic(durable=True):
        return OutboxEvent.objects.create(type=type, payload=payload, state=OutboxEvent.State.PENDING).pk


def confirm(event_id: int, payload: dict[str, Any] | None = None) -> None:
    """Publish an announced event: the change happened. A repeat does nothing.

    payload: what happened, where that is not all that was announced.
    """
    announced = OutboxEvent.objects.filter(pk=event_id, state=OutboxEvent.State.PENDING)
    happened = {} if payload is None else {"payload": payload}
    if announced.update(state=OutboxEvent.State.READY, **happened):
        transaction.on_commit(_ask_for_dispatch, robust=True)


def abandon(event_id: int) -> None:
    """Drop an announced event: the change did not happen. A repeat does nothing."""
    announced = OutboxEvent.objects.filter(pk=event_id, state=OutboxEvent.State.PENDING)
    announced.update(state=OutboxEvent.State.ABANDONED)


def dispatch_outbox() -> int:
    """Publish what is ready, in the order of ids, at most 5,000; return how many. Ends early if the broker fails.

    Several may run at once: each row is marked by one of them. Order holds within a run, not between two at once.
    """
    published = 0
    for _ in range(MAX_BATCHES):
        count, was_full = _dispatch_batch()
        published += count
        if not was_full:
            break
    return published


def sweep_announcements() -> int:
    """Settle events that were announced more than 120 s ago and never confirmed; return how many; drop old rows.

    The app that announced looks what became of the change (`settings.ANNOUNCEMENT_SWEEPERS`: dotted names of dicts
    {event type: Sweeper}). Where none is registered the event is published: it only says "look again".
    """
    sweepers: dict[str, Sweeper] = {}
    for table in registries.load(settings.ANNOUNCEMENT_SWEEPERS):
        sweepers.update(table)
    too_old = timezone.now() - ANNOUNCED_TOO_LONG
    announced = OutboxEvent.objects.filter(state=OutboxEvent.State.PENDING, created_at__lt=too_old).order_by("id")
    settled = sum(_settle(event, sweepers.get(event.type)) for event in announced[:BATCH])
    OutboxEvent.objects.filter(
        state__in=[OutboxEvent.State.PUBLISHED, OutboxEvent.State.ABANDONED],
        created_at__lt=timezone.now() - KEPT_PUBLISHED,
    ).delete()
    return settled


def _dispatch_batch() -> tuple[int, bool]:
    """Publish one batch under row locks that only other dispatchers would take; (published, whether there is more)."""
    confirmed: list[int] = []
    give_up_at = time.monotonic() + BATCH_SECONDS
    with transaction.atomic():
        ready = OutboxEvent.objects.select_for_update(skip_locked=True).filter(state=OutboxEvent.State.READY)
        events = list(ready.order_by("id")[:BATCH])
        try:
            for event in events:
                queues.publish_event(event.type, event.pk, _message_body(event))
                confirmed.append(event.pk)
                if time.monotonic() >= give_up_at:
                    break
        except Unavailable as error:
            log.warning("outbox_waits", ready=len(events) - len(confirmed), error=str(error))
        OutboxEvent.objects.filter(pk__in=confirmed).update(
            state=OutboxEvent.State.PUBLISHED, published_at=timezone.now()
        )
    queue_metrics.outbox_published.inc(len(confirmed))
    return len(confirmed), len(confirmed) == BATCH


def _message_body(event: OutboxEvent) -> bytes:
    return json.dumps(
        {
            "id": event.pk,
            "type": event.type,
            "createdAt": event.created_at.isoformat().replace("+00:00", "Z"),
            "payload": event.payload,
        }
    ).encode()


def _settle(event: OutboxEvent, sweeper: Sweeper | None) -> bool:
    try:
        happened = sweeper is None or sweeper(event.pk, event.payload)
    except Exception:
        log.exception("announcement_not_settled", event_id=event.pk, type=event.type)
        return False
    log.warning("announcement_settled", event_id=event.pk, type=event.type, happened=happened)
    (confirm if happened else abandon)(event.pk)
    return True


def _ask_for_dispatch() -> None:
    """Have it published now rather than by the next sweep, five seconds later at most."""
    try:
        queues.send("linklayer.dispatch_outbox")
    except Unavailable as error:
        log.info("outbox_waits", error=str(error))
