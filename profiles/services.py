"""Every write of a profile but its mirroring: changing links, editing own profiles, invalidation.

A transaction raises the version, forgets the cached values and writes the event; the network is never inside one.
"""

from collections.abc import Sequence
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from linklayer import outbox, queues
from linklayer.errors import InvalidInput, NotFound, Unavailable
from linklayer.forgetting import forget_now
from profiles.contracts import LinkChange, LinkProblem, LinkUpdate, links_cache_key, profile_cache_key
from profiles.forgetting import forget_profile, forget_usernames
from profiles.linktree.configured import linktree
from profiles.linktree.errors import LinktreeError, LinktreeUnavailable, ValidationError
from profiles.locking import locked_profile
from profiles.mirroring import mark_outdated, refresh_for_reader
from profiles.models import Profile, ProfileLink
from profiles.sync import settle_short_link
from shortlinks.services import InvalidDestination, canonical_destination

log = structlog.get_logger(__name__)

TITLE_MAX = 100
LINKS_UPDATED = "links.updated"


def update_links(profile_id: int, changes: Sequence[LinkChange]) -> LinkUpdate:
    """Change links of a profile, at Linktree for a mirrored one, and publish links.updated.

    Raises InvalidInput naming `links.<index>.<field>` if nothing could be changed, LinktreeUnavailable if Linktree did
    not answer (what it did is then found out by the next read), other LinktreeErrors if it refused the whole call.
    """
    profile = Profile.objects.filter(pk=profile_id).first()
    if profile is None:
        raise NotFound("There is no such profile.")
    if profile.is_mirrored:
        return _update_mirrored_links(profile, changes)
    return _update_own_links(profile, changes)


def _update_mirrored_links(profile: Profile, changes: Sequence[LinkChange]) -> LinkUpdate:
    """Announce, call, re-read, confirm: a crash at any point leaves an announcement that the sweeper settles."""
    _refuse_unusable_urls(changes)
    event_id = outbox.announce(LINKS_UPDATED, _links_updated(profile, len(changes)))
    try:
        result = linktree().patch_links(profile.upstream_id or "", [_upstream_change(change) for change in changes])
    except LinktreeUnavailable:
        with transaction.atomic():
            mark_outdated(profile.pk)
        raise
    except LinktreeError as error:
        outbox.abandon(event_id)
        raise _as_input_error(error) from error
    problems = [
        LinkProblem(index=item.index, id=item.id, code=item.code, message=item.message) for item in result.errors
    ]
    if not result.links:
        outbox.abandon(event_id)
        raise InvalidInput({f"links.{problem.index}": [problem.message] for problem in problems})
    with transaction.atomic():
        mark_outdated(profile.pk)
        outbox.confirm(event_id, _links_updated(profile, len(result.links)))
    refresh_for_reader(profile.pk)
    return LinkUpdate(changed=[link.id for link in result.links], problems=problems)


def settle_links_updated(event_id: int, payload: dict[str, Any]) -> bool:
    """Decide about an announced links.updated that nobody confirmed: re-read, and publish it as "look again"."""
    profile = Profile.objects.filter(upstream_id=str(payload.get("profileId"))).first()
    if profile is None:
        return False
    with transaction.atomic():
        mark_outdated(profile.pk)
    refresh_for_reader(profile.pk)
    return True


def _update_own_links(profile: Profile, changes: Sequence[LinkChange]) -> LinkUpdate:
    """All or nothing."""
    _refuse_unusable_urls(changes)
    with transaction.atomic():
        locked = locked_profile(profile.pk)
        held = {link.public_id: link for link in locked.links.all()}
        unknown = {
            f"links.{index}.id": ["There is no such link."] for index, c in enumerate(changes) if c.id not in held
        }
        if unknown:
            raise InvalidInput(unknown)
        for change in changes:
            _apply_change(held[change.id], change)
        _reorder(list(held.values()), {change.id: change.position for change in changes if change.position is not None})
        touch_own_profile(locked)
        outbox.publish_event(LINKS_UPDATED, _links_updated(locked, len(changes)))
    return LinkUpdate(changed=[change.id for change in changes])


def touch_own_profile(profile: Profile) -> None:
    """Raise the version of an own profile that was edited, and forget it. Call it inside the edit's transaction."""
    profile.version += 1
    profile.modified_at = timezone.now()
    profile.save(update_fields=["version", "modified_at", "updated_at"])
    forget_profile(profile.pk, keep_stale=False)


def _apply_change(link: ProfileLink, change: LinkChange) -> None:
    destination_changed = change.url is not None and change.url != link.url
    if change.title is not None:
        link.title = change.title
    if change.url is not None:
        link.url = change.url
    if change.enabled is not None:
        link.is_enabled = change.enabled
    settle_short_link(link, destination_changed=destination_changed)
    link.save()


