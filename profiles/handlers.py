"""What Linktree's events mean here: "the snapshot is no longer true". Nothing in an event is applied; it is re-read.

So order, repeats and losses cannot matter: the last re-read wins (contract section 9.7).
"""

from profiles import mirroring, selectors, services
from webhooks.contracts import EventHandler, InboundEvent


def forget_profile(event: InboundEvent) -> None:
    """Mark the profile outdated, in the transaction of the receipt: the next read asks Linktree again."""
    profile_id = _profile_of(event)
    if profile_id is not None:
        mirroring.mark_outdated(profile_id)


def reread_profile(event: InboundEvent) -> None:
    """Read again, unless a reader already has."""
    profile_id = _profile_of(event)
    if profile_id is not None:
        mirroring.refresh_if_outdated(profile_id)


def _profile_of(event: InboundEvent) -> int | None:
    """Return the mirrored profile of an event: by id, else by username; None if we do not have it."""
    return selectors.find_mirrored_id(upstream_id=event.profile_id, username=event.username)


_rereading = EventHandler(on_receipt=forget_profile, process=reread_profile)

handlers: dict[str, EventHandler] = {
    "profile.updated": _rereading,
    "link.created": _rereading,
    "link.updated": _rereading,
    "link.deleted": _rereading,
}

announcement_sweepers = {services.LINKS_UPDATED: services.settle_links_updated}
