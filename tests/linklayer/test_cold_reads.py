"""What guards the source: the bulkhead, the lock across processes and its loss, the epoch; on a real Valkey."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django_redis import get_redis_connection
from prometheus_client import REGISTRY

from linklayer import cache, forgetting, tier2
from linklayer.cache import CachedReads, Lifetime, Loaded
from linklayer.errors import Unavailable
from linklayer.forgetting import forget_after_commit
from linklayer.models import PendingForget
from linklayer.tier1 import Entry, Tier1
from linklayer.tier2 import Envelope
from tests.servers.running import RunningServer
from tests.test_story import eventually

pytestmark = pytest.mark.django_db(transaction=True)

LIFETIME = Lifetime(soft_seconds=60, serve_behind_seconds=120, hard_seconds=600, deadline_seconds=1)
PATIENT = Lifetime(soft_seconds=60, serve_behind_seconds=120, hard_seconds=600, deadline_seconds=20)


class Gate:
    """A loader that counts and says that it has begun; who reads version 1 ends when they may."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.version = 1
        self.loads = 0

    def load(self, _key: str) -> Loaded:
        version = self.version
        self.loads += 1
        self.begun.release()
        if version == 1:
            self.may_end.wait(20)
        return Loaded(version, f"version {version}")


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.may_end.set()


@pytest.fixture
def tier(monkeypatch: pytest.MonkeyPatch) -> Tier1:
    """Tier 1 of a web process that does not hear its heartbeat, as while Redis is away."""
    tier = Tier1(max_entries=100)
    tier.is_started = True
    for module in (cache, forgetting):
        monkeypatch.setattr(module, "tier1", tier)
    return tier


@pytest.fixture
def closed_breaker() -> Iterator[None]:
    yield
    eventually(lambda: not tier2.breaker.is_open)


def counted(metric: str, namespace: str) -> float:
    return REGISTRY.get_sample_value(metric, {"namespace": namespace}) or 0.0


def held_in_tier_2(full_key: str) -> Any:
    envelope = tier2.get(full_key)
    return None if envelope is None else envelope.value


class TestBulkhead:
    @pytest.fixture
    def full(self, gate: Gate, settings: Any) -> Iterator[CachedReads]:
        """A kind of which one value is being loaded, and no second may be."""
        settings.LOADS_AT_ONCE = 1
        reads = CachedReads("full", PATIENT, gate.load)
        with ThreadPoolExecutor(1) as thread:
            first = thread.submit(reads.resolve, "first")
            assert gate.begun.acquire(timeout=10)
            yield reads
            gate.may_end.set()
            assert first.result(20) is not None

    def test_who_gets_no_place_in_time_is_refused_and_counted(self, full: CachedReads, gate: Gate) -> None:
        refused = counted("linklayer_cache_loads_refused_total", "full")
        with pytest.raises(Unavailable):
            full.resolve("second")
        assert gate.loads == 1
        assert counted("linklayer_cache_loads_refused_total", "full") == refused + 1

    def test_a_stale_copy_is_served_to_who_gets_no_place(self, full: CachedReads) -> None:
        long_ago = time.time() - 200  # so long that a reader asks the source
        tier2.store("full:second", Envelope(1, "old", long_ago, long_ago + 60, 0.0), 600)
        found = full.resolve("second")
        assert found is not None
        assert (found.value, found.source) == ("old", "stale")

    def test_another_kind_has_places_of_its_own(self, full: CachedReads) -> None:
        other = CachedReads("other", LIFETIME, lambda _key: Loaded(1, "at once"))
        assert other.resolve("a") is not None

    def test_a_place_gets_free_again_also_when_the_load_fails(self, settings: Any) -> None:
        settings.LOADS_AT_ONCE = 1
        outcomes = [Loaded(1, "then"), None]

        def load(_key: str) -> Loaded:
            outcome = outcomes.pop()
            if outcome is None:
                raise Unavailable("once")
            return outcome

        reads = CachedReads("test", LIFETIME, load)
        with pytest.raises(Unavailable):
            reads.resolve("a")
        assert reads.resolve("a") is not None