def _reorder(links: list[ProfileLink], wanted: dict[str, int]) -> None:
    """Move the named links to their places (a place behind the end is the end); the others close up."""
    moved = sorted((link for link in links if link.public_id in wanted), key=lambda link: wanted[link.public_id])
    order = [link for link in sorted(links, key=lambda link: (link.position, link.pk)) if link not in moved]
    for link in moved:
        order.insert(wanted[link.public_id], link)
    for place, link in enumerate(order):
        if link.position != place:
            link.position = place
            link.save(update_fields=["position", "updated_at"])


def _refuse_unusable_urls(changes: Sequence[LinkChange]) -> None:
    """Refuse, before anything is sent, a URL that we could not redirect to. Raises InvalidInput."""
    problems: dict[str, list[str]] = {}
    for index, change in enumerate(changes):
        if change.url is None:
            continue
        try:
            canonical_destination(change.url)
        except InvalidDestination as error:
            problems[f"links.{index}.url"] = [text for texts in error.errors.values() for text in texts]
    if problems:
        raise InvalidInput(problems)


def _upstream_change(change: LinkChange) -> dict[str, Any]:
    return {
        "id": change.id,
        "title": change.title,
        "url": change.url,
        "position": change.position,
        "is_active": change.enabled,
    }


def _as_input_error(error: LinktreeError) -> Exception:
    """Return InvalidInput for what the caller can put right, else the error itself."""
    if isinstance(error, ValidationError):
        return InvalidInput(
            {f"links.{name}": texts for name, texts in error.fields.items()} or {"links": [error.detail]}
        )
    return error


def _links_updated(profile: Profile, count: int) -> dict[str, Any]:
    return {"profileId": profile.public_id, "username": profile.username, "count": count}


def save_profile(profile: Profile) -> None:
    """Store an edited profile row of the admin: new version, everything that shows it forgotten."""
    with transaction.atomic():
        held = locked_profile(profile.pk) if profile.pk else profile
        profile.version = held.version + 1
        profile.modified_at = timezone.now()
        # Never the whole row: a sync or a webhook may have written the rest of it since the form was read.
        profile.save(update_fields=_stored_fields(held) if profile.pk else None)
        forget_usernames(held.username, profile.username)
        forget_profile(profile.pk, keep_stale=False)
        outbox.publish_event("profile.updated", {"profileId": profile.public_id, "username": profile.username})


def _stored_fields(profile: Profile) -> list[str]:
    """Return what an edit in the admin may change: of a mirrored profile only whether we publish it."""
    edited = [] if profile.is_mirrored else ["username", "display_name", "bio", "avatar_url", "theme"]
    return [*edited, "is_published", "version", "modified_at", "updated_at"]


def save_own_link(link: ProfileLink) -> None:
    """Store a link of an own profile with its short link. Raises InvalidInput if its URL is refused."""
    if link.url:
        canonical_destination(link.url)
    with transaction.atomic():
        profile = locked_profile(link.profile_id)
        old_url = ProfileLink.objects.filter(pk=link.pk).values_list("url", flat=True).first()
        settle_short_link(link, destination_changed=old_url != link.url)
        link.save()
        touch_own_profile(profile)


def delete_own_link(link: ProfileLink) -> None:
    """Take a link off an own profile; its short link ends and its history stays."""
    with transaction.atomic():
        profile = locked_profile(link.profile_id)
        link.is_enabled = False
        settle_short_link(link, destination_changed=False)
        link.delete()
        touch_own_profile(profile)


def invalidate_profile(profile_id: int) -> dict[str, Any]:
    """Drop what is cached of a profile and queue its refresh; return what was dropped and whether it is queued.

    {"dropped": {"profile": {"tier1": bool, "tier2": bool}, "links": {...}}, "refreshQueued": bool}
    """
    profile = Profile.objects.get(pk=profile_id)
    if profile.is_mirrored:
        now = timezone.now()
        Profile.objects.filter(pk=profile_id).update(outdated_at=now, next_refresh_at=now)
    dropped = {
        "profile": forget_now(profile_cache_key(profile_id), keep_stale=profile.is_mirrored),
        "links": forget_now(links_cache_key(profile_id), keep_stale=profile.is_mirrored),
    }
    return {"dropped": dropped, "refreshQueued": profile.is_mirrored and queue_refresh(profile_id)}


def queue_refresh(profile_id: int) -> bool:
    """Ask a worker to refresh; return False if the broker is away (the schedule then does it)."""
    try:
        queues.send("profiles.refresh_profile", profile_id)
    except Unavailable:
        log.info("refresh_not_queued", profile_id=profile_id)
        return False
    return True
