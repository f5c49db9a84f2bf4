"""Front door and Django never differ: drawn requests, byte for byte, to two web processes behind the same edge.

One has the public reads in its event loop; the other (`tests.django_only`) has none, so that Django answers everything.
Status, headers (each line), body, interim answers and what becomes of the connection must be equal; only Date, Age and
X-Cache may differ. The draws are the same in every run.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from analytics.contracts import Event, decode_event
from analytics.frames import RECORD_MARK, scan
from analytics.segments import OPEN, SEALED, list_segments
from linklayer import tier2
from linklayer.embedded.processes import Keeper
from linklayer.tier2 import Envelope
from profiles.models import Profile
from profiles.resolver import profile_reads
from profiles.services import save_profile
from shortlinks import services
from shortlinks.models import ShortLink
from shortlinks.selectors import short_link_by_slug
from tests.drawn_requests import CACHED, ENDED, REDIRECTS, drawn_request, readable_request
from tests.product import Product
from tests.raw_http import RawReply, answer
from tests.servers.addresses import ROOT

MAY_DIFFER = ("date", "age", "x-cache")
COUNTED = [
    *("kind", "link_id", "profile_id", "slug_version", "is_private", "purpose", "country", "address", "user_agent"),
    *("referrer", "language", "query"),
]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def products(keeper: Keeper, django_db_setup: None) -> Iterator[tuple[Product, Product]]:
    """The web process with the front door, and the one in which Django answers everything."""
    started = []
    for settings_module in ("tests.settings", "tests.django_only"):
        folder = ROOT / f"parity-{settings_module}"
        folder.mkdir()
        environ = {
            "DJANGO_SETTINGS_MODULE": settings_module,
            "PUBLIC_URL": "http://links.example",
            "ALLOWED_HOSTS": "localhost,.links.example,[::1],xn--bcher-kva.example",
            "TRUSTED_PROXIES": "127.0.0.1",
            "RATELIMIT_ENABLE": "false",  # both share the counts: one would refuse what the other still answers
            "LINKTREE_BASE_URL": "",
            "LINKTREE_API_KEY": "",
        }
        product = Product(keeper, folder, environ)
        product.web(processes=1)
        started.append(product)
    yield started[0], started[1]
    for product in started:
        product.stop()


@pytest.fixture(autouse=True)
def tags(products: tuple[Product, Product]) -> dict[str, str]:
    """Store what is asked for, anew for each test, since the database is emptied after each; let both processes hold
    it. Returns the entity tags by path."""
    for slug in (*REDIRECTS, *ENDED):
        link_id = services.create_short_link(url=f"https://example.com/{slug}?q=1#part", slug=slug).id
        if slug in REDIRECTS:
            services.change_short_link(link_id, status_code=REDIRECTS[slug])
    ShortLink.objects.filter(slug="was-expired").update(expires_at=timezone.now() - timedelta(days=1))
    ShortLink.objects.filter(slug="was-refused").update(destination="http://127.0.0.1/", policy_version=0)
    services.disable_short_link(short_link_by_slug("was-disabled").id)
    services.retire_short_link(short_link_by_slug("was-retired").id)
    save_profile(Profile(username="parity", display_name="Parität", bio="A bio", theme={"mode": "dark"}))
    save_profile(Profile(username="hidden", is_published=False))
    answers = {path: [answer(product.web_port, request("GET", path)) for product in products] for path in CACHED}
    return {path: replies[0].header("etag") or '"none"' for path, replies in answers.items()}


def request(method: str, target: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode("latin-1")


def both(products: tuple[Product, Product], sent: bytes) -> tuple[RawReply, RawReply]:
    """Return the answers of the front door and of Django without what may differ."""
    is_head = sent.startswith(b"HEAD ")
    front, django = (comparable(answer(product.web_port, sent, is_head=is_head)) for product in products)
    return front, django


def comparable(reply: RawReply) -> RawReply:
    """Return the answer without what may differ, and without the random tokens of a page that sets a cookie."""
    kept = tuple(pair for pair in reply.headers if pair[0] not in MAY_DIFFER)
    body = reply.body
    if reply.header("set-cookie") is not None:
        kept = tuple((name, value if name != "set-cookie" else value.partition("=")[0]) for name, value in kept)
        body = re.sub(rb"[A-Za-z0-9]{64}", b"", body)
    return replace(reply, headers=kept, body=body)


def drawn(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same draws in every run; the test's fixtures are set up once for all of them."""
    return hypothesis_settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# --- over HTTP


@drawn(700)
@given(sent=drawn_request())
def test_any_request_is_answered_alike(products: tuple[Product, Product], sent: bytes) -> None:
    front, django = both(products, sent)
    assert front == django, f"{front}\n{django}"


@drawn(500)
@given(sent=readable_request())
def test_what_the_front_door_answers_is_answered_alike(
    products: tuple[Product, Product], tags: dict[str, str], sent: bytes
) -> None:
    path = sent.split(b" ")[1].partition(b"?")[0].decode()
    front, django = both(products, sent.replace(b"ETAG", tags[path].encode()))
    assert front == django, f"{front}\n{django}"


