"""A snapshot of Linktree's put into our tables: one profile, its links, and the short links behind them.

Runs inside the caller's transaction with the profile locked (locking.py). One bad link never fails a sync: it is
kept, not shown, with the reason. A link that Linktree no longer has is disabled and keeps its short link and its
history.
"""

from datetime import datetime
from typing import Any

import structlog
from django.utils import timezone

from linklayer.errors import Ended, InvalidInput
from profiles.contracts import profile_cache_key
from profiles.linktree import LinktreeLink, LinktreeProfile
from profiles.models import Profile, ProfileLink
from shortlinks import services as shortlinks

log = structlog.get_logger(__name__)

RETIRED_HERE = "The short link was retired here."
NO_DESTINATION = "The link has no URL."


def apply_snapshot(profile: Profile, snapshot: LinktreeProfile, *, asked_at: datetime) -> bool:
    """Make the profile and its links say what the snapshot says; return whether visitors see a difference.

    asked_at: when the snapshot was asked for: it is at least that new. Saves the profile, with what the caller set.
    """
    changed = _apply_profile(profile, snapshot)
    changed |= _apply_links(profile, snapshot.links)
    if profile.gone_at is not None:
        profile.gone_at = None
        changed = True
    if changed:
        profile.version += 1
        profile.modified_at = snapshot.updated_at or asked_at
    profile.save()
    return changed


def settle_short_link(link: ProfileLink, *, destination_changed: bool) -> None:
    """Give a saved link the short link that its state asks for; its refusal_reason says why it has none.

    Only a change of ours reaches the short link: what an operator disabled there stays disabled until then.
    """
    link.refusal_reason = ""
    wanted = link.is_enabled and link.gone_at is None and bool(link.url)
    if not wanted:
        _disable(link)
        if link.is_enabled and link.gone_at is None and link.type != "header":
            link.refusal_reason = NO_DESTINATION
        return
    try:
        if link.short_link_id is None:
            record = shortlinks.create_short_link(
                url=link.url, profile_id=link.profile_id, also_forget=profile_cache_key(link.profile_id)
            )
            link.short_link_id = record.id
        else:
            url = link.url if destination_changed else None
            shortlinks.change_short_link(link.short_link_id, url=url, is_active=True)
    except InvalidInput as error:
        link.refusal_reason = "; ".join(text for texts in error.errors.values() for text in texts)[:300]
        _disable(link)
    except Ended:
        link.refusal_reason = RETIRED_HERE


def _disable(link: ProfileLink) -> None:
    if link.short_link_id is None:
        return
    try:
        shortlinks.disable_short_link(link.short_link_id)
    except Ended:
        log.debug("short_link_already_retired", link_id=link.pk)


def _apply_profile(profile: Profile, snapshot: LinktreeProfile) -> bool:
    wanted: dict[str, Any] = {
        "username": _free_username(profile, snapshot.username),
        "display_name": snapshot.display_name,
        "bio": snapshot.bio,
        "avatar_url": snapshot.avatar_url,
        "theme": snapshot.theme,
    }
    return _assign(profile, wanted)


def _free_username(profile: Profile, username: str) -> str:
    """Return the new username, or the present one while another profile here has the new one."""
    is_taken = Profile.objects.filter(username__iexact=username).exclude(pk=profile.pk).exists()
    if is_taken or not username:
        log.warning("upstream_username_not_usable", profile_id=profile.pk)
        return profile.username
    return username


def _apply_links(profile: Profile, snapshot: tuple[LinktreeLink, ...]) -> bool:
    held = {link.upstream_id: link for link in profile.links.all()}
    changed = False
    counted: list[ProfileLink] = []
    in_order = sorted({link.id: link for link in snapshot}.values(), key=lambda link: link.position)
    for place, item in enumerate(in_order):
        link = held.pop(item.id, None) or ProfileLink(profile=profile, upstream_id=item.id)
        is_counted = item.click_count is not None and _assign(link, {"upstream_click_count": item.click_count})
        if _apply_link(link, item, place):
            changed = True
        elif is_counted:
            counted.append(link)
    ProfileLink.objects.bulk_update(counted, ["upstream_click_count"])
    for link in held.values():
        if link.gone_at is None:
            link.gone_at = timezone.now()
            settle_short_link(link, destination_changed=False)
            link.save()
            changed = True
    return changed


def _apply_link(link: ProfileLink, item: LinktreeLink, place: int) -> bool:
    """Bring one link up to date and save it if anything but its click count changed; return whether it did."""
    before = (link.url, link.is_enabled, link.gone_at)
    wanted: dict[str, Any] = {
        "type": item.type,
        "title": item.title,
        "url": item.url or "",
        "thumbnail_url": item.thumbnail_url,
        "position": place,
        "is_enabled": item.is_enabled,
        "gone_at": None,
    }
    is_new = link.pk is None
    if not _assign(link, wanted) and not is_new:
        return False
    if is_new or before != (link.url, link.is_enabled, link.gone_at):
        settle_short_link(link, destination_changed=before[0] != link.url)
    link.save()
    return True


def _assign(row: Profile | ProfileLink, wanted: dict[str, Any]) -> bool:
    """Set what differs; return whether anything did."""
    differing = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    for name, value in differing.items():
        setattr(row, name, value)
    return bool(differing)
