"""Database reads of profiles: who is meant, and what is shown, in the brief's camelCase."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.db.models import QuerySet

from analytics.selectors import click_counts
from linklayer.errors import NotFound
from profiles.contracts import Json, is_username
from profiles.models import Profile, ProfileLink
from profiles.themes import theme_json
from shortlinks.contracts import ShortLinkRecord
from shortlinks.selectors import short_links_by_id


@dataclass(frozen=True, slots=True)
class SyncAge:
    """How old a snapshot is. is_waiting: a refresh failed and the next try is not due yet."""

    is_mirrored: bool
    is_public: bool
    age_seconds: float
    is_outdated: bool
    is_waiting: bool


def find_profile_id(ref: str) -> int | None:
    """Return the row that is meant by a username in any case, else by Linktree's id, else by our own; None if none."""
    if not is_username(ref):
        return None
    for lookup in ({"username__iexact": ref}, {"upstream_id": ref}, _own_id(ref)):
        found = Profile.objects.filter(**lookup).values_list("pk", flat=True).first() if lookup else None
        if found is not None:
            return found
    return None


def profile_id_of(ref: str) -> int:
    """Return the row that is meant. Raises NotFound."""
    found = find_profile_id(ref)
    if found is None:
        raise NotFound("There is no such profile.")
    return found


def public_id_of(profile_id: int) -> str:
    """Return the id that the API shows for a row that exists."""
    return Profile.objects.get(pk=profile_id).public_id


def find_mirrored_id(*, upstream_id: str, username: str) -> int | None:
    """Return the mirrored profile that an event of Linktree's names: by its id, else by its username."""
    mirrored = Profile.objects.filter(source=Profile.Source.LINKTREE)
    named = {"upstream_id": upstream_id} if upstream_id else {"username__iexact": username}
    return mirrored.filter(**named).values_list("pk", flat=True).first()


def sync_age(profile_id: int, *, now: datetime) -> SyncAge | None:
    """Return whether and how a profile is due, None if it does not exist. An own profile is always up to date."""
    profile = Profile.objects.filter(pk=profile_id).first()
    if profile is None:
        return None
    age = (now - profile.last_synced_at).total_seconds() if profile.last_synced_at else float("inf")
    waits = profile.sync_failures > 0 and profile.next_refresh_at is not None and profile.next_refresh_at > now
    return SyncAge(
        is_mirrored=profile.is_mirrored,
        is_public=profile.is_published,
        age_seconds=max(0.0, age) if profile.is_mirrored else 0.0,
        is_outdated=profile.outdated_at is not None,
        is_waiting=waits,
    )


def public_profile(profile_id: int) -> Json | None:
    """Return the brief's Profile as visitors see it: shown links only; None if visitors must not see it."""
    profile = Profile.objects.filter(pk=profile_id, is_published=True, gone_at__isnull=True).first()
    if profile is None:
        return None
    # What has no short link was refused by our policy or is a header: its URL, if any, is nobody's to follow.
    links = [{**link, "url": link["url"] if link["shortUrl"] else ""} for link in _links_json(profile)]
    return {**_profile_json(profile), "links": [link for link in links if link["enabled"]]}


def full_profile(profile_id: int) -> Json:
    """Return everything for a key with `profile:read`: also disabled links and the state of the mirror.

    Raises NotFound.
    """
    profile = Profile.objects.filter(pk=profile_id).first()
    if profile is None:
        raise NotFound("There is no such profile.")
    return {
        **_profile_json(profile),
        "links": _links_json(profile, with_reasons=True),
        "isPublished": profile.is_published,
        "source": profile.source,
        "sync": {
            "outdatedAt": iso(profile.outdated_at),
            "nextRefreshAt": iso(profile.next_refresh_at),
            "goneAt": iso(profile.gone_at),
            "failures": profile.sync_failures,
            "error": profile.sync_error,
        },
    }


def visible_profiles() -> QuerySet[Profile]:
    """Return what visitors can see."""
    return Profile.objects.filter(is_published=True, gone_at__isnull=True)


def iso(moment: datetime | None) -> str | None:
    """Return a moment as ISO-8601 UTC with milliseconds and `Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _own_id(ref: str) -> dict[str, int]:
    is_number = ref.isascii() and ref.isdigit() and len(ref) <= 18
    return {"pk": int(ref)} if is_number else {}


def _profile_json(profile: Profile) -> Json:
    return {
        "id": profile.public_id,
        "username": profile.username,
        "displayName": profile.display_name,
        "bio": profile.bio,
        "avatarUrl": profile.avatar_url,
        "theme": theme_json(profile.theme),
        "lastModified": iso(profile.modified_at),
        "lastSyncedAt": iso(profile.last_synced_at),
    }


def _links_json(profile: Profile, *, with_reasons: bool = False) -> list[Json]:
    """Return the links that the profile has now, in their order; three queries however many there are."""
    links = [link for link in profile.links.all() if link.gone_at is None]
    ids = [link.short_link_id for link in links if link.short_link_id is not None]
    records, clicks = short_links_by_id(ids), click_counts(ids)
    shown: list[Json] = []
    for link in links:
        record = records.get(link.short_link_id or 0)
        document = _link_json(link, record, clicks.get(link.short_link_id or 0, 0))
        shown.append({**document, "refusalReason": link.refusal_reason} if with_reasons else document)
    return shown


def _link_json(link: ProfileLink, record: ShortLinkRecord | None, clicks: int) -> Json:
    """A link is enabled for visitors only if its short link redirects too."""
    redirects = record is not None and record.is_active
    return {
        "id": link.public_id,
        "title": link.title,
        "url": link.url,
        "position": link.position,
        "clickCount": link.upstream_click_count + clicks,
        "enabled": link.is_shown and (redirects or link.short_link_id is None),
        "type": link.type,
        "shortUrl": f"{settings.PUBLIC_URL}/{record.slug}" if record is not None else None,
    }
