"""Reads of short links for the API, the admin and other apps. The public redirect reads through resolver.py."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q

from linklayer.errors import NotFound
from shortlinks.contracts import ShortLinkRecord
from shortlinks.models import ShortLink


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. next_before_id: pass it as before_id for the page that follows; None on the last one."""

    short_links: list[ShortLinkRecord]
    next_before_id: int | None


def short_link_by_slug(slug: str) -> ShortLinkRecord:
    """Return the short link, also a disabled or retired one. Raises NotFound; case matters."""
    short_link = ShortLink.objects.filter(slug=slug).first()
    if short_link is None:
        raise NotFound("There is no such short link.")
    return record_of(short_link)


def short_links_by_id(ids: Iterable[int]) -> dict[int, ShortLinkRecord]:
    """Return those that exist, by id, in one query."""
    return {short_link.pk: record_of(short_link) for short_link in ShortLink.objects.filter(pk__in=list(ids))}


def list_short_links(*, search: str = "", before_id: int | None = None, limit: int = 50) -> Page:
    """Return a page ordered by id, newest first, without retired ones.

    search: a part of the slug or of the destination, in any case.
    """
    found = ShortLink.objects.filter(retired_at__isnull=True)
    if search:
        found = found.filter(Q(slug__icontains=search) | Q(destination__icontains=search))
    if before_id is not None:
        found = found.filter(pk__lt=before_id)
    rows = list(found.order_by("-pk")[: limit + 1])
    shown = rows[:limit]
    return Page([record_of(row) for row in shown], shown[-1].pk if len(rows) > limit else None)


def record_of(short_link: ShortLink) -> ShortLinkRecord:
    return ShortLinkRecord(
        id=short_link.pk,
        slug=short_link.slug,
        destination=short_link.destination,
        status_code=short_link.status_code,
        is_active=short_link.is_active,
        is_anonymous=short_link.is_anonymous,
        profile_id=short_link.profile_id,
        expires_at=short_link.expires_at,
        retired_at=short_link.retired_at,
        version=short_link.version,
        created_at=short_link.created_at,
        updated_at=short_link.updated_at,
    )
