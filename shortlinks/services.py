"""Every write of a short link: one transaction with its new version, its forget and its event; nothing else writes.

On commit the cache forgets the link itself and the key in also_forget. Nobody waits for the network inside.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from linklayer.errors import Conflict, Ended, InvalidInput, NotFound, Unavailable
from linklayer.forgetting import forget_after_commit
from linklayer.outbox import publish_event
from shortlinks import resolver
from shortlinks.contracts import ShortLinkRecord
from shortlinks.destinations import POLICY_VERSION, InvalidDestination, canonical_destination
from shortlinks.models import IdempotentCreation, ShortLink
from shortlinks.selectors import record_of
from shortlinks.slugs import check_slug, random_slug

__all__ = [
    "KEEP",
    "InvalidDestination",
    "canonical_destination",
    "change_short_link",
    "create_short_link",
    "create_short_link_once",
    "disable_short_link",
    "enable_short_link",
    "lock_short_links",
    "prune_idempotent_creations",
    "retire_short_link",
]

IDEMPOTENCY_LIFETIME = timedelta(hours=24)
# Without regard to case there are 33**7 = 4e10 random slugs: with a billion links one draw in forty is taken, and eight
# in a row mean that something else is wrong.
_RANDOM_TRIES = 8
_SLUG_CONSTRAINTS = frozenset({"short_link_slug", "short_link_slug_any_case"})


class Keep(Enum):
    """Stands for "leave it as it is" where None is a value."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


def create_short_link(
    *,
    url: str,
    slug: str | None = None,
    status_code: int = 302,
    expires_at: datetime | None = None,
    is_anonymous: bool = False,
    profile_id: int | None = None,
    also_forget: str = "",
) -> ShortLinkRecord:
    """Make a short link and publish link.created.

    slug: None for a random one. status_code: 301, 302, 307 or 308. expires_at: aware, in the future.
    profile_id, also_forget: the caller's own id, and the cache key of what shows this link.
    Raises InvalidInput naming every wrong field, Conflict if the slug is or was taken, in whatever case.
    """
    destination = _check_input(url=url, slug=slug, status_code=status_code, expires_at=expires_at)
    with transaction.atomic():
        short_link = _insert(
            slug,
            destination=destination,
            status_code=status_code,
            expires_at=expires_at,
            is_anonymous=is_anonymous,
            profile_id=profile_id,
            also_forget=also_forget,
        )
        return _settle(short_link, "link.created")


