"""The API of short links: what it answers to good requests, to bad ones, and to too many."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from shortlinks import services
from shortlinks.models import IdempotentCreation, ShortLink
from tests.shortlinks.conftest import Call
from tests.shortlinks.test_services import at_once

URL = "https://www.python.org/"

pytestmark = pytest.mark.django_db


def problem(response: Any, status: int, *fields: str) -> dict[str, Any]:
    """Check that the response is a problem of this status that names these fields; return it."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert set(fields) <= set(document.get("errors", {})), document
    return document


# --- creating


def test_anybody_makes_a_short_link(call: Call) -> None:
    response: Any = call("POST", "/api/links", {"url": "https://bücher.de/?q=ü", "slug": "My-Books"})
    assert response.status_code == 201
    body = response.json()
    assert body["slug"] == "My-Books"
    assert body["shortUrl"] == "http://testserver/My-Books"
    assert body["url"] == "https://xn--bcher-kva.de/?q=%C3%BC"
    assert (body["clickCount"], body["isActive"], body["isAnonymous"], body["statusCode"]) == (0, True, True, 302)
    assert datetime.fromisoformat(body["createdAt"]).tzinfo is not None
    assert response["Location"] == "/api/links/My-Books"


def test_a_link_made_with_a_key_is_not_anonymous(call: Call, editor: str, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://go.brand.io"
    moment = "2199-01-01T00:00:00Z"
    body = call("POST", "/api/links", {"url": URL, "statusCode": 308, "expiresAt": moment}, key=editor).json()
    assert body["isAnonymous"] is False
    assert body["shortUrl"] == f"https://go.brand.io/{body['slug']}"
    assert (body["statusCode"], body["expiresAt"]) == (308, moment)


BAD_BODIES: list[tuple[Any, tuple[str, ...]]] = [
    (b"", ()),
    (b"{", ()),
    (b'{"url": NaN}', ()),
    (b"\xff\xfe", ()),
    (b"[" * 30000, ()),
    (b'{"url": ' + b"9" * 5000 + b"}", ()),
    ([], ()),
    ("https://www.python.org/", ()),
    (None, ()),
    ({}, ("url",)),
    ({"url": None}, ("url",)),
    ({"url": 5}, ("url",)),
    ({"url": True}, ("url",)),
    ({"url": []}, ("url",)),
    ({"url": {"a": {"b": [1]}}}, ("url",)),
    ({"url": ""}, ("url",)),
    ({"url": "   "}, ("url",)),
    ({"url": "https://a.org/\x00"}, ("url",)),
    (b'{"url": "https://a.org/\\ud800"}', ("url",)),
    ({"url": "https://a.org/" + "a" * 5000}, ("url",)),
    ({"url": "javascript:alert(1)"}, ("url",)),
    ({"url": "http://localhost/"}, ("url",)),
    ({"url": "https://user@a.org/"}, ("url",)),
    ({"url": "http://testserver/abc"}, ("url",)),
    ({"url": URL, "slug": ""}, ("slug",)),
    ({"url": URL, "slug": 12345}, ("slug",)),
    ({"url": URL, "slug": ["abc"]}, ("slug",)),
    ({"url": URL, "slug": "a%2Fb"}, ("slug",)),
    ({"url": URL, "slug": "../x"}, ("slug",)),
    ({"url": URL, "slug": ".."}, ("slug",)),
    ({"url": URL, "slug": "a" * 5000}, ("slug",)),
    ({"url": URL, "slug": "abc\x00"}, ("slug",)),
    ({"url": URL, "slug": "\uff41bc"}, ("slug",)),
    ({"url": URL, "slug": "admin"}, ("slug",)),
    ({"url": "ftp://a", "slug": "Admin"}, ("url", "slug")),
    ({"url": URL, "statusCode": "302"}, ("statusCode",)),
    ({"url": URL, "statusCode": 302.0}, ("statusCode",)),
    ({"url": URL, "statusCode": True}, ("statusCode",)),
    ({"url": URL, "statusCode": 2**70}, ("statusCode",)),
    ({"url": URL, "statusCode": 200}, ("statusCode",)),
    ({"url": URL, "expiresAt": 5}, ("expiresAt",)),
    ({"url": URL, "expiresAt": "tomorrow"}, ("expiresAt",)),
    ({"url": URL, "expiresAt": "2001-01-01T00:00:00Z"}, ("expiresAt",)),
    ({"url": URL, "expiresAt": "9999-12-31T23:59:59-12:00"}, ("expiresAt",)),
    ({"url": URL, "expiresAt": "0001-01-01T00:00:00+14:00"}, ("expiresAt",)),
    ({"url": URL, "isAnonymous": False, "version": 7}, ("isAnonymous", "version")),
    ({"url": URL, "x" * 5000: 1}, ("x" * 100,)),
    (b'{"url": "https://a.org/", "\\ud800": 1}', ()),
]


@pytest.mark.parametrize(("body", "fields"), BAD_BODIES, ids=lambda part: ascii(part)[:50])
def test_a_bad_creation_is_told_its_fields_and_stores_nothing(
    call: Call, editor: str, body: Any, fields: tuple[str, ...]
) -> None:
    problem(call("POST", "/api/links", body, key=editor, **{"Idempotency-Key": "k"}), 400, *fields)
    assert not ShortLink.objects.exists()
    assert not IdempotentCreation.objects.exists()


def test_a_body_that_is_too_large_or_no_json_is_refused(call: Call, client: Client) -> None:
    problem(call("POST", "/api/links", b'{"url": "' + b"a" * 70_000 + b'"}'), 413)
    problem(client.post("/api/links", {"url": URL}), 415)


def test_a_taken_slug_is_a_conflict_that_names_the_field(call: Call, editor: str) -> None:
    call("POST", "/api/links", {"url": URL, "slug": "taken"}, key=editor)
    problem(call("POST", "/api/links", {"url": URL, "slug": "TAKEN"}, key=editor), 409, "slug")


def test_the_eleventh_anonymous_link_in_a_minute_must_wait(call: Call, editor: str) -> None:
    statuses = [call("POST", "/api/links", {"url": URL}).status_code for _ in range(10)]
    assert statuses == [201] * 10
    refused = call("POST", "/api/links", {"url": URL})
    problem(refused, 429)
    assert 1 <= int(refused["Retry-After"]) <= 65
    assert call("POST", "/api/links", {"url": URL}, key=editor).status_code == 201
    assert ShortLink.objects.count() == 11


def test_bad_anonymous_requests_count_too(call: Call) -> None:
    assert [call("POST", "/api/links", {}).status_code for _ in range(11)] == [400] * 10 + [429]


# --- repeating


def test_a_repeat_with_the_same_key_gets_the_same_body(call: Call, editor: str) -> None:
    first, second = (call("POST", "/api/links", {"url": URL}, key=editor, **{"Idempotency-Key": "x"}) for _ in "12")
    assert first.status_code == second.status_code == 201
    assert first.content == second.content
    assert ShortLink.objects.count() == 1
    problem(call("POST", "/api/links", {"url": f"{URL}2"}, key=editor, **{"Idempotency-Key": "x"}), 409)


def test_the_same_key_of_another_caller_is_another_key(call: Call, editor: str) -> None:
    for key in (editor, ""):
        assert call("POST", "/api/links", {"url": URL}, key=key, **{"Idempotency-Key": "x"}).status_code == 201
    assert ShortLink.objects.count() == 2


@pytest.mark.parametrize("bad", ["", " ", "a b", "ä", "k" * 256])
def test_a_bad_idempotency_key_is_named(call: Call, editor: str, bad: str) -> None:
    response = call("POST", "/api/links", {"url": URL}, key=editor, **{"Idempotency-Key": bad})
    problem(response, 400, "Idempotency-Key")
    assert not ShortLink.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_twenty_repeats_at_once_make_one_link(editor: str) -> None:
    def create() -> Any:
        headers = {"Authorization": f"Bearer {editor}", "Idempotency-Key": "x"}
        return Client().post("/api/links", {"url": URL}, content_type="application/json", headers=headers)

    answers = at_once([create] * 20)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert ShortLink.objects.count() == 1


# --- reading, changing, retiring


def test_links_are_listed_page_by_page(call: Call, editor: str) -> None:
    for number in range(3):
        services.create_short_link(url=f"{URL}{number}", slug=f"list-{number}")
    first = call("GET", "/api/links?limit=2", key=editor).json()
    second = call("GET", f"/api/links?limit=2&cursor={first['nextCursor']}", key=editor).json()
    assert [link["slug"] for link in first["links"] + second["links"]] == ["list-2", "list-1", "list-0"]
    assert second["nextCursor"] is None
    found = call("GET", "/api/links?search=LIST-1", key=editor).json()
    assert [link["url"] for link in found["links"]] == [f"{URL}1"]


def test_a_page_costs_three_queries_however_long(call: Call, editor: str, django_assert_num_queries: Any) -> None:
    for _ in range(9):
        services.create_short_link(url=URL)
    with django_assert_num_queries(3):  # the key, the links, their clicks
        assert len(call("GET", "/api/links", key=editor).json()["links"]) == 9


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        (f"limit={'9' * 5000}", "limit"),
        ("cursor=", "cursor"),
        ("cursor=-1", "cursor"),
        ("cursor=ffffffffffffffff", "cursor"),
        ("cursor=%00", "cursor"),
        ("search=%00", "search"),
        (f"search={'a' * 201}", "search"),
        ("page=2", "page"),
    ],
)
def test_a_bad_list_query_is_named(call: Call, editor: str, query: str, field: str) -> None:
    problem(call("GET", f"/api/links?{query}", key=editor), 400, field)


