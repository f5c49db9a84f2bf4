"""Warming: what is most read is put into tier 2 before the visitors ask for it, at a bounded pace.

`manage.py warm_cache` does it on demand. By itself it begins when the breaker closes and when Redis has lost its data:
in a thread of one process, the one that gets the lock, never in a worker or a command. It gives up at the first fault:
visitors fill the cache too.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import structlog
from django.conf import settings
from django.db import connection
from django.db.models import Model, QuerySet

from linklayer import registries, tier2
from linklayer.cache import LOADER_FAILED, CachedReads, Loaded
from linklayer.database.base import answers_within
from linklayer.tier1 import tier1
from linklayer.tier2 import CacheDown

logger = structlog.get_logger(__name__)

M = TypeVar("M", bound=Model)

BY_ITSELF_PER_SECOND = 50
BATCHES_PER_SECOND = 5
AT_ONCE = 500
LOCK_NAME = "warm-up"
LOCK_SECONDS = 60.0  # never given back early: at most one warm-up a minute, however many processes see a reason
WARMS_SECONDS = 50.0  # and none outlives its lock
QUERY_SECONDS = 5.0


class WarmEntry(NamedTuple):
    """A value that was loaded to be put into tier 2."""

    reads: CachedReads
    key: str
    loaded: Loaded


Thing = list[WarmEntry]  # the entries that a visitor of one thing needs


@dataclass(frozen=True, slots=True)
class Warmer:
    """What an app offers to have its cache filled (settings.CACHE_WARMERS).

    name: plural noun, also the option's name. batches: how many at once -> lists of so many things, most read first,
    each read from the database when it is asked for. count: how many things there are. hottest: how many of them are
    warmed where nobody says how many.
    """

    name: str
    batches: Callable[[int], Iterator[list[Thing]]]
    count: Callable[[], int]
    hottest: int


def warmed(warmer: Warmer, limit: int, *, per_second: int) -> Iterator[int]:
    """Put the most read things into tier 2; yields after each batch how many it was.

    However slow the database is, it rests at least as long as it works: visitors come first. A value read while Redis
    lost its data is not kept. Raises CacheDown and database errors.
    """
    at_once = max(1, min(limit, AT_ONCE, per_second // BATCHES_PER_SECOND))
    batches, left = warmer.batches(at_once), limit
    while left > 0:
        started_at, started, epoch = time.time(), time.monotonic(), tier2.epoch()
        batch = next(batches, None)
        if batch is None:
            return
        entries = [entry for thing in batch[:left] for entry in thing]
        tier2.store_many(
            [
                (reads.full_key(key), reads.envelope(loaded, started_at, 0.0), reads.lifetime.hard_seconds)
                for reads, key, loaded in entries
            ],
            epoch=epoch,
        )
        done = min(len(batch), left)
        left -= done
        yield done
        busy_seconds = time.monotonic() - started
        time.sleep(max(busy_seconds, done / per_second - busy_seconds))


def most_read_first(rows: QuerySet[M], busiest: list[int], at_once: int) -> Iterator[list[M]]:
    """Yield rows in lists of at most `at_once`: those with the `busiest` primary keys in their order, then the newest.

    One query for each list, none that stays open: so there may be millions of rows, and all the time in the world.
    """
    for start in range(0, len(busiest), at_once):
        found = rows.in_bulk(busiest[start : start + at_once])
        yield [found[pk] for pk in busiest[start : start + at_once] if pk in found]
    first, newest = set(busiest), rows.order_by("-pk")
    page = list(newest[:at_once])
    while page:
        yield [row for row in page if row.pk not in first]
        page = list(newest.filter(pk__lt=page[-1].pk)[:at_once])


def begin() -> None:
    """Warm the hottest in a thread, if this process serves visitors and no other has begun to; returns at once."""
    if tier1.is_started:
        threading.Thread(target=_warm_hottest, name="cache-warmer", daemon=True).start()


def _warm_hottest() -> None:
    done = 0
    try:
        lock = tier2.lock(LOCK_NAME, LOCK_SECONDS)
        if lock is None:
            return
        logger.info("cache_warm_up_begins")
        with answers_within(QUERY_SECONDS):
            for count in _hottest(lock.epoch, ends_at=time.monotonic() + WARMS_SECONDS):
                done += count
        logger.info("cache_warmed", things=done)
    except (CacheDown, *LOADER_FAILED) as error:
        logger.warning("cache_warm_up_given_up", things=done, error=type(error).__name__)
    except Exception:
        logger.exception("cache_warm_up_crashed", things=done)
    finally:
        connection.close()


def _hottest(epoch: str, *, ends_at: float) -> Iterator[int]:
    """Warm until all is done, the time is up, or Redis has lost its data again: then another has begun."""
    for warmer in registries.load(settings.CACHE_WARMERS):
        for count in warmed(warmer, warmer.hottest, per_second=BY_ITSELF_PER_SECOND):
            yield count
            if time.monotonic() >= ends_at or tier2.epoch() != epoch:
                return
