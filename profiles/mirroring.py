"""Keeping mirrored profiles true: first sight, refresh, and what is noted when Linktree does not answer.

The network is never inside a transaction; an older answer never overwrites a newer one.
"""

import math
from datetime import datetime, timedelta

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from linklayer import outbox, queues
from linklayer.backoff import equal_jitter_seconds
from linklayer.errors import NotFound, Unavailable
from profiles.forgetting import forget_profile, forget_usernames
from profiles.linktree import LinktreeProfile
from profiles.linktree.configured import FIRST_SIGHT, first_sight_quota, is_configured, linktree
from profiles.linktree.errors import LinktreeError, LinktreeNotFound, LinktreeUnavailable
from profiles.locking import locked_profile
from profiles.models import Profile
from profiles.sync import apply_snapshot

log = structlog.get_logger(__name__)

REFRESH_EVERY = timedelta(seconds=240)
GONE_REFRESH_EVERY = timedelta(hours=1)
CLAIMED_FOR = timedelta(seconds=60)
RETRY_BASE_SECONDS = 2.0
RETRY_CAP_SECONDS = 10.0  # a failing profile is tried about every 8 s, however many readers ask
READER_BUDGET_SECONDS = 1.8
TASK_BUDGET_SECONDS = 40.0  # less than the 45 s of a task's soft limit: a failure must still be noted
REFRESHES_AT_ONCE = 8  # every 10 s: within the 50 profile calls a minute that our quota allows


def mirror_profile(username: str) -> int | None:
    """Fetch a profile that we have never seen and keep it; return its id, None if Linktree has none.

    Raises Unavailable if Linktree gives no answer. Concurrent first sights make one row.
    """
    if not is_configured():
        return None
    if first_sight_quota().take(FIRST_SIGHT, wait_at_most_seconds=0) < 0:
        wait_seconds = math.ceil(first_sight_quota().wait_seconds(FIRST_SIGHT))
        raise Unavailable("Too many unknown profiles are asked for", retry_after_seconds=max(1, wait_seconds))
    asked_at = timezone.now()
    try:
        snapshot = linktree().get_profile(username, budget_seconds=READER_BUDGET_SECONDS, max_attempts=1)
    except LinktreeNotFound:
        return None
    except LinktreeError as error:
        log.warning("first_sight_failed", error=type(error).__name__, code=error.code)
        raise Unavailable(
            "Linktree cannot be asked for this profile now", retry_after_seconds=error.retry_after_seconds or 30
        ) from error
    if username.lower() not in {snapshot.username.lower(), snapshot.id.lower()}:
        return None
    try:
        with transaction.atomic():
            profile = _locked_mirror(snapshot)
            _store(profile, snapshot, asked_at=asked_at)
    except IntegrityError:
        log.info("first_sight_raced", error="another process was first, or the username is taken here")
        return Profile.objects.filter(upstream_id=snapshot.id).values_list("pk", flat=True).first()
    return profile.pk


def refresh_profile(
    profile_id: int, *, budget_seconds: float = TASK_BUDGET_SECONDS, max_attempts: int | None = None
) -> bool:
    """Ask Linktree for a mirrored profile and store what it says; return whether it gave an answer.

    A 404 is an answer: the profile is then gone. Any failure is noted and tried again later, with a growing wait.
    An older answer never overwrites a newer one. Raises NotFound for what is no mirrored profile.
    """
    upstream_id = _mirrored(profile_id).upstream_id or ""
    asked_at = timezone.now()
    try:
        snapshot = linktree().get_profile(upstream_id, budget_seconds=budget_seconds, max_attempts=max_attempts)
    except LinktreeNotFound:
        _note_gone(profile_id, asked_at)
        return True
    except LinktreeError as error:
        _note_failure(profile_id, error)
        return False
    with transaction.atomic():
        _store(locked_profile(profile_id), snapshot, asked_at=asked_at)
    return True


def refresh_for_reader(profile_id: int) -> bool:
    """Refresh while a visitor waits: one attempt, within 1.8 s; return whether Linktree gave an answer."""
    return refresh_profile(profile_id, budget_seconds=READER_BUDGET_SECONDS, max_attempts=1)


def refresh_queued(profile_id: int) -> None:
    """Refresh for a queued message; a profile that is no longer there is no error."""
    try:
        refresh_profile(profile_id)
    except NotFound:
        log.info("refresh_without_profile", profile_id=profile_id)


def refresh_if_outdated(profile_id: int) -> None:
    """Refresh a profile that an event outdated, unless that has been done since.

    One attempt within 1.8 s, so that a slow Linktree holds up no other event: what fails is due again in seconds.
    """
    if Profile.objects.filter(pk=profile_id, outdated_at__isnull=False).exists():
        refresh_for_reader(profile_id)


