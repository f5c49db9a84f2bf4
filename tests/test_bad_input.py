"""Every public endpoint under every kind of nonsense: a 4xx that says what is wrong, never a 500, nothing stored."""

import itertools
import json

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from linklayer.keys import create_api_key
from linklayer.models import OutboxEvent, PendingForget
from profiles.models import Profile
from shortlinks.models import ShortLink
from webhooks.models import WebhookReceipt

pytestmark = pytest.mark.django_db

BODIES: dict[str, bytes] = {
    "cut": b'{"url": ',
    "no UTF-8": b'{"url": "\xff\xfe"}',
    "NUL": b'{"url": "https://example.com/\\u0000", "links": [{"id": "\\u0000"}]}',
    "lone surrogate": b'{"url": "https://example.com/\\ud800", "links": [{"id": "\\ud800"}]}',
    "list": b"[]",
    "text": b'"https://example.com/"',
    "null": b"null",
    "number": b"12",
    "NaN": b'{"url": NaN, "links": NaN}',
    "wrong types": b'{"url": {"a": 1}, "slug": [], "links": "x"}',
    "numbers for text": b'{"url": 1, "slug": 2, "links": [1]}',
    "huge number": b'{"url": 1' + b"0" * 400 + b', "links": [{"id": 1, "position": 1' + b"0" * 400 + b"}]}",
    "unknown field": b'{"url": "https://example.com/", "hack": true, "links": [{"id": "x", "hack": true}]}',
    "deep": b'{"url":' + b"[" * 500 + b"]" * 500 + b', "links": []}',
    "empty object": b"{}",
    "oversized": b'{"url": "' + b"x" * 70_000 + b'", "links": []}',
    "script": b'{"url": "javascript:alert(1)", "links": [{"id": "1", "url": "javascript:alert(1)"}]}',
    "long slug": b'{"url": "https://example.com/", "slug": "' + b"s" * 5000 + b'", "links": [{"id": "none"}]}',
    "traversal slug": b'{"url": "https://example.com/", "slug": "../x", "links": [{"id": "../x"}]}',
}
NAMES = ["%2F", "..%2f..", "%00", "%ff", "a%2Fb", "x" * 5000, "%F0%9F%92%A9", "a b", "'--", "%0d%0aX:1", "{{7*7}}"]


@pytest.fixture
def client(settings: Settings) -> Client:
    """A client whose server errors are answers, not exceptions; with no limit in its way."""
    settings.RATELIMIT_ENABLE = False
    settings.LINKTREE_BASE_URL = ""
    return Client(raise_request_exception=False, headers={"host": "localhost"})


@pytest.fixture
def key() -> dict[str, str]:
    _, text = create_api_key(name="all", scopes=["admin"])
    return {"authorization": f"Bearer {text}"}


def stored() -> tuple[int, ...]:
    models = (ShortLink, Profile, OutboxEvent, PendingForget, WebhookReceipt)
    return tuple(model.objects.count() for model in models)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/links"),
        ("PATCH", "/api/links/nothing-here"),
        ("PATCH", "/api/profiles/nobody/links"),
        ("POST", "/webhooks/linktree"),
    ],
)
def test_a_bad_body_is_a_4xx_and_stores_nothing(
    client: Client, key: dict[str, str], method: str, path: str, body: bytes
) -> None:
    before = stored()
    answer = client.generic(method, path, body, content_type="application/json", headers=key)
    assert 400 <= answer.status_code < 500
    assert answer["Content-Type"].startswith(("application/problem+json", "application/json"))
    assert isinstance(json.loads(answer.content), dict)
    assert stored() == before


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_bad_new_link_names_the_field(client: Client, body: bytes) -> None:
    answer = client.post("/api/links", body, content_type="application/json")
    problem = json.loads(answer.content)
    assert answer["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == answer.status_code
    assert answer.status_code == 413 or problem["errors"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/{}"),
        ("GET", "/@{}"),
        ("GET", "/api/profiles/{}"),
        ("GET", "/api/profiles/{}/links"),
        ("PATCH", "/api/profiles/{}/links"),
        ("GET", "/api/profiles/{}/stats"),
        ("POST", "/api/cache/invalidate/{}"),
        ("GET", "/api/links/{}"),
        ("PATCH", "/api/links/{}"),
        ("DELETE", "/api/links/{}"),
        ("GET", "/api/links/{}/stats"),
    ],
)
def test_a_bad_name_is_a_4xx(client: Client, key: dict[str, str], method: str, path: str) -> None:
    for name in NAMES:
        answer = client.generic(method, path.format(name), b"{}", content_type="application/json", headers=key)
        assert 400 <= answer.status_code < 500, name


@pytest.mark.parametrize("path", ["/api/links", "/api/links/abc", "/api/profiles/abc/links", "/webhooks/linktree", "/"])
@pytest.mark.parametrize("method", ["PUT", "TRACE", "NONSENSE"])
def test_an_unknown_method_is_405(client: Client, key: dict[str, str], path: str, method: str) -> None:
    assert client.generic(method, path, headers=key).status_code == 405


def test_bad_queries_are_4xx_or_ignored(client: Client, key: dict[str, str]) -> None:
    ShortLink.objects.create(slug="known", destination="https://example.com/", policy_version=1)
    values = ["", "x", "-1", "9" * 400, "%00", "%ff", "Mars/Olympus", "../../etc/passwd", "[]"]
    names = ["period", "timezone", "granularity", "cursor", "limit", "search", "fresh", "from", "to"]
    for path, name, value in itertools.product(["/api/links", "/api/links/known/stats"], names, values):
        answer = client.get(f"{path}?{name}={value}", headers=key)
        assert answer.status_code < 500, (path, name, value)
        if answer.status_code >= 400:
            assert name in json.loads(answer.content)["errors"], (path, name, value)
