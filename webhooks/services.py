"""Events in: verified, stored once, forgotten about before the sender has its answer, processed by a worker.

Insert, then process: whatever dies in between leaves a row that the sweeper asks for again. The two ids are unique in
the database, so any number of copies at once is one row and one effect.
"""

import enum
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from linklayer import dead_letters, queues, registries
from linklayer.backoff import equal_jitter_seconds
from linklayer.errors import LinkLayerError, NotFound, Unavailable, UpstreamFailed
from linklayer.storable import storable, storable_text
from webhooks import envelope, metrics, signing
from webhooks.contracts import EventHandler, InboundEvent
from webhooks.models import WebhookReceipt

log = structlog.get_logger(__name__)

State = WebhookReceipt.State

PROCESS_TASK = "webhooks.process_receipt"
TRIES = 3
# Longer than a task may run (its hard limit is 55 s): an unfinished receipt this old has no worker any more.
LEASE = timedelta(seconds=60)
REQUEUED_AT_ONCE = 500
_TRANSIENT = (
    OperationalError,
    InterfaceError,
    Unavailable,
    UpstreamFailed,
    ConnectionError,
    TimeoutError,
    SoftTimeLimitExceeded,  # whatever the handler waited for does not answer
)
# The contract asks for 7; no copy can be that late, its signature is good for five minutes.
KEPT_FINISHED = timedelta(days=30)
PRUNED_AT_ONCE = 1000
_KEPT_HEADERS = ("content-type", "user-agent", "x-linktree-timestamp", "x-linktree-delivery-id", "x-linktree-event")


class Outcome(enum.StrEnum):
    """What became of a genuine delivery."""

    RECEIVED = "received"
    DUPLICATE = "duplicate"


def is_genuine(body: bytes, headers: Mapping[str, str], *, now: datetime) -> bool:
    """Tell whether a delivery is Linktree's and recent; why not goes to the log and the metrics, never to the sender.

    headers: any case; non-ASCII values as WSGI gives them. now: aware.
    """
    secrets = [settings.LINKTREE_WEBHOOK_SECRET, settings.LINKTREE_WEBHOOK_SECRET_PREVIOUS]
    verdict = signing.verify(
        body,
        signature=headers.get("X-Linktree-Signature", ""),
        timestamp=headers.get("X-Linktree-Timestamp", ""),
        secrets=[secret for secret in secrets if secret],
        tolerance_seconds=settings.LINKTREE_WEBHOOK_TOLERANCE_SECONDS,
        now=now,
    )
    if verdict is signing.Verdict.GENUINE:
        return True
    metrics.refused.labels(verdict=verdict).inc()
    log.warning("webhook_refused", verdict=verdict)
    return False


