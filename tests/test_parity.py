"""Front door and Django view: one table of requests through both over real HTTP, the same answer from each."""

import gzip
import re
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import brotli
import pytest
from django.utils import timezone

from linklayer.embedded.processes import Keeper
from profiles.models import Profile
from profiles.services import save_profile
from shortlinks import services
from shortlinks.models import ShortLink
from shortlinks.selectors import short_link_by_slug
from tests.product import Product
from tests.servers.addresses import ROOT

# What may differ: the moment, where the answer came from, and how the connection goes on.
VOLATILE = {"date", "age", "x-cache", "connection", "server", "transfer-encoding", "keep-alive"}

GET_TABLE = [
    "/parity-link",
    "/parity-link?utm_source=x&a=%20b",
    "/parity-link?",
    "/parity-permanent",
    "/parity-307",
    "/parity-disabled",
    "/parity-expired",
    "/parity-retired",
    "/parity-absent",
    "/PARITY-LINK",
    "/parity-link/",
    "//parity-link",
    "/parity%2Dlink",
    "/parity-link%00",
    "/parity-link%0d%0aX-Evil:%201",
    "/parity-link%2F..",
    "/..",
    "/%2e%2e/parity-link",
    "/ab",
    "/" + "x" * 5000,
    "/parity%E2%82%ACeuro",
    "/parity%FF",
    "/api/profiles/parity",
    "/api/profiles/PARITY",
    "/api/profiles/parity?x=1",
    "/api/profiles/parity/",
    "/api/profiles/parity/links",
    "/@parity",
    "/@Parity",
    "/@hidden",
    "/api/profiles/hidden",
    "/api/profiles/unknown-user",
    "/api/profiles/",
    "/@unknown-user",
    "/@",
    "/api/links/parity-link",
    "/api/nothing",
    "/admin",
    "/livez",
    "/favicon.ico",
    "/parity-link;a=b",
]
HEADER_TABLE = [
    ("other host", "/parity-link", ["Host: evil.example"]),
    ("host with port", "/parity-link", ["Host: localhost:1234"]),
    ("host in capitals", "/parity-link", ["Host: LOCALHOST"]),
    ("empty host", "/parity-link", ["Host:"]),
    ("a key that is none", "/parity-link", ["Host: localhost", "Authorization: Bearer nonsense"]),
    ("a condition", "/parity-link", ["Host: localhost", 'If-None-Match: "x"']),
    ("any condition", "/parity-link", ["Host: localhost", "If-None-Match: *"]),
    ("a range", "/parity-link", ["Host: localhost", "Range: bytes=0-1"]),
    ("gzip", "/parity-link", ["Host: localhost", "Accept-Encoding: gzip, br"]),
    ("a body", "/parity-link", ["Host: localhost", "Content-Length: 0"]),
    ("cookies", "/parity-link", ["Host: localhost", "Cookie: a=1; b=2"]),
    ("accepts nothing", "/parity-link", ["Host: localhost", "Accept: image/png"]),
    ("a profile that the client has", "/api/profiles/parity", ["Host: localhost", "If-None-Match: *"]),
    ("a profile it has not", "/api/profiles/parity", ["Host: localhost", 'If-None-Match: "other"']),
    ("a page that the client has", "/@parity", ["Host: localhost", 'If-None-Match: "other", *']),
    ("a profile and a key that is none", "/api/profiles/parity", ["Host: localhost", "Authorization: Bearer x"]),
    ("two conditions", "/@parity", ["Host: localhost", "If-None-Match: *", 'If-None-Match: "other"']),
]
# Encodings, and what they meet: the header lines, without Host.
ENCODING_TABLE = {
    "gzip": ["Accept-Encoding: gzip"],
    "a browser's": ["Accept-Encoding: gzip, deflate, br, zstd"],
    "weights": ["Accept-Encoding: br;q=0.5, GZIP"],
    "any": ["Accept-Encoding: *"],
    "none": ["Accept-Encoding: identity"],
    "not even none": ["Accept-Encoding: identity;q=0, *;q=0"],
    "empty": ["Accept-Encoding:"],
    "garbage": ["Accept-Encoding: ;,gzip;q=x,\xff"],
    "endless": ["Accept-Encoding: gzip, " + "x," * 2000],
    "two lines": ["Accept-Encoding: gzip;q=0.5", "Accept-Encoding: br"],
    "a condition that holds": ["Accept-Encoding: br", "If-None-Match: *"],
    "a condition that does not": ["Accept-Encoding: br", 'If-None-Match: "other"'],
    "a key that is none": ["Accept-Encoding: gzip", "Authorization: Bearer x"],
}
ENCODED = [
    "/api/profiles/parity",
    "/@parity",
    "/api/profiles/parity/links",
    "/parity-link",
    "/parity-disabled",
    "/parity-absent",
    "/@unknown-user",
    "/api/profiles/unknown-user",
    "/api/schema",
]