def test_a_link_is_read_changed_and_retired(call: Call, editor: str) -> None:
    services.create_short_link(url=URL, slug="life")
    assert call("GET", "/api/links/life", key=editor).json()["url"] == URL
    changes = {"url": "https://www.djangoproject.com/", "isActive": False, "statusCode": 301, "expiresAt": None}
    changed = call("PATCH", "/api/links/life", changes, key=editor).json()
    assert changed["slug"] == "life"
    assert {name: changed[name] for name in changes} == changes
    assert call("DELETE", "/api/links/life", key=editor).status_code == 204
    assert call("DELETE", "/api/links/life", key=editor).status_code == 204
    for method, body in (("GET", None), ("PATCH", {"isActive": True})):
        problem(call(method, "/api/links/life", body, key=editor), 410)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"slug": "other"}, "slug"),
        ({"isActive": "yes"}, "isActive"),
        ({"isActive": 1}, "isActive"),
        ({"isActive": None}, "isActive"),
        ({"url": None}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "https://a.org/\x00"}, "url"),
        ({"statusCode": None}, "statusCode"),
        ({"statusCode": 303}, "statusCode"),
        ({"expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
        ([], ""),
        (b"not json", ""),
    ],
    ids=lambda part: ascii(part)[:40],
)
def test_a_bad_change_is_named_and_changes_nothing(call: Call, editor: str, body: Any, field: str) -> None:
    before = services.create_short_link(url=URL, slug="still")
    problem(call("PATCH", "/api/links/still", body, key=editor), 400, field)
    assert ShortLink.objects.get().version == before.version


