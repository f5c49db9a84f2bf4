"""Every server and process of the product is broken while visitors follow links; nobody is turned away, and in the end
exactly the answered redirects are stored as clicks."""

import http.client
import logging
import random
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from django.db import connection
from kombu import Queue

from linklayer.celery import app
from linklayer.embedded.processes import Keeper
from linklayer.keys import create_api_key
from linklayer.models import DeadLetter
from linklayer.topology import DEAD_LETTERS
from tests.product import Product, Reply, Site
from tests.reads.faults import frozen
from tests.servers.addresses import free_port
from tests.servers.running import RunningServer
from tests.test_story import eventually

SLUGS = 8
CLIENTS = 8
PER_SECOND = 60.0
OUTAGE_SECONDS = 3.0
SEEN_WITHIN_SECONDS = 2.0
FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/140.0"}

logger = logging.getLogger(__name__)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180), pytest.mark.production]


@dataclass(slots=True)
class Seen:
    """What the visitors saw during one fault. slowest: seconds from the moment when a known link was to be asked."""

    answered: int = 0
    unknown: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Visitors:
    """Follow known links at a steady pace, whatever the answers take (open loop); each tenth asks for what never was.

    A web process that does not take the connection is passed by, as a balancer would.
    """

    def __init__(self, sites: list[Site], slugs: list[str]) -> None:
        self.answered: Counter[str] = Counter()
        self.seen = Seen()
        self.database_is_up = True
        self._sites = sites
        self._slugs = slugs
        self._lock = threading.Lock()
        self._pace = threading.Lock()
        self._stopping = threading.Event()
        self._clients = ThreadPoolExecutor(CLIENTS)
        self._under_way = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._clients.shutdown()

    @contextmanager
    def nobody_under_way(self) -> Iterator[None]:
        """Hold the pace: nobody waits for an answer, so that it is known for each click whether it was answered."""
        with self._pace:
            eventually(lambda: self._under_way == 0)
            yield

    def _run(self) -> None:
        due_at = time.monotonic()
        number = 0
        while not self._stopping.wait(max(0.0, due_at - time.monotonic())):
            with self._pace:
                due_at = max(due_at, time.monotonic() - 1 / PER_SECOND)  # what was held up is not made up for
                with self._lock:
                    self._under_way += 1
                self._clients.submit(self._visit, number, due_at)
            number += 1
            due_at += 1 / PER_SECOND

    def _visit(self, number: int, due_at: float) -> None:
        try:
            if number % 10 == 9:
                self._ask_for_unknown(number)
            else:
                self._follow(number, due_at)
        except Exception as error:  # noqa: BLE001 - a visitor who got no answer at all
            with self._lock:
                self.seen.wrong.append(repr(error))
        finally:
            with self._lock:
                self._under_way -= 1

    def _follow(self, number: int, due_at: float) -> None:
        slug = self._slugs[number % len(self._slugs)]
        reply = self._asked(number, slug)
        with self._lock:
            self.seen.slowest = max(self.seen.slowest, time.monotonic() - due_at)
            if reply.status == 302:
                self.answered[slug] += 1
                self.seen.answered += 1
            else:
                self.seen.wrong.append(f"known link: {reply.status}")

    def _ask_for_unknown(self, number: int) -> None:
        was_up = self.database_is_up
        reply = self._asked(number, unknown_slug())
        may_be_404 = was_up or self.database_is_up
        is_right = (reply.status == 404 and may_be_404) or (reply.status == 503 and "Retry-After" in reply.headers)
        with self._lock:
            self.seen.unknown[reply.status] += 1
            if not is_right:
                self.seen.wrong.append(f"unknown link: {reply.status}")

    def _asked(self, number: int, slug: str) -> Reply:
        first, second = self._sites[number // 10 % 2], self._sites[(number // 10 + 1) % 2]
        try:
            return first.get(f"/{slug}", headers=FIREFOX)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError):
            return second.get(f"/{slug}", headers=FIREFOX)


@dataclass(frozen=True, slots=True)
class System:
    product: Product
    sites: list[Site]
    webs: list[RunningServer]
    shipper: RunningServer
    worker: RunningServer
    key: str
    slugs: list[str]


@pytest.fixture
def system(keeper: Keeper, transactional_db: None, rabbitmq: RunningServer, tmp_path: Path) -> Iterator[System]:
    """Two web processes at addresses of their own, a shipper and a clicks worker, with links known to both."""
    product = Product(keeper, tmp_path, {"AMQP_URL": rabbitmq.url})
    with dead_letter_queue() as queue:
        queue.purge()  # the broker is shared by all tests
    _, key = create_api_key(name="chaos", scopes=["links:write"])
    shipper, worker = product.shipper(), product.worker("clicks.v1")
    first, first_web = product.web(processes=1)
    product.web_port = free_port()
    second, second_web = product.web(processes=1)
    slugs = []
    for number in range(SLUGS):
        made = first.post("/api/links", {"url": f"https://example.com/chaos/{number}"}, key=key)
        assert made.status == 201, made.body
        slugs.append(made.json()["slug"])
    yield System(product, [first, second], [first_web, second_web], shipper, worker, key, slugs)
    product.stop()


