"""The two-tier cache on a real Valkey and PostgreSQL."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import caches
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django_redis import get_redis_connection
from prometheus_client import REGISTRY

from linklayer import cache, forgetting, tier2
from linklayer.cache import CachedReads, Lifetime, Loaded
from linklayer.errors import Unavailable
from linklayer.forgetting import apply_pending_forgets, current_version, forget_after_commit, forget_now
from linklayer.models import PendingForget
from linklayer.tier1 import Entry, Tier1
from linklayer.tier2 import Envelope
from tests.servers.running import RunningServer

pytestmark = pytest.mark.django_db(transaction=True)

LIFETIME = Lifetime(soft_seconds=60, serve_behind_seconds=120, hard_seconds=600, deadline_seconds=1)


class Source:
    """A loader that counts; `value` is what it gives, `error` what it raises instead."""

    def __init__(self, value: object = "first", version: int = 1) -> None:
        self.value, self.version = value, version
        self.error: Exception | None = None
        self.loads = 0
        self.seconds = 0.0
        self._lock = threading.Lock()

    def load(self, _key: str) -> Loaded | None:
        with self._lock:
            self.loads += 1
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return None if self.value is None else Loaded(self.version, self.value)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def reads(source: Source) -> CachedReads:
    return CachedReads("test", LIFETIME, source.load)


def breaker_closes() -> bool:
    """Wait until the probe has found Redis again."""
    deadline = time.monotonic() + 15
    while tier2.breaker.is_open and time.monotonic() < deadline:
        time.sleep(0.02)
    return not tier2.breaker.is_open


@pytest.fixture
def closed_breaker() -> Iterator[None]:
    """Leave the breaker as it was found: closed."""
    yield
    assert breaker_closes()


def test_a_second_read_comes_from_tier_2(reads: CachedReads, source: Source) -> None:
    first, second = reads.resolve("a"), reads.resolve("a")
    assert first is not None
    assert second is not None
    assert (first.source, second.source, second.value, source.loads) == ("miss", "hit-l2", "first", 1)


def test_what_is_not_there_leaves_nothing_in_tier_2(reads: CachedReads, source: Source) -> None:
    source.value = None
    assert reads.resolve("nothing") is None
    assert caches["reads"].get("test:nothing") is None


def test_many_cold_readers_load_once(reads: CachedReads, source: Source) -> None:
    source.seconds = 0.1
    with ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda _: reads.resolve("cold"), range(40)))
    assert source.loads == 1
    assert {item.value for item in found if item} == {"first"}


def test_two_processes_load_once(source: Source) -> None:
    """Two CachedReads share nothing but Redis, as two processes do."""
    source.seconds = 0.1
    both = [CachedReads("test", LIFETIME, source.load) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda reads: reads.resolve("cold"), both))
    assert source.loads == 1
    assert [item.value for item in found if item] == ["first", "first"]


def test_who_gets_the_lock_after_another_has_loaded_does_not_load_again(
    reads: CachedReads, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, lock = CachedReads("test", LIFETIME, source.load), tier2.lock

    def late_lock(key: str, seconds: float) -> Any:
        monkeypatch.undo()
        elsewhere.resolve("cold")  # between our look at tier 2 and our lock
        return lock(key, seconds)

    monkeypatch.setattr(tier2, "lock", late_lock)
    found = reads.resolve("cold")
    assert found is not None
    assert (found.value, source.loads) == ("first", 1)


def test_an_edit_is_seen_by_the_next_read(reads: CachedReads, source: Source) -> None:
    reads.resolve("a")
    source.value, source.version = "second", 2
    with transaction.atomic():
        forget_after_commit("test:a", 2)
    found = reads.resolve("a")
    assert found is not None
    assert found.value == "second"
    assert not PendingForget.objects.exists()


def test_a_rolled_back_edit_forgets_nothing(reads: CachedReads, source: Source) -> None:
    reads.resolve("a")
    with transaction.atomic():
        forget_after_commit("test:a", 2)
        transaction.set_rollback(True)
    reads.resolve("a")
    assert source.loads == 1


def test_a_slow_reader_cannot_put_an_old_value_back(reads: CachedReads) -> None:
    reads.resolve("a")
    tier2.forget("test:a", 2, keep_stale=False)
    now = time.time()
    assert not tier2.store("test:a", Envelope(1, "old", now, now + 60, 0.0), 60)
    assert tier2.store("test:a", Envelope(2, "new", now, now + 60, 0.0), 60)


def test_an_outdated_value_is_kept_and_served_when_its_source_fails(reads: CachedReads, source: Source) -> None:
    reads.resolve("a")
    with transaction.atomic():
        forget_after_commit("test:a", 2, keep_stale=True)
    source.error = OperationalError()
    found = reads.resolve("a")
    assert found is not None
    assert (found.value, found.source) == ("first", "stale")


def test_an_outdated_value_is_not_served_when_its_source_answers(reads: CachedReads, source: Source) -> None:
    reads.resolve("a")
    tier2.forget("test:a", 2, keep_stale=True)
    source.value, source.version = "second", 2
    found = reads.resolve("a")
    assert found is not None
    assert (found.value, found.source) == ("second", "miss")


def test_without_any_copy_a_failing_source_is_unavailable(reads: CachedReads, source: Source) -> None:
    source.error = OperationalError()
    with pytest.raises(Unavailable):
        reads.resolve("a")


def test_who_asks_after_an_edit_does_not_join_a_load_from_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tier = Tier1(max_entries=10)
    monkeypatch.setattr(cache, "tier1", tier)
    monkeypatch.setattr(forgetting, "tier1", tier)
    tier.is_started = tier.is_trusted = True
    version, has_read, may_end = 1, threading.Event(), threading.Event()

    def load(_key: str) -> Loaded:
        read = version
        if read == 1:
            has_read.set()
            may_end.wait(5)
        return Loaded(read, f"version {read}")

    reads = CachedReads("test", LIFETIME, load)
    with ThreadPoolExecutor(2) as threads:
        early = threads.submit(reads.resolve, "a")
        assert has_read.wait(5)
        version = 2
        with transaction.atomic():
            forget_after_commit("test:a", version)
        late = threads.submit(reads.resolve, "a")
        time.sleep(0.1)
        may_end.set()
        found = late.result(5)
        early.result(5)
    held = tier.get("test:a")
    assert found is not None
    assert found.value == "version 2"
    assert held is None or held.version == 2


def test_past_its_soft_life_a_value_is_served_and_refreshed_behind(source: Source) -> None:
    reads = CachedReads("test", Lifetime(0.05, 60, 600, 1), source.load)
    reads.resolve("a")
    now = time.time()
    tier2.store("test:a", Envelope(1, "first", now - 10, now - 5, 0.0), 600)
    source.value = "second"
    found = reads.resolve("a")
    assert found is not None
    assert (found.value, found.source) == ("first", "stale")
    deadline = time.monotonic() + 5
    while source.loads < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert source.loads == 2


def test_who_gets_the_lock_just_after_another_has_refreshed_does_not_load_again(
    reads: CachedReads, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, real_lock = time.time(), tier2.lock
    refreshed: list[str] = []
    tier2.store("test:a", Envelope(1, "first", now - 80, now - 20, 0.0), 600)

    def late_lock(key: str, seconds: float) -> tier2.Lock | None:
        tier2.store(key, Envelope(1, "theirs", now, now + 60, 0.0), 600)
        return real_lock(key, seconds)

    def refresh_now(full_key: str, refresh: Callable[[], None]) -> None:
        refresh()
        refreshed.append(full_key)

    monkeypatch.setattr(tier2, "lock", late_lock)
    monkeypatch.setattr(cache, "refresh_behind", refresh_now)
    found = reads.resolve("a")
    assert found is not None
    assert (found.value, found.source, refreshed, source.loads) == ("first", "stale", ["test:a"], 0)
    assert real_lock("test:a", 60) is not None  # given back


def test_a_value_that_is_refreshed_early_is_loaded(
    reads: CachedReads, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XFetch: what tier 2 holds is fresh, but it is what the reader saw."""
    now = time.time()
    tier2.store("test:a", Envelope(1, "first", now, now + 60, 0.0), 600)
    monkeypatch.setattr(cache, "is_fresh", lambda _envelope: False)
    monkeypatch.setattr(cache, "refresh_behind", lambda _full_key, refresh: refresh())
    reads.resolve("a")
    assert source.loads == 1


