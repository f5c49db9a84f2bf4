"""From the stored receipt to its effect: once each, three tries, outages not counted."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from linklayer.models import DeadLetter
from tests.webhooks import recording
from tests.webhooks.sender import deliver, event_body
from webhooks import services
from webhooks.models import WebhookReceipt

pytestmark = pytest.mark.django_db


def receipt_of(event_type: str = "link.created") -> WebhookReceipt:
    deliver(event_body(event_type))
    return WebhookReceipt.objects.latest("received_at")


def make_due(receipt: WebhookReceipt) -> None:
    WebhookReceipt.objects.filter(pk=receipt.pk).update(due_at=timezone.now() - timedelta(seconds=1))


def test_an_event_is_processed_once_however_often_it_is_asked_for() -> None:
    receipt = receipt_of()
    for _ in range(3):
        services.process(receipt.pk)
    receipt.refresh_from_db()
    assert (receipt.state, receipt.attempts, len(recording.processed)) == ("done", 1, 1)
    assert recording.processed[0] == recording.receipts[0]


def test_a_buggy_event_is_a_dead_letter_after_three_tries() -> None:
    receipt = receipt_of("test.buggy")
    for _ in range(5):
        services.process(receipt.pk)
    receipt.refresh_from_db()
    assert (receipt.state, receipt.failures, len(recording.processed)) == ("failed", 3, 3)
    letter = DeadLetter.objects.get()
    assert letter.source == "webhooks.process_receipt"
    assert f"ValueError: cannot apply {receipt.event_id}" in letter.reason


def test_the_waits_between_tries_grow() -> None:
    receipt = receipt_of("test.buggy")
    waits = []
    for _ in range(2):
        before = timezone.now()
        services.process(receipt.pk)
        receipt.refresh_from_db()
        waits.append((receipt.due_at - before).total_seconds())
    assert 5 <= waits[0] <= 10.5
    assert 10 <= waits[1] <= 20.5


@pytest.mark.parametrize("event_type", ["test.outage", "test.endless"])
def test_an_outage_uses_up_no_try(event_type: str) -> None:
    receipt = receipt_of(event_type)
    for _ in range(5):
        services.process(receipt.pk)
    receipt.refresh_from_db()
    assert (receipt.state, receipt.failures, len(recording.processed)) == ("received", 0, 5)
    assert not DeadLetter.objects.exists()


def test_a_receipt_in_another_workers_hands_is_left_alone_until_its_lease_is_over() -> None:
    receipt = receipt_of()
    WebhookReceipt.objects.filter(pk=receipt.pk).update(state="processing")
    services.process(receipt.pk)
    assert recording.processed == []
    make_due(receipt)
    services.process(receipt.pk)
    assert len(recording.processed) == 1


def test_an_event_that_kills_its_worker_each_time_ends_as_a_dead_letter() -> None:
    receipt = receipt_of()
    WebhookReceipt.objects.filter(pk=receipt.pk).update(state="processing", failures=2, due_at=timezone.now())
    services.process(receipt.pk)
    assert "its worker died 3 times" in DeadLetter.objects.get().reason


def test_a_replayed_receipt_is_processed_once() -> None:
    receipt = receipt_of()
    WebhookReceipt.objects.filter(pk=receipt.pk).update(state="failed", failures=3)
    services.process(receipt.pk)
    assert recording.processed == []
    for _ in range(2):
        services.process(receipt.pk, is_replay=True)
    assert len(recording.processed) == 1


def test_an_operator_can_have_a_done_receipt_processed_again() -> None:
    receipt = receipt_of()
    services.process(receipt.pk)
    services.process_again(receipt.pk)
    services.process(receipt.pk)
    assert len(recording.processed) == 2


def test_what_was_done_is_pruned_after_thirty_days_and_what_failed_is_not() -> None:
    for days, state in ((29, "done"), (31, "done"), (31, "ignored"), (31, "failed"), (31, "received")):
        receipt = receipt_of()
        received_at = timezone.now() - timedelta(days=days)
        WebhookReceipt.objects.filter(pk=receipt.pk).update(state=state, received_at=received_at)
    assert (services.prune_receipts(), services.prune_receipts()) == (2, 0)
    assert sorted(WebhookReceipt.objects.values_list("state", flat=True)) == ["done", "failed", "received"]


def test_a_receipt_that_is_not_there_is_left_alone() -> None:
    services.process(uuid.uuid4())
    assert recording.processed == []


@pytest.mark.django_db(transaction=True)
def test_fifty_copies_at_once_are_one_row_and_one_effect() -> None:
    body = event_body()

    def send(_: int) -> str:
        try:
            return str(next(iter(deliver(body, delivery_id="dlv_fifty").json())))
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(send, range(50)))
    assert sorted(answers) == ["duplicate"] * 49 + ["received"]
    assert WebhookReceipt.objects.count() == len(recording.receipts) == 1


@pytest.mark.django_db(transaction=True)
def test_many_workers_at_once_process_an_event_once() -> None:
    receipt = receipt_of()

    def process(_: int) -> None:
        try:
            services.process(receipt.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(process, range(24)))
    assert len(recording.processed) == 1
