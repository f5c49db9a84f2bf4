"""The tasks of webhooks."""

import uuid

from celery import shared_task

from webhooks import services


@shared_task(name="webhooks.process_receipt")
def process_receipt(receipt_id: str, is_replay: bool = False) -> None:
    services.process(uuid.UUID(receipt_id), is_replay=is_replay)


@shared_task(name="webhooks.requeue_due")
def requeue_due() -> None:
    services.requeue_due()


@shared_task(name="webhooks.prune_receipts")
def prune_receipts() -> None:
    services.prune_receipts()