@pytest.mark.parametrize(
    "corrupt", [b"garbage", b"12", b"00000000000000000001|{", b"0000000000000000000x|[]", b"\xff" * 30]
)
def test_a_corrupt_value_is_a_miss_and_is_deleted(corrupt: bytes, reads: CachedReads, source: Source) -> None:
    get_redis_connection("reads").set(tier2.made_key("test:a"), corrupt)
    found = reads.resolve("a")
    assert found is not None
    assert (found.source, source.loads) == ("miss", 1)


class TestOfAnotherType:
    """A key of ours that holds no string, because another program wrote to our Redis: corrupt, not an outage."""

    @pytest.fixture(autouse=True)
    def counted(self) -> Iterator[None]:
        """Each of these tests has one such key deleted, and Redis is not blamed."""
        before, errors = self.sample("linklayer_cache_corrupt_total"), self.sample("linklayer_cache_errors_total")
        yield
        assert self.sample("linklayer_cache_corrupt_total") == before + 1
        assert self.sample("linklayer_cache_errors_total") == errors

    @staticmethod
    def sample(name: str) -> float:
        return REGISTRY.get_sample_value(name) or 0.0

    @staticmethod
    def make_list(key: str) -> None:
        server = get_redis_connection("reads")
        server.delete(tier2.made_key(key))
        server.rpush(tier2.made_key(key), "x")

    def test_it_is_a_miss(self, reads: CachedReads, source: Source) -> None:
        self.make_list("test:a")
        found, again = reads.resolve("a"), reads.resolve("a")
        assert found is not None
        assert again is not None
        assert (found.source, again.source, source.loads) == ("miss", "hit-l2", 1)

    def test_an_edit_is_told(self) -> None:
        self.make_list("test:a")
        with transaction.atomic():
            forget_after_commit("test:a", 2)
        assert not PendingForget.objects.exists()
        assert not tier2.breaker.is_open
        assert not tier2.store("test:a", Envelope(1, "old", 0.0, 0.0, 0.0), 60)

    def test_it_is_stored_over_and_the_others_with_it(self) -> None:
        self.make_list("test:b")
        tier2.store_many(((f"test:{key}", Envelope(1, key, 0.0, 0.0, 0.0), 60.0) for key in "abc"), epoch="")
        held = [tier2.get(f"test:{key}") for key in "abc"]
        assert [envelope.value for envelope in held if envelope] == ["a", "b", "c"]

    def test_what_is_no_more_is_deleted(self) -> None:
        self.make_list("test:a")
        tier2.delete_value("test:a")

    def test_the_epoch_begins_anew(self) -> None:
        self.make_list(tier2.EPOCH_KEY)
        lock = tier2.lock("test:a", 60)
        assert lock is not None
        assert lock.epoch == tier2.epoch()

    def test_the_listener_goes_on_too(self) -> None:
        self.make_list(tier2.EPOCH_KEY)
        assert tier2.read_epoch("new") == "new"

    def test_a_lock_is_given_back(self) -> None:
        lock = tier2.lock("test:a", 60)
        assert lock is not None
        self.make_list(tier2.LOCK_PREFIX + "test:a")
        tier2.unlock(lock)


