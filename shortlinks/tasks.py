"""What the schedule asks of short links."""

from celery import shared_task

from shortlinks import services


@shared_task(name="shortlinks.prune_idempotent_creations")
def prune_idempotent_creations() -> None:
    services.prune_idempotent_creations()
