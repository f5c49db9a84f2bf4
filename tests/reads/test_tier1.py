"""What tier 1 of each web process spares, and how soon it hears of an edit: by its messages, and without them."""

import logging
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django_redis import get_redis_connection

from linklayer import tier2
from linklayer.embedded.processes import Keeper
from linklayer.keys import create_api_key
from profiles.models import Profile
from tests.product import Product
from tests.reads.faults import Fault, black_holed, cut_connections, frozen, killed
from tests.reads.visitors import Answer, statuses
from tests.reads.webs import Web, all_well, created_links, loads, started, visitors_of
from tests.servers.running import RunningServer

PER_SECOND = 500.0
EDITS = 12
OUTAGE_SECONDS = 2.0  # longer than tier 1 trusts what it holds without a heartbeat
BOUND_SECONDS = 2.0
USUAL_SECONDS = 0.1

logger = logging.getLogger(__name__)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def both(keeper: Keeper, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Web]]:
    product = Product(keeper, tmp_path_factory.mktemp("tier1"), {})
    yield started(product, environs=[{}, {}])
    product.stop()


@pytest.fixture
def webs(both: list[Web]) -> list[Web]:
    all_well(both)
    return both


def test_a_hit_in_tier_1_asks_redis_nothing(webs: list[Web]) -> None:
    Profile.objects.create(source=Profile.Source.OWN, username="warm", display_name="Warm", is_published=True)
    paths = [f"/{created_links(1)[0]}", "/api/profiles/warm", "/@warm", "/api/profiles/warm/links"]
    redis = get_redis_connection(tier2.ALIAS)
    for web in webs:
        for path in paths * 2:
            assert web.site.get(path).status in {200, 302}
    redis.config_resetstat()
    for web in webs:
        for path in paths * 10:
            assert web.site.get(path).status in {200, 302}
    asked = {name.removeprefix("cmdstat_") for name in redis.info("commandstats")}
    assert asked <= {"publish", "config|resetstat", "info", "client|setinfo"}  # heartbeats, and this test's own


def test_what_tier_1_holds_costs_one_load_at_most_after_a_flush_of_redis(webs: list[Web]) -> None:
    (slug,) = created_links(1)
    for web in webs:
        web.site.get(f"/{slug}")
    before = loads(webs)
    get_redis_connection(tier2.ALIAS).flushall()
    with visitors_of(webs) as visitors, visitors.asking([f"/{slug}"], per_second=PER_SECOND) as answers:
        time.sleep(0.5)
    assert set(statuses(answers)) == {302}
    assert sum(loads(webs)) - sum(before) <= 1


@dataclass(slots=True)
class Edits:
    """Changes of one link's destination, numbered from 1; done_at: when the editor had the answer."""

    webs: list[Web]
    slug: str
    key: str
    done_at: list[float] = field(default_factory=list)

    def make(self) -> None:
        """Edit at the first process: the second hears of it by message only."""
        number = len(self.done_at) + 1
        reply = self.webs[0].site.patch(
            f"/api/links/{self.slug}", {"url": f"https://example.com/{number}"}, key=self.key
        )
        assert reply.status == 200, reply.body
        self.done_at.append(time.monotonic())

    def lateness(self, answers: list[Answer], *, not_before: float = 0.0) -> list[float]:
        """Return for each edit the seconds after which somebody was still led where it no longer leads.

        not_before: what happened earlier counts from then.
        """
        late = [0.0] * len(self.done_at)
        for answer in answers:
            shown = int(answer.header("location").rpartition("/")[2])
            for number in range(shown, len(self.done_at)):
                due_at = max(self.done_at[number], not_before)
                late[number] = max(late[number], answer.asked_at - due_at)
        return late


@pytest.fixture
def edits(webs: list[Web]) -> Edits:
    (slug,) = created_links(1)
    _, key = create_api_key(name="editor", scopes=["links:write"])
    edits = Edits(webs, slug, key)
    edits.make()
    for web in webs:
        web.site.get(f"/{slug}")
    return edits


def test_an_edit_is_seen_by_every_process_at_once(webs: list[Web], edits: Edits) -> None:
    with visitors_of(webs) as visitors, visitors.asking([f"/{edits.slug}"], per_second=PER_SECOND) as answers:
        for _ in range(2 * EDITS):
            time.sleep(random.uniform(0, 0.1))
            edits.make()
        time.sleep(0.5)
    assert_seen(edits, answers)
    # The median, for on a busy machine some come late; without the messages all would.
    assert statistics.median(edits.lateness(answers)) <= USUAL_SECONDS


def test_an_edit_whose_message_is_lost_is_seen_within_two_seconds(webs: list[Web], edits: Edits) -> None:
    with visitors_of(webs) as visitors, visitors.asking([f"/{edits.slug}"], per_second=PER_SECOND) as answers:
        for _ in range(EDITS):
            cut_connections(get_redis_connection(tier2.ALIAS), "pubsub")
            edits.make()
            time.sleep(random.uniform(0, 0.4))
        time.sleep(BOUND_SECONDS + 0.5)
    assert_seen(edits, answers)


@pytest.mark.parametrize("fault", [frozen, black_holed, killed])
def test_an_edit_is_seen_within_two_seconds_of_the_return_of_redis(
    fault: Fault, webs: list[Web], edits: Edits, cache_server: RunningServer
) -> None:
    with visitors_of(webs) as visitors, visitors.asking([f"/{edits.slug}"], per_second=PER_SECOND) as answers:
        time.sleep(0.2)
        with fault(cache_server):
            until = time.monotonic() + OUTAGE_SECONDS
            while time.monotonic() < until:
                edits.make()
                time.sleep(random.uniform(0, 0.4))
        returned_at = time.monotonic()
        time.sleep(BOUND_SECONDS + 0.5)
    assert_seen(edits, answers, not_before=returned_at)


def assert_seen(edits: Edits, answers: list[Answer], *, not_before: float = 0.0) -> None:
    late = edits.lateness(answers, not_before=not_before)
    logger.info("%d reads, %d edits, seen after %s ms", len(answers), len(late), sorted(round(s * 1000) for s in late))
    assert set(statuses(answers)) == {302}
    assert max(late) <= BOUND_SECONDS