def test_nobody_is_turned_away_and_every_click_is_counted_once(
    system: System, postgres: RunningServer, cache_server: RunningServer, rabbitmq: RunningServer
) -> None:
    with Visitors(system.sites, system.slugs) as visitors:
        with watched(visitors, "nothing"):
            every_process_knows_every_link(system, visitors)
            an_edit_is_seen_everywhere(system)
        with watched(visitors, "Redis frozen"):
            redis_freezes(system, cache_server)
        with watched(visitors, "RabbitMQ killed"):
            rabbitmq.kill()
            time.sleep(1)
            rabbitmq.start()
        with watched(visitors, "RabbitMQ frozen"), frozen(rabbitmq):
            time.sleep(OUTAGE_SECONDS)
        with watched(visitors, "PostgreSQL stopped"):
            postgresql_stops(system, visitors, postgres)
        with watched(visitors, "PostgreSQL frozen"):
            postgresql_freezes(system, visitors, postgres)
        with watched(visitors, "clicks worker and shipper killed"):
            system.worker.kill()
            system.shipper.kill()
            time.sleep(1)
            system.worker.start()
            system.shipper.start()
        with watched(visitors, "web killed"):
            with visitors.nobody_under_way():
                system.webs[0].kill()
            time.sleep(1)
            system.webs[0].start()
    for web in system.webs:
        web.stop()
    every_click_is_stored_once(system, visitors.answered)


@contextmanager
def watched(visitors: Visitors, fault: str) -> Iterator[None]:
    """Whatever is done here, the visitors must have seen no wrong answer, then and for a second after."""
    seen = visitors.seen = Seen()
    yield
    time.sleep(1)
    logger.info("%s: %s, slowest known link %.0f ms", fault, seen, seen.slowest * 1000)
    assert not seen.wrong, (fault, Counter(seen.wrong))
    assert seen.answered


def every_process_knows_every_link(system: System, visitors: Visitors) -> None:
    """The visitors have asked each of the two for each of the links."""
    eventually(lambda: min(visitors.answered[slug] for slug in system.slugs) >= 30)


def an_edit_is_seen_everywhere(system: System) -> None:
    url = edited(system, "while all is well")
    eventually(lambda: destinations(system) == {url}, seconds=SEEN_WITHIN_SECONDS)


def redis_freezes(system: System, cache_server: RunningServer) -> None:
    """An edit that the cache has not heard of is seen all the same, and nobody brings the old value back."""
    with frozen(cache_server):
        time.sleep(OUTAGE_SECONDS / 2)
        url = edited(system, "while Redis is frozen")
        time.sleep(OUTAGE_SECONDS / 2)
        assert degraded(system) == {"cache"}
    time.sleep(SEEN_WITHIN_SECONDS)
    until = time.monotonic() + OUTAGE_SECONDS
    while time.monotonic() < until:
        assert destinations(system) == {url}
        time.sleep(0.1)


def postgresql_stops(system: System, visitors: Visitors, postgres: RunningServer) -> None:
    connection.close()
    postgres.stop()
    visitors.database_is_up = False
    time.sleep(OUTAGE_SECONDS)
    assert degraded(system) == {"database"}
    visitors.database_is_up = True
    postgres.start()


def postgresql_freezes(system: System, visitors: Visitors, postgres: RunningServer) -> None:
    """It takes connections and queries, and answers none of them: only we ourselves can end the wait."""
    connection.close()
    with frozen(postgres):
        visitors.database_is_up = False
        for site in system.sites:
            assert site.get(f"/{unknown_slug()}").status == 503
        assert degraded(system) == {"database"}
        time.sleep(OUTAGE_SECONDS)
        visitors.database_is_up = True
    eventually(lambda: all(site.get(f"/{unknown_slug()}").status == 404 for site in system.sites))


def edited(system: System, moment: str) -> str:
    """Change the last link at the first web process; returns its new destination."""
    url = f"https://example.com/edited?{moment.replace(' ', '-')}"
    reply = system.sites[0].patch(f"/api/links/{system.slugs[-1]}", {"url": url}, key=system.key)
    assert reply.status == 200, reply.body
    return url


def destinations(system: System) -> set[str | None]:
    """Where the edited link leads, asked of each web process; HEAD is no click."""
    return {site.ask("HEAD", f"/{system.slugs[-1]}").headers["Location"] for site in system.sites}


def degraded(system: System) -> set[str]:
    """What all web processes call degraded; each says so with 200, for it still answers known links."""
    found = set()
    for site in system.sites:
        started = time.monotonic()
        reply = site.get("/readyz")
        logger.info("readyz: %s in %.0f ms", reply.body, (time.monotonic() - started) * 1000)
        assert reply.status == 200, reply.body
        found.update(reply.json()["degraded"])
    return found


def unknown_slug() -> str:
    return f"never-{random.getrandbits(48):x}"


def every_click_is_stored_once(system: System, answered: Counter[str]) -> None:
    eventually(lambda: not [*system.product.spool.glob("*.open"), *system.product.spool.glob("*.sealed")])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT slug, count(*), count(DISTINCT (generation, sequence)) FROM analytics_click"
            " JOIN shortlinks_shortlink link ON link.id = link_id GROUP BY slug"
        )
        stored = {slug: counts for slug, *counts in cursor.fetchall()}
    assert stored == {slug: [clicks, clicks] for slug, clicks in answered.items()}
    assert not DeadLetter.objects.exists()
    with dead_letter_queue() as queue:
        assert queue.get() is None
    logger.info("%d redirects answered, and as many clicks stored", answered.total())


@contextmanager
def dead_letter_queue() -> Iterator[Queue]:
    with app.connection_for_read() as broker, broker.channel() as channel:
        queue = DEAD_LETTERS(channel)
        queue.declare()
        yield queue