def test_without_redis_every_read_still_answers(
    reads: CachedReads, source: Source, cache_server: RunningServer, closed_breaker: None
) -> None:
    cache_server.stop()
    try:
        found = [reads.resolve(f"key-{number}") for number in range(10)]
        assert all(item is not None and item.value == "first" for item in found)
        assert tier2.breaker.is_open
    finally:
        cache_server.start()


def test_a_frozen_redis_costs_three_timeouts_and_no_more(
    reads: CachedReads, cache_server: RunningServer, closed_breaker: None
) -> None:
    cache_server.freeze()
    try:
        for number in range(5):
            reads.resolve(f"key-{number}")
        assert tier2.breaker.is_open
    finally:
        cache_server.thaw()


def test_an_edit_during_an_outage_is_applied_before_the_cache_is_trusted_again(
    reads: CachedReads, source: Source, cache_server: RunningServer, closed_breaker: None
) -> None:
    reads.resolve("a")
    cache_server.freeze()
    try:
        with transaction.atomic():
            forget_after_commit("test:a", 2)
        source.value, source.version = "second", 2
        assert tier2.breaker.is_open  # at once: what the cache still holds is known to be old
        assert PendingForget.objects.count() == 1
    finally:
        cache_server.thaw()
    assert breaker_closes()
    found = reads.resolve("a")
    assert found is not None
    assert found.value == "second"
    assert not PendingForget.objects.exists()


def test_pending_forgets_are_applied_and_removed(reads: CachedReads, source: Source) -> None:
    reads.resolve("a")
    PendingForget.objects.create(key="test:a", version=2)
    assert apply_pending_forgets() == 1
    reads.resolve("a")
    assert (source.loads, PendingForget.objects.count()) == (2, 0)


def test_forgetting_adds_two_queries_to_an_edit_and_no_transaction() -> None:
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        forget_after_commit("test:a", 2)
    assert [query["sql"].split()[0] for query in queries] == ["BEGIN", "INSERT", "COMMIT", "DELETE"]