def test_the_front_door_answered_and_the_other_did_not(products: tuple[Product, Product]) -> None:
    """The draws would prove nothing if both columns were Django's."""
    before = [front_door_answers(product) for product in products]
    paths = [path for path in CACHED if not path.endswith(("never-was", "hidden", "nobody"))]
    for path in paths:
        for method in ("GET", "HEAD"):
            front, django = both(products, request(method, path))
            assert front == django
    gained = [front_door_answers(product) - count for product, count in zip(products, before, strict=True)]
    assert gained == [2 * len(paths), 0]


def test_what_was_counted_is_the_same(products: tuple[Product, Product]) -> None:
    """Each request is asked of both: what their spools hold of it must be equal."""
    marker = "parity-counted"
    lines: list[list[str]] = [
        [f"User-Agent: {marker}"],
        [f"User-Agent: {marker}", "User-Agent: again"],
        [f"User-Agent: {marker}", "Referer: https://a.example/\xe9", "Referer: https://b.example/"],
        [f"User-Agent: {marker}", "Accept-Language: de-AT", "Accept-Language: en"],
        [f"User-Agent: {marker}", "X-Forwarded-For: 203.0.113.77, 198.51.100.4"],
        [f"User-Agent: {marker}", "X-Forwarded-For: 203.0.113.77", "X-Forwarded-For: 127.0.0.1"],
        [f"User-Agent: {marker}", "X-Forwarded-For: 203.0.113.77", "X_Forwarded_For: 6.6.6.6"],
        [f"User-Agent: {marker}", "Sec-Purpose: prefetch", "Purpose: preview"],
        [f"User-Agent: {marker}", "DNT: 1", "Sec-GPC: 1"],
        [f"User-Agent: {marker}", "Sec-GPC: 1", "Sec-GPC: 1"],
        [f"User-Agent: {marker} \xff\t " + "x" * 2000],
    ]
    for path in ('/way-302?a=%20b&c="d"', "/way-308", "/@parity", "/api/profiles/parity", "/was-disabled"):
        for method in ("GET", "HEAD"):
            for more in lines:
                front, django = both(products, request(method, path, *more))
                assert front == django
    front_events, django_events = (counted(product, marker) for product in products)
    assert len(front_events) == 4 * len(lines)
    assert front_events == django_events


def test_a_stale_profile_is_shown_alike(products: tuple[Product, Product]) -> None:
    """The source failed and the cache holds an older copy: both say so and send the same."""
    profile = Profile.objects.get(username="parity")
    key = profile_reads.full_key(str(profile.pk))
    held = tier2.get(key)
    assert held is not None
    now = time.time()
    older = {**held.value, "profile": {**held.value["profile"], "bio": "older"}}
    tier2.forget(key, held.version + 1, keep_stale=False)
    tier2.delete_value(key)
    tier2.store(key, Envelope(held.version + 1, older, now - 1000, now + 30, 0.0, is_stale=True), 60)
    for path in ("/api/profiles/parity", "/@parity"):
        for method in ("GET", "HEAD"):
            for _ in range(2):
                replies = [
                    answer(product.web_port, request(method, path), is_head=method == "HEAD") for product in products
                ]
                assert [reply.header("x-cache") for reply in replies] == ["stale", "stale"]
                assert all(1000 <= int(reply.header("age") or 0) <= 1060 for reply in replies)
                assert comparable(replies[0]) == comparable(replies[1])
        assert b"older" in answer(products[0].web_port, request("GET", path)).body


def test_a_link_that_expires_while_it_is_cached_ends_in_both(products: tuple[Product, Product]) -> None:
    link_id = services.create_short_link(url="https://example.com/", slug="soon-over").id
    ends_at = timezone.now() + timedelta(seconds=1.5)
    services.change_short_link(link_id, expires_at=ends_at)
    sent = request("GET", "/soon-over")
    for _ in range(2):
        before = both(products, sent)
    assert (before[0].status, before[0]) == (302, before[1])
    while timezone.now() <= ends_at:
        time.sleep(0.05)
    after = both(products, sent)
    assert (after[0].status, after[0]) == (410, after[1])


def front_door_answers(product: Product) -> float:
    text = answer(product.web_port, request("GET", "/metrics")).body.decode()
    return sum(map(float, re.findall(r"^linklayer_front_door_answers_total\{.*\} (.*)$", text, re.MULTILINE)))


def counted(product: Product, marker: str) -> list[tuple[Any, ...]]:
    """Return what the spool holds of requests with this user agent, in order, without moment and visitor hash."""
    events: list[Event] = []
    for segment in list_segments(product.spool, OPEN, SEALED):
        data = segment.path.read_bytes()
        events += [decode_event(frame.payload(data)) for frame in scan(data) if frame.mark == RECORD_MARK]
    found = sorted((event for event in events if event.user_agent.startswith(marker)), key=lambda event: event.sequence)
    return [tuple(getattr(event, name) for name in COUNTED) for event in found]
