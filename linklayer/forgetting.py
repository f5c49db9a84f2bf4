"""Forgetting: an edit outdates what is cached of it, in every process, also when the cache cannot be told at once.

Each edit writes a PendingForget row in its transaction; the row goes once Redis has confirmed. What is left is applied
by the breaker before it closes, and by a task every five seconds.
"""

from functools import partial

import structlog
from django.db import connection, transaction

from linklayer import tier2
from linklayer.models import CacheKeyVersion, PendingForget
from linklayer.tier1 import tier1
from linklayer.tier2 import CacheDown

logger = structlog.get_logger(__name__)

PENDING_FORGETS_AT_ONCE = 1000


def current_version(full_key: str) -> int:
    """Return the version of a value that shows several rows. Read it before the rows: then it is never too high."""
    held = CacheKeyVersion.objects.filter(key=full_key).values_list("version", flat=True).first()
    return held or 0


def forget_after_commit(full_key: str, version: int | None = None, *, keep_stale: bool = False) -> None:
    """Outdate a cached value with the running transaction: all processes drop it once the edit is committed.

    version: the row's new version; None for a value that shows several rows: its own version is then raised here.
    keep_stale: keep the old value to be served if its source fails. If the cache cannot be told now, the pending row
    tells it later. Raises TransactionManagementError outside of a transaction.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("forget_after_commit() belongs into the transaction of the edit")
    if version is None:
        version = _raised_version(full_key)
    pending = PendingForget.objects.create(key=full_key, version=version, keep_stale=keep_stale)
    transaction.on_commit(partial(_apply, pending), robust=True)


def forget_now(full_key: str, *, keep_stale: bool = False) -> dict[str, bool]:
    """Drop a value of several rows on an operator's word.

    Returns which tiers held it: {"tier1": bool, "tier2": bool}; tier 1 is that of this process.
    """
    with transaction.atomic():
        version = _raised_version(full_key)
        pending = PendingForget.objects.create(key=full_key, version=version, keep_stale=keep_stale)
    tier1_held = tier1.drop(full_key)
    return {"tier1": tier1_held, "tier2": _apply(pending)}


def apply_pending_forgets() -> int:
    """Tell the cache what it missed while it was away; returns how many entries that was. Raises CacheDown."""
    applied = 0
    while rows := list(PendingForget.objects.order_by("id")[:PENDING_FORGETS_AT_ONCE]):
        for row in rows:
            tier2.forget(row.key, row.version, keep_stale=row.keep_stale)
        _remove(rows)
        applied += len(rows)
    return applied


def _apply(pending: PendingForget) -> bool:
    tier1.drop(pending.key)
    try:
        was_held = tier2.forget(pending.key, pending.version, keep_stale=pending.keep_stale)
    except CacheDown:
        logger.warning("cache_forget_pending", key=pending.key)
        return False
    _remove([pending])
    return was_held


def _remove(told: list[PendingForget]) -> None:
    """Every edit ends here: QuerySet.delete() would take three times the CPU time, and a transaction of its own."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM linklayer_pendingforget WHERE id = ANY(%s)", [[pending.pk for pending in told]])


def _raised_version(full_key: str) -> int:
    """Raise and return the version; the row lock lasts to the commit, so versions and commits have one order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO linklayer_cachekeyversion (key, version) VALUES (%s, 1)"
            " ON CONFLICT (key) DO UPDATE SET version = linklayer_cachekeyversion.version + 1 RETURNING version",
            [full_key],
        )
        (version,) = cursor.fetchone()
    return int(version)
