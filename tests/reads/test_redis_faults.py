"""Redis is broken in every way while visitors follow links: nobody is turned away or kept waiting, and the cache is of
use again soon after."""

import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django_redis import get_redis_connection

from linklayer import tier2
from linklayer.embedded.processes import Keeper
from shortlinks.resolver import redirect_reads
from tests.product import Product
from tests.reads.faults import Fault, black_holed, frozen, killed, out_of_memory, restarted
from tests.reads.visitors import Visitors, statuses
from tests.reads.webs import Web, all_well, created_links, hits_and_misses, started, visitors_of
from tests.servers.running import RunningServer

LINKS = 31  # odd, so that visitors who ask the two processes in turn ask each for every link
PER_SECOND = 120.0
COLD_PER_SECOND = 20.0
OUTAGE_SECONDS = 2.0  # longer than tier 1 trusts what it holds without a heartbeat
SLOWEST_SECONDS = 0.25
REDIS_SECONDS = 0.1  # the time-out of one call, as the product has it by default
BACK_WITHIN_SECONDS = 10.0
HIT_RATE = 0.95
NO_STRING = b"a list"
CORRUPT = [b"garbage", b"12", b"00000000000000000001|{", b"00000000000000000001|[[],1,2,3,0]", b"\xff" * 30, NO_STRING]

logger = logging.getLogger(__name__)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def webs(keeper: Keeper, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Web]]:
    """Two web processes: one as it is by default, one that has to ask Redis for almost everything."""
    product = Product(keeper, tmp_path_factory.mktemp("redis-faults"), {})
    yield started(product, environs=[{}, {"TIER1_ENTRIES": "10"}])
    product.stop()


@pytest.fixture
def slugs(webs: list[Web]) -> list[str]:
    all_well(webs)
    return created_links(LINKS)


@pytest.mark.parametrize("fault", [killed, restarted, frozen, black_holed, out_of_memory])
def test_no_visitor_notices_what_happens_to_redis(
    fault: Fault, webs: list[Web], slugs: list[str], cache_server: RunningServer
) -> None:
    cold = [f"/{slug}" for slug in created_links(LINKS)]
    with followed(webs, slugs) as visitors:
        with fault(cache_server), visitors.asking(cold, per_second=COLD_PER_SECOND) as during:
            time.sleep(OUTAGE_SECONDS)
        # Once the breaker is open nobody waits for Redis, not even who asks for what no process knows.
        asked_late = [answer for answer in during if answer.path in cold][LINKS // 2 :]
        assert statistics.median(map(visitors.seconds, asked_late)) < REDIS_SECONDS / 2
        the_hit_rate_returns(webs)


@pytest.mark.parametrize("how_many", [1, LINKS])
def test_no_visitor_notices_what_redis_holds(how_many: int, webs: list[Web], slugs: list[str]) -> None:
    before = corrupt_ones(webs)
    with followed(webs, slugs):
        corrupt(slugs[:how_many])
        the_hit_rate_returns(webs)
    assert corrupt_ones(webs) > before  # by whichever process was the first to ask for it


@contextmanager
def followed(webs: list[Web], slugs: list[str]) -> Iterator[Visitors]:
    """Follow the links, which every process knows by the time that the block begins; all must lead on, and soon."""
    with visitors_of(webs) as visitors:
        with visitors.asking([f"/{slug}" for slug in slugs], per_second=PER_SECOND) as answers:
            time.sleep(2.2 * LINKS / PER_SECOND)
            yield visitors
        slowest = visitors.slowest(answers)
        logger.info("%s, slowest %.0f ms", statuses(answers), slowest * 1000)
        assert set(statuses(answers)) == {302}
        assert slowest < SLOWEST_SECONDS


def corrupt(slugs: list[str]) -> None:
    """Spoil what tier 2 holds of these links, and let each process ask it again."""
    server = get_redis_connection(tier2.ALIAS)
    for number, slug in enumerate(slugs):
        full_key = redirect_reads.full_key(slug)
        key, value = tier2.made_key(full_key), CORRUPT[number % len(CORRUPT)]
        assert server.set(key, value, xx=True)
        if value is NO_STRING:
            server.delete(key)
            server.rpush(key, value)
        server.publish(tier2.forget_channel(), full_key)


def corrupt_ones(webs: list[Web]) -> float:
    return sum(web.counted("linklayer_cache_corrupt_total") for web in webs)


def the_hit_rate_returns(webs: list[Web]) -> None:
    """Wait until each process answers 95 % of what it is asked in half a second from its caches."""
    since = time.monotonic()
    before = [hits_and_misses(web) for web in webs]
    rates = [0.0]
    while min(rates) < HIT_RATE:
        assert time.monotonic() - since < BACK_WITHIN_SECONDS, rates
        time.sleep(0.5)
        after = [hits_and_misses(web) for web in webs]
        rates = [_rate(then, now) for then, now in zip(before, after, strict=True)]
        before = after
    logger.info("hit rates %s after %.1f s", rates, time.monotonic() - since)


def _rate(before: tuple[float, float], after: tuple[float, float]) -> float:
    hits, misses = (now - then for then, now in zip(before, after, strict=True))
    return hits / (hits + misses) if hits + misses else 0.0
