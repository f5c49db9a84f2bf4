"""How long the cache believes what it holds, and how much it remembers: jitter, early refresh, and every bound."""

import random
import threading
import time

import pytest
from django.db import OperationalError

from linklayer import breaker, cache, refreshing, tier1, tier2
from linklayer.breaker import Breaker
from linklayer.cache import CachedReads, Lifetime, Loaded, is_fresh
from linklayer.errors import Unavailable
from linklayer.tier1 import Entry, Tier1
from linklayer.tier2 import Envelope
from tests.test_story import eventually

LIFETIME = Lifetime(soft_seconds=60, serve_behind_seconds=120, hard_seconds=600, deadline_seconds=1)


def failing(_key: str) -> Loaded | None:
    raise OperationalError


@pytest.fixture
def tier() -> Tier1:
    """A tier that believes it hears its heartbeat."""
    tier = Tier1(max_entries=10)
    tier.is_started = tier.is_trusted = True
    return tier


class Clock:
    """In place of the module `time`: `now` is what it shows, in seconds."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of tier 1 and of the breaker."""
    clock = Clock()
    for module in (tier1, breaker):
        monkeypatch.setattr(module, "time", clock)
    return clock


def entry(*, lives_seconds: float = 3600.0, now: float | None = None) -> Entry:
    stored_at = time.monotonic() if now is None else now
    return Entry("v", 1, time.time(), False, stored_at, stored_at + lives_seconds)


def test_the_slower_a_load_the_earlier_somebody_refreshes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the readers draw 0.9 or more: of a load of 2 s they do not trust the last 4.6 s."""
    now = time.time()
    slow, quick = (Envelope(1, "v", now, now + 4, seconds) for seconds in (2.0, 0.0))
    monkeypatch.setattr(random, "random", lambda: 0.9)
    assert (is_fresh(slow), is_fresh(quick)) == (False, True)
    monkeypatch.setattr(random, "random", lambda: 0.5)
    assert is_fresh(slow)


def test_who_refreshes_early_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    refreshed: list[str] = []
    monkeypatch.setattr(cache, "refresh_behind", lambda full_key, _refresh: refreshed.append(full_key))
    now = time.time()
    tier2.store("test:a", Envelope(1, "v", now, now + 4, load_seconds=1e6), 60)
    found = CachedReads("test", LIFETIME, failing).resolve("a")
    assert found is not None
    assert (found.value, found.source, refreshed) == ("v", "hit-l2", ["test:a"])


def test_lifetimes_are_shortened_by_chance_and_never_lengthened() -> None:
    reads = CachedReads("test", LIFETIME, failing)
    now = time.time()
    seconds = [reads.envelope(Loaded(1, "v"), now, 0.0).soft_at - now for _ in range(100)]
    assert 53.9 < min(seconds) < max(seconds) <= 60.1
    assert len(set(seconds)) > 50


def test_with_its_heartbeat_an_entry_lives_for_a_minute(tier: Tier1, clock: Clock) -> None:
    tier.store("a", entry(now=clock.now), tier.begin())
    clock.now += 59
    assert tier.get("a") is not None
    clock.now += 2
    assert tier.get("a") is None


def test_what_is_absent_is_remembered_for_half_a_minute(tier: Tier1, clock: Clock) -> None:
    tier.store_absent("a", tier.begin())
    clock.now += 29
    assert tier.is_absent("a")
    clock.now += 2
    assert not tier.is_absent("a")


def test_of_what_is_absent_the_newest_are_remembered(tier: Tier1, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier1, "ABSENT_ENTRIES", 3)
    for key in "abcde":
        tier.store_absent(key, tier.begin())
    assert [key for key in "abcde" if tier.is_absent(key)] == ["c", "d", "e"]


def test_what_came_into_being_meanwhile_is_not_called_absent(tier: Tier1) -> None:
    since = tier.begin()
    tier.drop("a")
    tier.store_absent("a", since)
    assert not tier.is_absent("a")


def test_a_read_across_more_edits_than_are_remembered_is_not_stored(
    tier: Tier1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tier1, "FORGOTTEN_ENTRIES", 3)
    since = tier.begin()
    for key in ("a", *"vwxyz"):
        tier.drop(key)
    tier.store("a", entry(), since)
    assert tier.get("a") is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_redis")
def test_while_nothing_else_answers_a_process_serves_what_it_held_for_a_minute(
    tier: Tier1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "tier1", tier)
    reads = CachedReads("test", LIFETIME, failing)
    held = entry()
    tier.store("test:a", held, tier.begin())
    tier.flush()
    found = reads.resolve("a")
    assert found is not None
    assert (found.value, found.source) == ("v", "stale")
    held.stored_at -= 61
    with pytest.raises(Unavailable):
        reads.resolve("a")


@pytest.mark.django_db(transaction=True)
def test_while_redis_answers_no_process_serves_what_it_does_not_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of an edit was missed, Redis knows of it, the source does not answer: nobody gets the old value."""
    trusting = Tier1(max_entries=10)
    trusting.is_started = trusting.is_trusted = True
    monkeypatch.setattr(cache, "tier1", trusting)
    reads = CachedReads("untrusted", LIFETIME, failing)
    trusting.store("untrusted:a", entry(), trusting.begin())
    trusting.flush()
    tier2.forget("untrusted:a", 2, keep_stale=False)
    with pytest.raises(Unavailable):
        reads.resolve("a")


def test_what_waits_to_be_refreshed_is_bounded_and_stands_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "WAITING", 3)
    may_end = threading.Event()
    refreshed: list[str] = []

    def refresh(key: str) -> None:
        may_end.wait(10)
        refreshed.append(key)

    for key in "aabcd":
        refreshing.refresh_behind(key, lambda key=key: refresh(key))  # type: ignore[misc] # a lambda's default has no type
    may_end.set()
    eventually(lambda: len(refreshed) == 3)
    eventually(lambda: not refreshing._refreshing)
    assert sorted(refreshed) == ["a", "b", "c"]


def test_the_breaker_opens_at_the_third_failure_within_five_seconds(clock: Clock) -> None:
    is_back = threading.Event()
    changes: list[bool] = []

    def probe() -> None:
        if not is_back.is_set():
            raise ConnectionError

    guard = Breaker(probe, lambda: None, lambda: None, changes.append, probe_seconds=0.01)
    try:
        for pause in (0, 0, 6, 0):  # two, and two more once the first are too old to count
            clock.now += pause
            guard.failed()
        assert changes == []
        guard.failed()
        assert changes == [True]
    finally:
        is_back.set()
    eventually(lambda: changes == [True, False])
