"""PostgreSQL is killed or frozen while visitors follow links: what is cached leads on, nothing is called unknown."""

import logging
import secrets
import time
from collections.abc import Iterator

import pytest
from django.db import connection

from linklayer.embedded.processes import Keeper
from tests.product import Product
from tests.reads.faults import Fault, frozen, killed
from tests.reads.visitors import statuses
from tests.reads.webs import Web, all_well, created_links, started, visitors_of
from tests.servers.running import RunningServer
from tests.test_story import eventually

LINKS = 51  # odd, so that visitors who ask the two processes in turn ask each for every link
PER_SECOND = 120.0
COLD_PER_SECOND = 20.0
DOWN_SECONDS = 1.5
FROZEN_SECONDS = 4.0  # longer than it takes until a connection is tried, and libpq's two seconds for that
COLD_SECONDS = 0.6
RECOVERY_SECONDS = 5.0

logger = logging.getLogger(__name__)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def webs(keeper: Keeper, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Web]]:
    product = Product(keeper, tmp_path_factory.mktemp("database-faults"), {})
    yield started(product, environs=[{}, {"TIER1_ENTRIES": "10"}])
    product.stop()


@pytest.mark.parametrize(("fault", "seconds"), [(killed, DOWN_SECONDS), (frozen, FROZEN_SECONDS)])
def test_known_links_lead_on_and_no_link_is_called_unknown(
    fault: Fault, seconds: float, webs: list[Web], postgres: RunningServer
) -> None:
    all_well(webs)
    warm, cold = created_links(LINKS), [f"/{slug}" for slug in created_links(LINKS)]
    nowhere = [f"/never-{secrets.token_hex(6)}" for _ in range(LINKS)]
    connection.close()
    with visitors_of(webs) as visitors:
        with visitors.asking([f"/{slug}" for slug in warm], per_second=PER_SECOND) as answers:
            time.sleep(3 * LINKS / PER_SECOND)
            with fault(postgres), visitors.asking(cold + nowhere, per_second=COLD_PER_SECOND) as during:
                time.sleep(seconds)
            eventually(lambda: answered(webs, cold[-1]) == {302}, seconds=RECOVERY_SECONDS)
            eventually(lambda: answered(webs, nowhere[-1]) == {404}, seconds=RECOVERY_SECONDS)
        known = [answer for answer in answers if answer.path.removeprefix("/") in warm]
        unknown = [answer for answer in during if answer.path.removeprefix("/") not in warm]
        logger.info("%s, %s, slowest %.0f ms", statuses(known), statuses(unknown), visitors.slowest(unknown) * 1000)
        assert set(statuses(known)) == {302}
        assert set(statuses(unknown)) == {503}
        assert all(answer.header("retry-after") for answer in unknown)
        assert visitors.slowest(unknown) < COLD_SECONDS


def answered(webs: list[Web], path: str) -> set[int]:
    return {web.site.get(path).status for web in webs}