pytestmark = pytest.mark.django_db(transaction=True)

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def ports(keeper: Keeper, django_db_setup: None) -> Iterator[tuple[int, int]]:
    """The ports of the front door and of the desk."""
    folder = ROOT / "parity"
    folder.mkdir()
    settings = {
        "PUBLIC_URL": "http://links.example",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "LINKTREE_BASE_URL": "",
        "LINKTREE_API_KEY": "",
    }
    product = Product(keeper, folder, settings)
    _, web = product.web(processes=1)
    _, desk = product.desk()
    yield int(web.url.rpartition(":")[2]), int(desk.url.rpartition(":")[2])
    product.stop()


@pytest.fixture(autouse=True)
def links(ports: tuple[int, int]) -> None:
    """The links of the table; stored anew for each test, since the database is emptied after each."""
    for slug in (
        "parity-link",
        "parity-permanent",
        "parity-307",
        "parity-disabled",
        "parity-expired",
        "parity-retired",
    ):
        services.create_short_link(url=f"https://example.com/{slug}?q=1#part", slug=slug)
    by_slug = {slug: link_id(slug) for slug in ("parity-permanent", "parity-307")}
    services.change_short_link(by_slug["parity-permanent"], status_code=301)
    services.change_short_link(by_slug["parity-307"], status_code=307)
    ShortLink.objects.filter(slug="parity-expired").update(expires_at=timezone.now() - timedelta(days=1))
    services.disable_short_link(link_id("parity-disabled"))
    services.retire_short_link(link_id("parity-retired"))
    save_profile(Profile(username="parity", display_name="Parität", bio="A bio. " * 200, theme={"mode": "dark"}))
    save_profile(Profile(username="hidden", is_published=False))


def link_id(slug: str) -> int:
    return short_link_by_slug(slug).id


def answer(port: int, method: str, target: str, headers: list[str]) -> Answer:
    """Send one request as raw bytes; returns status, headers without the volatile ones, body."""
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *headers, "Connection: close"])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    start, _, body = received.partition(b"\r\n\r\n")
    lines = start.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if fields.get("transfer-encoding") == "chunked":
        body = dechunked(body)
    return int(lines[0].split()[1]), {name: fields[name] for name in fields if name not in VOLATILE}, body


def dechunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole


def both(ports: tuple[int, int], method: str, target: str, headers: list[str]) -> tuple[Answer, Answer]:
    """The front door is asked twice: the second time it holds the entry in tier 1."""
    web, desk = ports
    answer(web, method, target, headers)
    return answer(web, method, target, headers), answer(desk, method, target, headers)


def test_the_table_is_answered_alike(ports: tuple[int, int]) -> None:
    assert len(set(GET_TABLE)) >= 30
    differing = []
    for target in GET_TABLE:
        for method in ("GET", "HEAD"):
            front, django = both(ports, method, target, ["Host: localhost"])
            if front != django:
                differing.append((method, target, front, django))
    assert not differing


