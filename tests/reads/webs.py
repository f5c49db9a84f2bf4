"""Web processes of the product, one each, with what they say about themselves in /metrics."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from shortlinks.models import ShortLink
from tests.product import Product, Site
from tests.reads.visitors import Visitors
from tests.servers.addresses import free_port
from tests.servers.running import RunningServer
from tests.test_story import eventually

WELL_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Web:
    """One web process."""

    site: Site
    server: RunningServer
    port: int

    def counted(self, name: str, **labels: str) -> float:
        """Return the sum of the counter over all children with these labels."""
        text = self.site.get("/metrics").body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def is_well(self) -> bool:
        return not self.counted("linklayer_cache_breaker_open") and not self.site.get("/readyz").json()["degraded"]

    @property
    def worker(self) -> int:
        """The pid of the process that answers, below gunicorn's own."""
        (pid,) = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split()
        return int(pid)


def visitors_of(webs: Sequence[Web]) -> Visitors:
    return Visitors({web.port: web.worker for web in webs})


def started(product: Product, *, environs: Sequence[dict[str, str]]) -> list[Web]:
    """Start a web of one process per environ, each at an address of its own."""
    webs = []
    for environ in environs:
        product.web_port = free_port()
        site, server = product.web(processes=1, environ=environ)
        webs.append(Web(site, server, product.web_port))
    return webs


def all_well(webs: Iterable[Web]) -> None:
    """Wait until each trusts its cache and its database."""
    eventually(lambda: all(web.is_well() for web in webs), seconds=WELL_SECONDS)


def loads(webs: Iterable[Web], namespace: str = "link") -> list[float]:
    """Return how often each has asked the source."""
    return [web.counted("linklayer_cache_loads_total", namespace=namespace) for web in webs]


def hits_and_misses(web: Web, namespace: str = "link") -> tuple[float, float]:
    """Return how many reads were answered from tier 1 or 2 so far, and how many were not.

    Of those from tier 2 the few that Django answered are left out: they are counted with the front door's.
    """
    by_django = web.counted("linklayer_cache_reads_total", namespace=namespace)
    by_django -= web.counted("linklayer_cache_reads_total", namespace=namespace, source="hit-l2")
    misses = web.counted("linklayer_cache_reads_total", namespace=namespace, source="miss")
    return web.counted("linklayer_front_door_answers_total", namespace=namespace) + by_django - misses, misses


def created_links(number: int) -> list[str]:
    """Create short links that no process has seen; returns their slugs."""
    prefix = secrets.token_hex(4)
    slugs = [f"{prefix}-{index}" for index in range(number)]
    ShortLink.objects.bulk_create(ShortLink(slug=slug, destination=f"https://example.com/{slug}") for slug in slugs)
    return slugs
