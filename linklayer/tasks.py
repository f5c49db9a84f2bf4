"""The tasks of the base; all of them ticks, asked for again by beat."""

from contextlib import suppress

from celery import shared_task

from linklayer import forgetting, outbox
from linklayer.tier2 import CacheDown


@shared_task(name="linklayer.dispatch_outbox")
def dispatch_outbox() -> None:
    outbox.dispatch_outbox()


@shared_task(name="linklayer.sweep_announcements")
def sweep_announcements() -> None:
    outbox.sweep_announcements()


@shared_task(name="linklayer.apply_pending_forgets")
def apply_pending_forgets() -> None:
    with suppress(CacheDown):  # counted by the cache itself; the next tick asks again
        forgetting.apply_pending_forgets()