@pytest.mark.parametrize(("target", "headers"), [row[1:] for row in HEADER_TABLE], ids=[row[0] for row in HEADER_TABLE])
def test_unusual_headers_are_answered_alike(ports: tuple[int, int], target: str, headers: list[str]) -> None:
    front, django = both(ports, "GET", target, headers)
    assert front == django


@pytest.mark.parametrize("target", ENCODED)
def test_every_encoding_is_answered_alike(ports: tuple[int, int], target: str) -> None:
    differing = []
    for name, lines in ENCODING_TABLE.items():
        for method in ("GET", "HEAD"):
            front, django = both(ports, method, target, ["Host: localhost", *lines])
            if front != django:
                differing.append((name, method, front, django))
    assert not differing


@pytest.mark.parametrize("target", ["/api/profiles/parity", "/@parity"])
def test_a_profile_is_small_for_who_wants_it_small(ports: tuple[int, int], target: str) -> None:
    """The table would prove nothing if nothing were encoded."""
    _, plain_headers, plain = answer(ports[0], "GET", target, ["Host: localhost"])
    for encoding, decode in (("gzip", gzip.decompress), ("br", brotli.decompress)):
        asked = ["Host: localhost", f"Accept-Encoding: {encoding}"]
        before = front_door_answers(ports[0])[("profile", "200")]
        status, headers, body = answer(ports[0], "GET", target, asked)
        assert front_door_answers(ports[0])[("profile", "200")] == before + 1
        assert (status, headers["content-encoding"], decode(body)) == (200, encoding, plain)
        assert int(headers["content-length"]) == len(body) < len(plain) / 2
        assert headers["etag"] == plain_headers["etag"]
        assert headers["vary"] == plain_headers["vary"]
        assert headers["vary"].endswith("Accept-Encoding")
        _, headers_of_head, nothing = answer(ports[0], "HEAD", target, asked)
        assert (headers_of_head, nothing) == (headers, b"")


def test_no_row_of_the_table_is_a_server_error(ports: tuple[int, int]) -> None:
    statuses = {target: answer(ports[0], "GET", target, ["Host: localhost"])[0] for target in GET_TABLE}
    assert {target: status for target, status in statuses.items() if status >= 500} == {}


def test_the_statuses_are_those_of_the_design(ports: tuple[int, int]) -> None:
    expected = {
        "/parity-link": 302,
        "/parity-permanent": 301,
        "/parity-307": 307,
        "/parity-disabled": 410,
        "/parity-expired": 410,
        "/parity-retired": 410,
        "/parity-absent": 404,
        "/parity%2Dlink": 302,
        "/parity-link%00": 404,
    }
    found = {target: answer(ports[0], "GET", target, ["Host: localhost"])[0] for target in expected}
    assert found == expected


def test_the_front_door_answers_what_is_cached(ports: tuple[int, int]) -> None:
    """The table would prove nothing if both columns were Django's."""
    before = front_door_answers(ports[0])
    for target in (
        "/parity-link",
        "/parity-disabled",
        "/parity-absent",
        "/api/profiles/parity",
        "/@parity",
        "/@nobody",
    ):
        for _ in range(3):
            answer(ports[0], "GET", target, ["Host: localhost"])
    after = front_door_answers(ports[0])
    gained = {labels: after[labels] - before.get(labels, 0.0) for labels in after}
    assert gained[("link", "302")] >= 2
    assert gained[("link", "410")] >= 2
    assert gained[("link", "404")] >= 2
    assert gained[("profile", "200")] >= 4
    assert gained[("profile", "404")] >= 2


def front_door_answers(port: int) -> Counter[tuple[str, str]]:
    """Return the front door's own count, by namespace and status."""
    text = answer(port, "GET", "/metrics", ["Host: localhost"])[2].decode()
    pattern = r'linklayer_front_door_answers_total\{namespace="(.*)",status="(.*)"\} (.*)'
    return Counter({(namespace, status): int(float(count)) for namespace, status, count in re.findall(pattern, text)})