def receive(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """Store a genuine delivery and let its handler forget what it outdates; processing follows on commit.

    The first body of an event id wins; a copy, also a concurrent one, changes nothing. Raises InvalidInput for a body
    that is no event; database errors as they are: nothing is stored then, and the sender tries again.
    """
    event = _event(body, headers)
    handler = _handlers().get(event.type)
    receipt = _new_receipt(event, body, headers, State.RECEIVED if handler else State.IGNORED)
    with transaction.atomic():
        WebhookReceipt.objects.bulk_create([receipt], ignore_conflicts=True)
        is_first = WebhookReceipt.objects.filter(pk=receipt.pk).exists()
        if is_first and handler:
            _run_on_receipt(handler, event)
            transaction.on_commit(partial(_ask_for_processing, receipt.pk), robust=True)
    outcome = Outcome.RECEIVED if is_first else Outcome.DUPLICATE
    metrics.received.labels(outcome=outcome if handler else "ignored").inc()
    log.info("webhook_received", event_id=event.id, type=event.type, outcome=outcome, is_handled=handler is not None)
    if not is_first:
        _note_conflict(event, receipt.delivery_id, body)
    return outcome


def process(receipt_id: uuid.UUID, *, is_replay: bool = False) -> None:
    """Give a receipt to its handler; a receipt that is done or in another worker's hands is left alone.

    Three failures by the event itself make it FAILED and a dead letter; an outage puts it back and counts as none.
    is_replay: take a FAILED one too.
    """
    receipt = _claim(receipt_id, is_replay=is_replay)
    if receipt is None:
        return
    handler = _handlers().get(receipt.type)
    if handler is None:
        _finish(receipt, State.IGNORED)
        return
    try:
        handler.process(_event(bytes(receipt.body), receipt.headers))
    except _TRANSIENT as error:
        _put_back(receipt, error)
    except Exception as error:  # noqa: BLE001 - the edge that must answer: any bug of a handler counts as a try
        _count_failure(receipt, error)
    else:
        _finish(receipt, State.DONE)


def process_again(receipt_id: uuid.UUID) -> None:
    """Process a receipt from the start on an operator's word, whatever became of it. Raises NotFound."""
    changed = WebhookReceipt.objects.filter(pk=receipt_id).update(
        state=State.RECEIVED, failures=0, last_error="", finished_at=None, due_at=timezone.now() + LEASE
    )
    if not changed:
        raise NotFound(f"no receipt {receipt_id}")
    transaction.on_commit(partial(_ask_for_processing, receipt_id), robust=True)


def requeue_due() -> int:
    """Ask again for unfinished receipts that are due, the oldest first, 500 at most; return how many.

    Covers a broker that was down at receipt, a worker that died, and tries that were put off.
    """
    now = timezone.now()
    due = WebhookReceipt.objects.filter(state__in=[State.RECEIVED, State.PROCESSING], due_at__lte=now)
    requeued = 0
    for receipt_id in list(due.order_by("due_at").values_list("pk", flat=True)[:REQUEUED_AT_ONCE]):
        try:
            queues.send(PROCESS_TASK, str(receipt_id))
        except Unavailable as error:
            log.warning("receipts_wait", error=str(error))
            break
        # Only a waiting one: moving the lease of one in PROCESSING would keep its next worker from taking it.
        WebhookReceipt.objects.filter(pk=receipt_id, state=State.RECEIVED).update(due_at=now + LEASE)
        requeued += 1
    return requeued


def prune_receipts() -> int:
    """Delete what was done or ignored more than 30 days ago and return how many; what failed waits for an operator."""
    finished = WebhookReceipt.objects.filter(state__in=[State.DONE, State.IGNORED])
    old = finished.filter(received_at__lt=timezone.now() - KEPT_FINISHED).order_by("received_at")
    deleted = 0
    while receipt_ids := list(old.values_list("pk", flat=True)[:PRUNED_AT_ONCE]):
        deleted += WebhookReceipt.objects.filter(pk__in=receipt_ids).delete()[0]
    return deleted


def _handlers() -> dict[str, EventHandler]:
    handlers: dict[str, EventHandler] = {}
    for table in registries.load(settings.EVENT_HANDLERS):
        handlers.update(table)
    return handlers


def _event(body: bytes, headers: Mapping[str, str]) -> InboundEvent:
    """Return the event of a delivery whose signature held: its timestamp header is ten digits."""
    lower = {name.lower(): value for name, value in headers.items()}
    return envelope.parse(
        body,
        delivery_id=storable_text(lower.get("x-linktree-delivery-id", "")),
        sent_at=datetime.fromtimestamp(int(lower["x-linktree-timestamp"]), tz=UTC),
    )


def _new_receipt(
    event: InboundEvent, body: bytes, headers: Mapping[str, str], state: WebhookReceipt.State
) -> WebhookReceipt:
    now = timezone.now()
    lower = {name.lower(): value for name, value in headers.items()}
    return WebhookReceipt(
        event_id=event.id,
        delivery_id=storable_text(lower.get("x-linktree-delivery-id", ""))[: envelope.MAX_TEXT] or None,
        type=event.type,
        profile_ref=event.profile_id or event.username,
        body=body,
        headers=storable({name: lower[name] for name in _KEPT_HEADERS if name in lower}),
        happened_at=event.timestamp,
        received_at=now,
        state=state,
        due_at=now + LEASE,
        finished_at=now if state == State.IGNORED else None,
    )


def _run_on_receipt(handler: EventHandler, event: InboundEvent) -> None:
    """Run the handler in a savepoint: a bug in it must not cost us the event; `process` does the same work again."""
    try:
        with transaction.atomic():
            handler.on_receipt(event)
    except (OperationalError, InterfaceError):
        raise
    except (LinkLayerError, DatabaseError, LookupError, TypeError, ValueError, AttributeError):
        log.exception("webhook_on_receipt_failed", event_id=event.id, type=event.type)


def _ask_for_processing(receipt_id: uuid.UUID) -> None:
    try:
        queues.send(PROCESS_TASK, str(receipt_id))
    except Unavailable as error:
        log.warning("receipt_waits", receipt=str(receipt_id), error=str(error))


def _note_conflict(event: InboundEvent, delivery_id: str | None, body: bytes) -> None:
    """Count a repeated id that came with other content: two events under one id, or a sender that edits."""
    # A delivery without an id is no copy of the others without one.
    same = Q(event_id=event.id) if delivery_id is None else Q(event_id=event.id) | Q(delivery_id=delivery_id)
    stored = WebhookReceipt.objects.filter(same).first()
    if stored is not None and bytes(stored.body) != body:
        metrics.conflicts.inc()
        log.error("webhook_conflict", event_id=event.id, receipt=str(stored.pk))


@transaction.atomic
def _claim(receipt_id: uuid.UUID, *, is_replay: bool) -> WebhookReceipt | None:
    """Take a receipt for the length of the lease. One whose lease ran out died with its worker: that is a failure."""
    receipt = WebhookReceipt.objects.select_for_update(skip_locked=True).filter(pk=receipt_id).first()
    if receipt is None:
        return None
    now = timezone.now()
    is_orphan = receipt.state == State.PROCESSING and receipt.due_at <= now
    is_replayed = is_replay and receipt.state == State.FAILED
    if not (receipt.state == State.RECEIVED or is_orphan or is_replayed):
        return None
    if is_replayed:
        receipt.failures = 0
    if is_orphan:
        receipt.failures += 1
        if receipt.failures >= TRIES:
            _fail(receipt, f"its worker died {receipt.failures} times")
            return None
    receipt.state, receipt.due_at, receipt.attempts = State.PROCESSING, now + LEASE, receipt.attempts + 1
    receipt.save(update_fields=["state", "due_at", "attempts", "failures"])
    return receipt


def _finish(receipt: WebhookReceipt, state: WebhookReceipt.State) -> None:
    _mine(receipt).update(state=state, finished_at=timezone.now(), last_error="")
    metrics.processed.labels(outcome=state).inc()


def _put_back(receipt: WebhookReceipt, error: Exception) -> None:
    """Something is down: again in about half a minute, as often as it takes."""
    wait_seconds = equal_jitter_seconds(1, base_seconds=30, cap_seconds=30)
    _mine(receipt).update(
        state=State.RECEIVED,
        due_at=timezone.now() + timedelta(seconds=wait_seconds),
        last_error=storable_text(repr(error)),
    )
    metrics.processed.labels(outcome="put_back").inc()
    log.warning("webhook_put_back", receipt=str(receipt.pk), error=repr(error))


@transaction.atomic
def _count_failure(receipt: WebhookReceipt, error: Exception) -> None:
    receipt.failures += 1
    reason = storable_text(f"{type(error).__name__}: {error}")
    log.warning("webhook_failed", receipt=str(receipt.pk), failures=receipt.failures, exc_info=error)
    metrics.processed.labels(outcome="failed").inc()
    if receipt.failures >= TRIES:
        _fail(receipt, reason)
        return
    wait_seconds = equal_jitter_seconds(receipt.failures, base_seconds=10, cap_seconds=120)
    _mine(receipt).update(
        state=State.RECEIVED,
        failures=receipt.failures,
        last_error=reason,
        due_at=timezone.now() + timedelta(seconds=wait_seconds),
    )


def _fail(receipt: WebhookReceipt, reason: str) -> None:
    """Mark it failed, and bury the message that would process it once more; both or neither."""
    if not _mine(receipt).update(
        state=State.FAILED, failures=receipt.failures, last_error=reason, finished_at=timezone.now()
    ):
        return
    headers = {"lang": "py", "task": PROCESS_TASK, "id": str(uuid.uuid4()), "x-event-id": receipt.event_id}
    dead_letters.bury(
        PROCESS_TASK,
        dead_letters.task_body(str(receipt.pk), is_replay=True),
        headers,
        f"{receipt.type} {receipt.event_id}: {reason}",
        dedupe_key=f"receipt {receipt.pk} {receipt.attempts}",
    )


def _mine(receipt: WebhookReceipt) -> QuerySet[WebhookReceipt]:
    """The row, as long as it is still in the state and attempt that we hold: a lost lease changes nothing."""
    return WebhookReceipt.objects.filter(pk=receipt.pk, state=State.PROCESSING, attempts=receipt.attempts)
