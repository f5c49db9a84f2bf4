"""Handlers that remember what they were given; registered by tests in settings.EVENT_HANDLERS."""

from celery.exceptions import SoftTimeLimitExceeded

from linklayer.errors import Unavailable
from linklayer.forgetting import forget_after_commit
from webhooks.contracts import EventHandler, InboundEvent

receipts: list[InboundEvent] = []
processed: list[InboundEvent] = []


def clear() -> None:
    receipts.clear()
    processed.clear()


def _forget(event: InboundEvent) -> None:
    receipts.append(event)
    forget_after_commit(f"test-profile:{event.profile_id}", keep_stale=True)


def _process(event: InboundEvent) -> None:
    processed.append(event)


def _raise_bug(event: InboundEvent) -> None:
    processed.append(event)
    raise ValueError(f"cannot apply {event.id}")


def _raise_outage(event: InboundEvent) -> None:
    processed.append(event)
    raise Unavailable("Linktree is away")


def _run_too_long(event: InboundEvent) -> None:
    processed.append(event)
    raise SoftTimeLimitExceeded


handlers = {
    "link.created": EventHandler(_forget, _process),
    "profile.updated": EventHandler(_forget, _process),
    "test.buggy": EventHandler(_forget, _raise_bug),
    "test.forgets_badly": EventHandler(_raise_bug, _process),
    "test.endless": EventHandler(_forget, _run_too_long),
    "test.outage": EventHandler(_forget, _raise_outage),
}