@pytest.mark.parametrize(
    "slug", ["nope", "STILL", "a%2Fb", "..", "%2e%2e", "%00%00%00", "ab", "admin", "x" * 5000, "%ff%fe%fd"]
)
def test_an_unknown_or_odd_slug_is_not_found(call: Call, editor: str, slug: str) -> None:
    services.create_short_link(url=URL, slug="still")
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/stats")):
        body: Any = {} if method == "PATCH" else None
        response = call(method, f"/api/links/{slug}{path}", body, key=editor)
        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/links"), ("GET", "/api/links/abc"), ("PATCH", "/api/links/abc"), ("DELETE", "/api/links/abc")],
)
def test_without_the_scope_there_is_no_access(call: Call, analyst: str, method: str, path: str) -> None:
    services.create_short_link(url=URL, slug="abc")
    problem(call(method, path, {}), 401)
    problem(call(method, path, {}, key="llk_wrong"), 401)
    problem(call(method, path, {}, key=analyst), 403)


def test_a_key_that_is_shown_must_fit_to_create(call: Call, analyst: str) -> None:
    problem(call("POST", "/api/links", {"url": URL}, key=analyst), 403)
    problem(call("POST", "/api/links", {"url": URL}, key="llk_wrong"), 401)


def test_other_methods_are_not_allowed(call: Call, editor: str) -> None:
    problem(call("PUT", "/api/links/abc", {}, key=editor), 405)
    problem(call("DELETE", "/api/links", key=editor), 405)


# --- numbers


def test_numbers_of_an_anonymous_link_are_open_others_need_a_key(call: Call, editor: str, analyst: str) -> None:
    services.create_short_link(url=URL, slug="open", is_anonymous=True)
    services.create_short_link(url=URL, slug="closed")
    body = call("GET", "/api/links/open/stats").json()
    assert (body["slug"], body["totals"]) == ("open", {"clicks": 0, "humans": 0, "bots": 0})
    problem(call("GET", "/api/links/closed/stats"), 401)
    problem(call("GET", "/api/links/closed/stats", key=editor), 403)
    assert call("GET", "/api/links/closed/stats?period=7d&timezone=Europe/Berlin", key=analyst).status_code == 200


def test_fresh_numbers_need_a_key(call: Call, analyst: str) -> None:
    services.create_short_link(url=URL, slug="open", is_anonymous=True)
    problem(call("GET", "/api/links/open/stats?fresh=true"), 401)
    assert call("GET", "/api/links/open/stats?fresh=true", key=analyst).status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("period=1y", "period"),
        ("period=", "period"),
        ("period=%00", "period"),
        ("timezone=Mars/Phobos", "timezone"),
        ("timezone=../../etc/passwd", "timezone"),
        (f"timezone={'a' * 5000}", "timezone"),
        ("timezone=%00", "timezone"),
        ("fresh=perhaps", "fresh"),
        ("from=2020", "from"),
    ],
)
def test_a_bad_question_for_numbers_is_named(call: Call, analyst: str, query: str, field: str) -> None:
    services.create_short_link(url=URL, slug="open", is_anonymous=True)
    problem(call("GET", f"/api/links/open/stats?{query}", key=analyst), 400, field)


def test_an_expired_link_is_still_shown_to_its_editor(call: Call, editor: str) -> None:
    record = services.create_short_link(url=URL, slug="past")
    ShortLink.objects.filter(pk=record.id).update(expires_at=datetime.now(UTC) - timedelta(days=1))
    assert call("GET", "/api/links/past", key=editor).status_code == 200
