"""Entry points of the workers. SafeTask tries outages again and lets go; the shipper and beat ask again."""

from uuid import UUID

from celery import shared_task

from analytics import frames, services


@shared_task(name="analytics.ingest_clicks")
def ingest_clicks(batch_id: str, records: str, is_replay: bool = False) -> None:
    services.ingest_batch(UUID(batch_id), frames.from_text(records), is_replay=is_replay)


@shared_task(name="analytics.roll_up")
def roll_up() -> None:
    services.roll_up()


@shared_task(name="analytics.make_partitions")
def make_partitions() -> None:
    services.make_partitions()


@shared_task(name="analytics.prune")
def prune() -> None:
    services.prune()
