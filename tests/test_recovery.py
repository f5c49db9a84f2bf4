"""Two web processes with a cold or lost cache: one load per key, warmed by themselves, and right again at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django_redis import get_redis_connection
from prometheus_client.parser import text_string_to_metric_families

from linklayer import tier2, warming
from linklayer.embedded.processes import Keeper
from linklayer.keys import create_api_key
from profiles import resolver
from profiles.models import Profile
from shortlinks import services
from tests.product import Product, Site
from tests.servers.running import RunningServer
from tests.test_story import eventually

VISITORS = 500
SEEN_WITHIN_SECONDS = 2.0

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.production]


@dataclass(frozen=True, slots=True)
class Web:
    site: Site
    log: Path
    key: str

    def counted(self, metric: str, **labels: str) -> float:
        """What all processes have counted so far."""
        text = self.site.get("/metrics").body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        )

    def warm_ups(self) -> int:
        return self.log.read_text().count("cache_warm_up_begins")


@pytest.fixture
def web(keeper: Keeper, transactional_db: None, tmp_path: Path) -> Iterator[Web]:
    """Two processes that leave the cache cold until it loses its data."""
    assert tier2.lock(warming.LOCK_NAME, 60) is None  # the test run has it
    product = Product(keeper, tmp_path, {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")})
    _, key = create_api_key(name="recovery", scopes=["links:write"])
    site, _server = product.web(processes=2)
    yield Web(site, tmp_path / "web.log", key)
    product.stop()


async def asked_at_once(site: Site, path: str, visitors: int) -> Counter[str]:
    """Let all connect first, then ask together; returns how often which status line came."""
    host, _, port = site.url.removeprefix("http://").partition(":")
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(visitors)]
    for _, writer in connections:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(30):
        lines = [await reader.readline() for reader, _ in connections]
    for _, writer in connections:
        writer.close()
    return Counter(line.decode().rstrip() for line in lines)


def test_five_hundred_visitors_of_a_cold_link_cost_one_load(web: Web) -> None:
    for number in range(20):  # both processes have met Django and the database
        assert web.site.get(f"/unknown-{number}").status == 404
    before = web.counted("linklayer_cache_loads_total", namespace="link")
    services.create_short_link(url="https://example.com/cold", slug="cold-link")
    answers = asyncio.run(asked_at_once(web.site, "/cold-link", VISITORS))
    assert answers == {"HTTP/1.1 302 Found": VISITORS}
    assert web.counted("linklayer_cache_loads_total", namespace="link") == before + 1


def test_the_first_visitor_of_a_warmed_profile_does_not_enter_django(web: Web) -> None:
    Profile.objects.create(username="Warmed", display_name="Warmed")
    assert list(warming.warmed(resolver.warm, 10, per_second=1000)) == [1]
    answer = web.site.get("/api/profiles/warmed")
    assert (answer.status, answer.headers["X-Cache"]) == (200, "hit-l2")
    assert web.counted("linklayer_front_door_answers_total", namespace="profile") == 1
    for namespace in ("profile", "username"):
        assert web.counted("linklayer_cache_loads_total", namespace=namespace) == 0


def test_after_a_restart_of_redis_every_process_sees_the_edit_and_one_warms_the_cache(
    web: Web, cache_server: RunningServer
) -> None:
    for slug in ("edited-link", "unread-link"):
        services.create_short_link(url="https://example.com/old", slug=slug)
    assert destinations(web) == {"https://example.com/old"}
    cache_server.kill()
    url = "https://example.com/new"
    assert web.site.patch("/api/links/edited-link", {"url": url}, key=web.key).status == 200
    time.sleep(SEEN_WITHIN_SECONDS)
    assert destinations(web) == {url}
    cache_server.start()
    until = time.monotonic() + SEEN_WITHIN_SECONDS
    while time.monotonic() < until:
        assert destinations(web) == {url}
    eventually(lambda: is_in_tier_2("unread-link"))
    assert web.warm_ups() == 1


def test_after_a_flush_that_nobody_noticed_one_process_warms_the_cache(web: Web) -> None:
    services.create_short_link(url="https://example.com/", slug="flushed-link")
    get_redis_connection("reads").flushall()
    eventually(lambda: is_in_tier_2("flushed-link"))
    time.sleep(1)  # the other process has heard of it too by now
    assert web.warm_ups() == 1
    assert web.counted("linklayer_cache_loads_total", namespace="link") == 0


def destinations(web: Web) -> set[str | None]:
    """Where the link leads, asked often enough to reach both processes; HEAD is no click."""
    return {web.site.ask("HEAD", "/edited-link").headers["Location"] for _ in range(20)}


def is_in_tier_2(slug: str) -> bool:
    try:
        return tier2.get(f"link:{slug}") is not None
    except tier2.CacheDown:
        return False
