"""Work in the background, by name; each task only calls a service."""

from celery import shared_task

from profiles import mirroring


@shared_task(name="profiles.refresh_profile")
def refresh_profile(profile_id: int) -> None:
    mirroring.refresh_queued(profile_id)


@shared_task(name="profiles.refresh_due")
def refresh_due() -> None:
    mirroring.refresh_due()
