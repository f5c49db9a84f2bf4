"""Many readers and a cold cache: the source is asked once per key, and nobody waits who can be served a stale value."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.cache import caches
from django.db import connection, transaction
from django.utils import timezone
from django_redis import get_redis_connection
from msgspec import structs

from linklayer import tier2
from linklayer.embedded.processes import Keeper
from profiles.models import Profile
from profiles.resolver import PROFILE_LIFETIME, profile_reads
from shortlinks.resolver import LINK_LIFETIME
from tests.product import Product, Site
from tests.reads.visitors import Visitors, statuses
from tests.reads.webs import Web, all_well, created_links, loads, started, visitors_of
from tests.servers.running import RunningServer
from tests.test_story import eventually

LINKS = 1000
PER_SECOND = 500
SOURCE_SECONDS = 0.5

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def product(keeper: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product with next to no tier 1, so that what is asked again is asked of tier 2.

    It is patient with Redis: on a busy machine a call that is held up would open the breaker, and that is no stampede.
    """
    environ = {"TIER1_ENTRIES": "10", "REDIS_TIMEOUT_SECONDS": "1"}
    product = Product(keeper, tmp_path_factory.mktemp("stampede"), environ)
    yield product
    product.stop()


@pytest.fixture(scope="module")
def webs(django_db_setup: None, product: Product) -> list[Web]:
    return started(product, environs=[{}, {}])


@pytest.fixture
def visitors(webs: list[Web]) -> Iterator[Visitors]:
    all_well(webs)
    with visitors_of(webs) as visitors:
        yield visitors


def test_five_hundred_at_once_for_a_cold_link_cost_one_load(webs: list[Web], visitors: Visitors) -> None:
    (slug,) = created_links(1)
    before = loads(webs)
    with transaction.atomic():
        lock_the_links()
        answers = visitors.ask_at_once(f"/{slug}", 500)
        eventually(lambda: loads_under_way() > 0, seconds=5)
        time.sleep(0.1)
        assert loads_under_way() == 1
    assert statuses(answers()) == {302: 500}
    assert sum(loads(webs)) - sum(before) == 1


def test_without_redis_a_hundred_at_once_cost_one_load_per_process(
    webs: list[Web], visitors: Visitors, cache_server: RunningServer
) -> None:
    (slug,) = created_links(1)
    before = loads(webs)
    cache_server.stop()
    try:
        with transaction.atomic():
            lock_the_links()
            answers = visitors.ask_at_once(f"/{slug}", 100)
            eventually(lambda: loads_under_way() == 2, seconds=5)
            time.sleep(0.1)
            assert loads_under_way() == 2
        assert statuses(answers()) == {302: 100}
        assert [now - then for now, then in zip(loads(webs), before, strict=True)] == [1, 1]
    finally:
        cache_server.start()


def test_a_loader_that_is_killed_holds_up_the_others_for_a_moment_only(webs: list[Web]) -> None:
    all_well(webs)
    (slug,) = created_links(1)
    first, second = webs
    with visitors_of([first]) as visitors:
        with transaction.atomic():
            lock_the_links()
            answers = visitors.ask_at_once(f"/{slug}", 1)
            eventually(lambda: loads_under_way() == 1, seconds=5)
            os.kill(first.worker, signal.SIGKILL)
            assert statuses(answers()) == {0: 1}
        eventually(lambda: second.site.get(f"/{slug}").status == 302, seconds=2 * LINK_LIFETIME.deadline_seconds + 1)


def test_a_flush_of_redis_costs_one_load_per_link(webs: list[Web], visitors: Visitors) -> None:
    paths = [f"/{slug}" for slug in created_links(LINKS)]
    with visitors.asking(paths, per_second=PER_SECOND):
        eventually(lambda: len(visitors.answers) >= LINKS)
    before = loads(webs)
    # Each link is asked of one process and at once of the other.
    with visitors.asking([path for path in paths for _ in webs], per_second=PER_SECOND) as answers:
        get_redis_connection(tier2.ALIAS).flushall()
        eventually(lambda: len(visitors.answers) >= 3.2 * LINKS)
    assert set(statuses(answers)) == {302}
    assert 0 < sum(loads(webs)) - sum(before) <= 1.1 * LINKS


def test_nobody_waits_for_a_profile_that_expires(product: Product, webs: list[Web], visitors: Visitors) -> None:
    linktree, simulator = product.linktree()
    assert webs[0].site.get("/api/profiles/janedoe").status == 200
    source_takes(SOURCE_SECONDS, linktree)
    profile_expires(in_seconds=1)
    before = source_calls(linktree)
    with visitors.asking(["/api/profiles/janedoe"], per_second=200) as answers:
        time.sleep(3)
    calls = source_calls(linktree) - before
    simulator.stop()
    assert calls == 1
    assert set(statuses(answers)) == {200}
    assert visitors.slowest(answers) < SOURCE_SECONDS / 2
    ages = [int(answer.header("age")) for answer in answers]
    assert ages[0] > PROFILE_LIFETIME.soft_seconds * 0.9
    assert ages[-1] < 5


def lock_the_links() -> None:
    """Let every load of a link wait until the running transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE shortlinks_shortlink IN ACCESS EXCLUSIVE MODE")


def loads_under_way() -> int:
    """Return how many loads wait for the lock: reads of one slug. A warm-up that waits as well reads many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees the same activity to its end
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
            " AND relation = 'shortlinks_shortlink'::regclass AND strpos(query, '.\"slug\" = ') > 0"
        )
        (waiting,) = cursor.fetchone()
    return int(waiting)


def source_takes(seconds: float, linktree: Site) -> None:
    fault = {"match": {"method": "GET", "path": "*profiles*"}, "fault": f"slow:{seconds}", "times": 100}
    assert linktree.post("/__sim__/faults", fault).status < 300


def source_calls(linktree: Site) -> int:
    """Return how often a profile was asked for."""
    requests = linktree.get("/__sim__/requests").json()["data"]
    return sum("/profiles/" in request["path"] for request in requests)


def profile_expires(*, in_seconds: float) -> None:
    """Make the one profile, and what is cached of it, as old as they would be so long before the soft lifetime ends."""
    age = PROFILE_LIFETIME.soft_seconds - in_seconds
    profile = Profile.objects.get()
    Profile.objects.update(last_synced_at=timezone.now() - timedelta(seconds=age))
    key = profile_reads.full_key(str(profile.pk))
    held = tier2.get(key)
    assert held is not None
    now = time.time()
    aged = structs.replace(held, read_at=now - age, soft_at=now + in_seconds, load_seconds=SOURCE_SECONDS)
    caches[tier2.ALIAS].set(key, aged)
    get_redis_connection(tier2.ALIAS).publish(tier2.forget_channel(), key)