def refresh_due(limit: int = REFRESHES_AT_ONCE) -> int:
    """Queue a refresh of each profile whose time has come; return how many. Several may run at once."""
    now = timezone.now()
    due = Profile.objects.filter(source=Profile.Source.LINKTREE, next_refresh_at__lte=now)
    with transaction.atomic():
        claimed = list(
            due.select_for_update(skip_locked=True).order_by("next_refresh_at").values_list("pk", flat=True)[:limit]
        )
        Profile.objects.filter(pk__in=claimed).update(next_refresh_at=now + CLAIMED_FOR)
    for profile_id in claimed:
        queues.send("profiles.refresh_profile", profile_id)
    return len(claimed)


def mark_outdated(profile_id: int) -> None:
    """Note that the snapshot of a mirrored profile is no longer true: the next read asks Linktree again.

    The old value is kept, to be served as stale if Linktree does not answer. Call it inside a transaction.
    """
    now = timezone.now()
    Profile.objects.filter(pk=profile_id).update(outdated_at=now, next_refresh_at=now)
    forget_profile(profile_id, keep_stale=True)


def _locked_mirror(snapshot: LinktreeProfile) -> Profile:
    profile_id = Profile.objects.filter(upstream_id=snapshot.id).values_list("pk", flat=True).first()
    if profile_id is not None:
        return locked_profile(profile_id)
    return Profile.objects.create(source=Profile.Source.LINKTREE, upstream_id=snapshot.id, username=snapshot.username)


def _store(profile: Profile, snapshot: LinktreeProfile, *, asked_at: datetime) -> None:
    """Apply a snapshot to a locked profile, unless it has a newer one; forget and tell what changed."""
    if profile.last_synced_at is not None and profile.last_synced_at >= asked_at:
        return
    old_username = profile.username
    is_new = profile.last_synced_at is None
    wait_seconds = equal_jitter_seconds(1, base_seconds=20, cap_seconds=20)
    _note_answer(profile, asked_at, again_after=REFRESH_EVERY - timedelta(seconds=wait_seconds))
    if not apply_snapshot(profile, snapshot, asked_at=asked_at) and not is_new:
        return
    forget_usernames(old_username, profile.username)
    forget_profile(profile.pk, keep_stale=True)
    outbox.publish_event("profile.updated", {"profileId": profile.public_id, "username": profile.username})


def _note_answer(profile: Profile, asked_at: datetime, *, again_after: timedelta) -> None:
    """An answer settles what was known when we asked: what became outdated since stays due. The caller saves."""
    profile.last_synced_at = asked_at
    if profile.outdated_at is not None and profile.outdated_at <= asked_at:
        profile.outdated_at = None
    profile.next_refresh_at = profile.outdated_at or asked_at + again_after
    profile.sync_failures, profile.sync_error = 0, ""


def _note_gone(profile_id: int, asked_at: datetime) -> None:
    """Keep the row and its history; visitors get 404 until Linktree has the profile again."""
    with transaction.atomic():
        profile = Profile.objects.select_for_update().get(pk=profile_id)
        if profile.last_synced_at is not None and profile.last_synced_at >= asked_at:
            return
        was_shown = profile.gone_at is None
        profile.gone_at = profile.gone_at or asked_at
        _note_answer(profile, asked_at, again_after=GONE_REFRESH_EVERY)
        profile.save()
        if was_shown:
            forget_profile(profile_id, keep_stale=False)


def _note_failure(profile_id: int, error: LinktreeError) -> None:
    profile = _mirrored(profile_id)
    failures = profile.sync_failures + 1
    wait_seconds = equal_jitter_seconds(failures, base_seconds=RETRY_BASE_SECONDS, cap_seconds=RETRY_CAP_SECONDS)
    if isinstance(error, LinktreeUnavailable) and error.http_status == 429:
        wait_seconds = max(wait_seconds, float(error.retry_after_seconds or 0))
    Profile.objects.filter(pk=profile_id).update(
        sync_failures=failures,
        sync_error=f"{type(error).__name__} {error.code}: {error.detail}"[:300],
        next_refresh_at=timezone.now() + timedelta(seconds=wait_seconds),
    )
    log.warning("profile_refresh_failed", profile_id=profile_id, error=type(error).__name__, failures=failures)


def _mirrored(profile_id: int) -> Profile:
    profile = Profile.objects.filter(pk=profile_id, source=Profile.Source.LINKTREE).first()
    if profile is None:
        raise NotFound("There is no such mirrored profile.")
    return profile