def test_versions_of_a_value_of_many_rows_follow_the_order_of_commits() -> None:
    for _ in range(3):
        with transaction.atomic():
            forget_after_commit("test:many")
    assert current_version("test:many") == 3


def test_forgetting_outside_of_a_transaction_is_an_error() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        forget_after_commit("test:a", 2)


def test_an_operator_is_told_which_tiers_held_a_value(reads: CachedReads, source: Source) -> None:
    source.version = current_version("test:a")
    reads.resolve("a")
    assert forget_now("test:a") == {"tier1": False, "tier2": True}
    assert forget_now("test:a") == {"tier1": False, "tier2": False}


class TestTier1:
    @pytest.fixture
    def tier(self) -> Tier1:
        """A tier that believes it hears its heartbeat; the listener has tests of its own."""
        tier = Tier1(max_entries=3)
        tier.is_started = tier.is_trusted = True
        return tier

    @staticmethod
    def entry(value: str = "v") -> Entry:
        now = time.monotonic()
        return Entry(value, 1, time.time(), False, now, now + 60)

    def test_a_store_that_began_before_a_drop_is_dropped(self, tier: Tier1) -> None:
        since = tier.begin()
        tier.drop("a")
        tier.store("a", self.entry(), since)
        assert tier.get("a") is None

    def test_it_never_holds_more_than_its_bound_and_keeps_what_is_used(self, tier: Tier1) -> None:
        tier.store("hot", self.entry(), tier.begin())
        for number in range(20):
            tier.get("hot")
            tier.store(f"cold-{number}", self.entry(), tier.begin())
        assert len(tier) == 3
        assert tier.get("hot") is not None

    def test_a_flushed_entry_is_only_a_last_resort(self, tier: Tier1) -> None:
        tier.store("a", self.entry(), tier.begin())
        tier.flush()
        assert tier.get("a") is None
        assert tier.last_resort("a") is not None

    def test_a_dropped_entry_is_no_last_resort(self, tier: Tier1) -> None:
        tier.store("a", self.entry(), tier.begin())
        tier.drop("a")
        assert tier.last_resort("a") is None

    def test_without_its_heartbeat_an_entry_lives_two_seconds_at_most(self, tier: Tier1) -> None:
        tier.is_trusted = False
        entry = self.entry()
        tier.store("a", entry, tier.begin())
        assert entry.live_until - entry.stored_at <= 2.0


@pytest.fixture
def listening_tier() -> Iterator[Tier1]:
    tier = Tier1(max_entries=10)
    tier.start()
    deadline = time.monotonic() + 10
    while not tier.is_trusted and time.monotonic() < deadline:
        time.sleep(0.01)
    yield tier
    tier.stop()


def test_a_process_hears_of_an_edit_elsewhere(listening_tier: Tier1) -> None:
    tier, deadline = listening_tier, time.monotonic() + 5
    tier.store("test:a", TestTier1.entry(), tier.begin())
    assert tier.get("test:a") is not None
    tier2.forget("test:a", 2, keep_stale=False)
    while tier.get("test:a") is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tier.get("test:a") is None


def test_a_lost_connection_flushes_tier_1(
    listening_tier: Tier1, cache_server: RunningServer, closed_breaker: None
) -> None:
    tier, deadline = listening_tier, time.monotonic() + 10
    tier.store("test:a", TestTier1.entry(), tier.begin())
    cache_server.freeze()
    try:
        while tier.is_trusted and time.monotonic() < deadline:
            time.sleep(0.01)
        assert tier.get("test:a") is None
        assert not tier.is_trusted
    finally:
        cache_server.thaw()


def test_a_connection_that_comes_back_at_once_flushes_tier_1_too(listening_tier: Tier1) -> None:
    """What was forgotten in between was not heard, though no heartbeat was late."""
    tier, deadline = listening_tier, time.monotonic() + 5
    tier.store("test:a", TestTier1.entry(), tier.begin())
    get_redis_connection("reads").client_kill_filter(_type="pubsub")
    while tier.get("test:a") is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tier.get("test:a") is None


def test_a_message_that_nobody_can_read_does_not_leave_tier_1_deaf(listening_tier: Tier1) -> None:
    """A thread that ends of it would leave tier 1 trusted."""
    tier = listening_tier
    get_redis_connection("reads").publish(tier2.forget_channel(), b"\xff")
    tier.store("test:a", TestTier1.entry(), tier.begin())
    deadline = time.monotonic() + 10
    while tier.get("test:a") is not None and time.monotonic() < deadline:
        tier2.forget("test:a", 2, keep_stale=False)
        time.sleep(0.05)
    assert tier.get("test:a") is None