class TestLock:
    """A holder that was killed leaves its lock behind: so does who takes it and does nothing."""

    def test_without_a_copy_readers_wait_for_a_dead_holder_no_longer_than_a_load_may_take(self, gate: Gate) -> None:
        reads = CachedReads("test", Lifetime(60, 120, 600, deadline_seconds=0.5), gate.load)
        assert tier2.lock("test:a", 60)
        with pytest.raises(Unavailable):
            reads.resolve("a")
        assert gate.loads == 0

    def test_with_a_stale_copy_nobody_waits_for_a_dead_holder(self, gate: Gate) -> None:
        reads = CachedReads("test", PATIENT, gate.load)
        long_ago = time.time() - 200
        tier2.store("test:a", Envelope(1, "old", long_ago, long_ago + 60, 0.0), 600)
        assert tier2.lock("test:a", 60)
        found = reads.resolve("a")
        assert found is not None
        assert (found.value, found.source, gate.loads) == ("old", "stale", 0)

    def test_when_the_lock_of_a_dead_holder_ends_the_next_one_loads(self, gate: Gate) -> None:
        gate.may_end.set()
        assert tier2.lock("test:a", 0.3)
        assert CachedReads("test", PATIENT, gate.load).resolve("a") is not None
        assert gate.loads == 1

    def test_a_lock_that_ends_too_soon_costs_one_load_more_and_the_newer_value_stays(self, gate: Gate) -> None:
        """Two CachedReads share nothing but Redis, as two processes do."""
        late, early = (CachedReads("test", PATIENT, gate.load) for _ in range(2))
        with ThreadPoolExecutor(1) as thread:
            first = thread.submit(late.resolve, "a")
            assert gate.begun.acquire(timeout=10)
            get_redis_connection("reads").delete(tier2.made_key("lock:test:a"))
            gate.version = 2
            found = early.resolve("a")
            gate.may_end.set()
            first.result(20)
        assert found is not None
        assert (found.value, gate.loads) == ("version 2", 2)
        assert held_in_tier_2("test:a") == "version 2"

    def test_who_gets_the_lock_just_after_the_value_was_stored_does_not_load_again(
        self, gate: Gate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real_lock, now = tier2.lock, time.time()

        def lock(key: str, seconds: float) -> tier2.Lock | None:
            tier2.store(key, Envelope(1, "theirs", now, now + 60, 0.0), 60)
            return real_lock(key, seconds)

        monkeypatch.setattr(tier2, "lock", lock)
        found = CachedReads("test", PATIENT, gate.load).resolve("a")
        assert found is not None
        assert (found.value, gate.loads) == ("theirs", 0)
        assert real_lock("test:a", 60) is not None  # given back

    def test_nobody_takes_away_the_lock_of_another(self) -> None:
        mine = tier2.lock("test:a", 60)
        assert mine is not None
        get_redis_connection("reads").delete(tier2.made_key("lock:test:a"))
        theirs = tier2.lock("test:a", 60)
        tier2.unlock(mine)
        assert theirs is not None
        assert tier2.lock("test:a", 60) is None

    def test_who_has_waited_for_the_lock_does_not_begin_without_time_left(self, gate: Gate) -> None:
        """The wait and the load together end by the deadline."""
        gate.may_end.set()
        reads = CachedReads("test", Lifetime(60, 120, 600, deadline_seconds=0.5), gate.load)
        assert tier2.lock("test:a", 0.45)
        with pytest.raises(Unavailable):
            reads.resolve("a")
        assert gate.loads == 0


def test_without_redis_a_hundred_readers_of_one_key_load_once(
    gate: Gate, tier: Tier1, cache_server: RunningServer, closed_breaker: None
) -> None:
    reads = CachedReads("test", PATIENT, gate.load)
    loads = counted("linklayer_cache_loads_total", "test")
    cache_server.stop()
    try:
        with ThreadPoolExecutor(100) as threads:
            asked = [threads.submit(reads.resolve, "a") for _ in range(100)]
            assert gate.begun.acquire(timeout=10)
            gate.may_end.set()
            found = [one.result(20) for one in asked]
    finally:
        cache_server.start()
    assert {one.value for one in found if one} == {"version 1"}
    assert len([one for one in found if one]) == 100
    assert gate.loads == 1
    assert counted("linklayer_cache_loads_total", "test") == loads + 1


def emptied(_cache_server: RunningServer) -> None:
    get_redis_connection("reads").flushall()


def restarted(cache_server: RunningServer) -> None:
    """Killed and started anew, and every connection of this process renewed."""
    cache_server.kill()
    cache_server.start()
    get_redis_connection("reads").connection_pool.disconnect()


@pytest.mark.parametrize("lose", [emptied, restarted])
def test_who_read_before_redis_lost_its_data_cannot_put_an_old_value_back(
    lose: Callable[[RunningServer], None], gate: Gate, cache_server: RunningServer, closed_breaker: None
) -> None:
    """The forget marker of the edit is lost with the rest, and so is the version of what was there."""
    reads = CachedReads("test", PATIENT, gate.load)
    with ThreadPoolExecutor(1) as thread:
        early = thread.submit(reads.resolve, "a")
        assert gate.begun.acquire(timeout=10)
        gate.version = 2
        with transaction.atomic():
            forget_after_commit("test:a", 2)
        lose(cache_server)
        eventually(lambda: not tier2.breaker.is_open)
        tier2.answers()
        gate.may_end.set()
        early.result(20)
    assert held_in_tier_2("test:a") is None
    found = reads.resolve("a")
    assert found is not None
    assert (found.value, held_in_tier_2("test:a")) == ("version 2", "version 2")


def test_a_process_that_hears_of_lost_data_flushes_tier_1_and_says_so() -> None:
    tier, losses = Tier1(max_entries=10), []
    tier2.epoch()
    tier.start(on_data_lost=lambda: losses.append(1))
    try:
        eventually(lambda: tier.is_trusted)
        now = time.monotonic()
        tier.store("test:a", Entry("v", 1, time.time(), False, now, now + 60), tier.begin())
        assert tier.get("test:a") is not None
        assert not losses
        get_redis_connection("reads").flushall()
        eventually(lambda: tier.get("test:a") is None, seconds=5)
        eventually(lambda: losses == [1], seconds=5)
        assert tier.is_trusted
    finally:
        tier.stop()


def test_in_tier_1_a_value_ages_from_the_start_of_its_read(tier: Tier1) -> None:
    since = tier.begin()
    time.sleep(0.05)
    now = time.monotonic()
    entry = Entry("v", 1, time.time(), False, now, now + 60)
    tier.store("test:a", entry, since)
    assert entry.live_until == since.moment + 2.0


def test_when_both_were_down_the_cache_is_trusted_again_once_the_database_is_back(
    gate: Gate, cache_server: RunningServer, postgres: RunningServer, closed_breaker: None
) -> None:
    gate.may_end.set()
    reads = CachedReads("test", LIFETIME, gate.load)
    reads.resolve("a")
    cache_server.freeze()
    try:
        gate.version = 2
        with transaction.atomic():
            forget_after_commit("test:a", 2)
        assert tier2.breaker.is_open
    finally:
        connection.close()
        postgres.stop()
        cache_server.thaw()
    try:
        time.sleep(2.5)  # two probes: Redis answers, but what it missed cannot be read
        assert tier2.breaker.is_open
    finally:
        postgres.start()
    eventually(lambda: not tier2.breaker.is_open)
    found = reads.resolve("a")
    assert found is not None
    assert found.value == "version 2"
    assert not PendingForget.objects.exists()