def create_short_link_once(*, key: str, request_digest: str, create: Callable[[], ShortLinkRecord]) -> ShortLinkRecord:
    """Run create at most once per key in 24 hours; a repeat, also a concurrent one, gets the first one's record.

    key: the caller's identity and Idempotency-Key. request_digest: SHA-256 of the request, 64 hexadecimal digits.
    Raises Conflict if the key came with another request before.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()
    with transaction.atomic():
        _queue_up(digest)
        earlier = IdempotentCreation.objects.filter(pk=digest, created_at__gt=Now() - IDEMPOTENCY_LIFETIME).first()
        if earlier is None:
            record = create()
            IdempotentCreation.objects.filter(pk=digest).delete()
            IdempotentCreation.objects.create(pk=digest, request_digest=request_digest, record=record.to_json())
            return record
    if earlier.request_digest != request_digest:
        raise Conflict("This Idempotency-Key was used with another request in the last 24 hours.")
    return ShortLinkRecord.from_json(earlier.record)


def prune_idempotent_creations() -> int:
    """Delete what is older than 24 hours and return how many; harmless to repeat."""
    deleted, _ = IdempotentCreation.objects.filter(created_at__lte=Now() - IDEMPOTENCY_LIFETIME).delete()
    return deleted


def change_short_link(
    link_id: int,
    *,
    url: str | None = None,
    status_code: int | None = None,
    is_active: bool | None = None,
    expires_at: datetime | Keep | None = KEEP,
) -> ShortLinkRecord:
    """Change what is given, keep the rest, and publish link.updated; nothing happens if nothing differs.

    expires_at: None lets it live for ever. Concurrent changes come one after the other.
    Raises InvalidInput, NotFound, or Ended for a retired link.
    """
    moment = expires_at if isinstance(expires_at, datetime) else None
    destination = _check_input(url=url, slug=None, status_code=status_code, expires_at=moment)
    wanted: dict[str, Any] = {"destination": destination, "status_code": status_code, "is_active": is_active}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if not isinstance(expires_at, Keep):
        wanted["expires_at"] = expires_at
    with transaction.atomic():
        short_link = _locked(link_id)
        if short_link.retired_at is not None:
            raise Ended("This short link is retired: it stays as it is.")
        changes = {name: value for name, value in wanted.items() if getattr(short_link, name) != value}
        return _update(short_link, changes) if changes else record_of(short_link)


def disable_short_link(link_id: int) -> ShortLinkRecord:
    """Stop redirecting (410); the slug stays taken. Raises NotFound, or Ended for a retired link."""
    return change_short_link(link_id, is_active=False)


def enable_short_link(link_id: int) -> ShortLinkRecord:
    """Redirect again. Raises NotFound, or Ended for a retired link."""
    return change_short_link(link_id, is_active=True)


def retire_short_link(link_id: int) -> ShortLinkRecord:
    """End a short link for good (410); its slug is never given again. Retiring twice is retiring once.

    Raises NotFound.
    """
    with transaction.atomic():
        short_link = _locked(link_id)
        if short_link.retired_at is not None:
            return record_of(short_link)
        return _update(short_link, {"is_active": False, "retired_at": Now()})


def lock_short_links(link_ids: Sequence[int]) -> None:
    """Let nobody else change these short links until the transaction ends; taken in the order of ids.

    For a caller that changes several and holds something that an edit of one waits for.
    """
    list(ShortLink.objects.select_for_update().filter(pk__in=link_ids).order_by("pk").values_list("pk", flat=True))


def _check_input(
    *, url: str | None, slug: str | None, status_code: int | None, expires_at: datetime | None
) -> str | None:
    """Return the canonical destination of url. Raises InvalidInput with the problems of all fields."""
    problems: dict[str, list[str]] = {}
    destination = None
    try:
        destination = canonical_destination(url) if url is not None else None
    except InvalidDestination as error:
        problems.update(error.errors)
    try:
        if slug is not None:
            check_slug(slug)
    except InvalidInput as error:
        problems.update(error.errors)
    if status_code is not None and status_code not in ShortLink.Status.values:
        problems["statusCode"] = ["A short link answers 301, 302, 307 or 308."]
    if expires_at is not None and expires_at <= datetime.now(UTC):
        problems["expiresAt"] = ["The moment must lie in the future."]
    if problems:
        raise InvalidInput(problems)
    return destination


def _insert(slug: str | None, **columns: Any) -> ShortLink:
    for _ in range(_RANDOM_TRIES if slug is None else 1):
        short_link = ShortLink(slug=slug or random_slug(), policy_version=POLICY_VERSION, **columns)
        if _inserted(short_link):
            return short_link
    if slug is None:
        raise Unavailable("No free slug was found.")
    raise Conflict(f'The slug "{slug}" is taken.', errors={"slug": ["This slug is taken."]})


def _inserted(short_link: ShortLink) -> bool:
    """Return False if the slug is taken; the constraint decides, so that a race has one winner."""
    try:
        with transaction.atomic():
            short_link.save(force_insert=True)
    except IntegrityError as error:
        if _violated_constraint(error) in _SLUG_CONSTRAINTS:
            return False
        raise
    return True


def _violated_constraint(error: IntegrityError) -> str:
    diagnosis = getattr(error.__cause__, "diag", None)
    return getattr(diagnosis, "constraint_name", None) or ""


def _locked(link_id: int) -> ShortLink:
    short_link = ShortLink.objects.select_for_update().filter(pk=link_id).first()
    if short_link is None:
        raise NotFound("There is no such short link.")
    return short_link


def _update(short_link: ShortLink, changes: dict[str, Any]) -> ShortLinkRecord:
    if "destination" in changes:
        changes = {**changes, "policy_version": POLICY_VERSION}
    ShortLink.objects.filter(pk=short_link.pk).update(**changes, version=F("version") + 1, updated_at=Now())
    short_link.refresh_from_db()
    return _settle(short_link, "link.updated")


def _settle(short_link: ShortLink, event: str) -> ShortLinkRecord:
    """Within the transaction of the edit: order what must be forgotten and told once it is committed."""
    forget_after_commit(resolver.redirect_reads.full_key(short_link.slug), short_link.version)
    if short_link.also_forget:
        forget_after_commit(short_link.also_forget)
    publish_event(
        event,
        {
            "id": short_link.pk,
            "slug": short_link.slug,
            "url": short_link.destination,
            "isActive": short_link.is_active,
            "profileId": short_link.profile_id,
            "version": short_link.version,
        },
    )
    return record_of(short_link)


def _queue_up(digest: str) -> None:
    """Let the requests with one key through one by one, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(bytes.fromhex(digest)[:8], signed=True)])
