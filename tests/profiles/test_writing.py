"""Changing links, invalidation and stats over HTTP; own profiles and mirrored ones."""

import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from django.test import Client

from analytics import recorder
from linklayer.keys import create_api_key
from linklayer.models import OutboxEvent
from linklayer.outbox import sweep_announcements
from profiles import handlers, services
from profiles.linktree import LinktreeClient
from profiles.linktree.errors import DuplicateLink
from profiles.models import Profile, ProfileLink
from shortlinks.services import disable_short_link
from tests.profiles.conftest import Running, mirrored, short_link_of

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/profiles/janedoe/links"


@pytest.fixture(autouse=True)
def _quiet_recorder() -> Iterator[None]:
    yield
    recorder.close()


@pytest.fixture
def editor() -> dict[str, str]:
    return {"Authorization": f"Bearer {create_api_key(name='editor', scopes=['links:write'])[1]}"}


@pytest.fixture
def jane(linked: Running) -> Profile:
    return mirrored("janedoe")


@pytest.fixture
def own() -> Profile:
    profile = Profile.objects.create(username="owner")
    for place, name in enumerate("abc"):
        services.save_own_link(
            ProfileLink(profile=profile, title=name.upper(), url=f"https://example.com/{name}", position=place)
        )
    return profile


def _patch(client: Client, url: str, body: Any, headers: dict[str, str]) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.generic("PATCH", url, data, content_type="application/json", headers=headers)


def _events(kind: str) -> list[tuple[str, Any]]:
    return list(OutboxEvent.objects.filter(type=kind).order_by("pk").values_list("state", "payload"))


def test_a_mirrored_link_is_changed_at_linktree_and_the_next_read_shows_it(
    linked: Running, jane: Profile, client: Client, editor: dict[str, str]
) -> None:
    client.get("/api/profiles/janedoe")
    body = {"links": [{"id": "lnk_2", "title": "Store", "position": 0}, {"id": "lnk_1", "enabled": False}]}
    answer = _patch(client, URL, body, editor)
    assert (answer.status_code, answer.json()["changed"]) == (200, ["lnk_2", "lnk_1"])
    assert linked.call("GET", "/v1/links/lnk_2").json()["title"] == "Store"
    links = client.get("/api/profiles/JANEDOE").json()["links"]
    assert [(link["id"], link["title"]) for link in links] == [("lnk_2", "Store")]
    assert _events("links.updated") == [("ready", {"profileId": "prof_1", "username": "janedoe", "count": 2})]


def test_what_linktree_refuses_is_reported_by_item(
    linked: Running, jane: Profile, client: Client, editor: dict[str, str]
) -> None:
    body = {"links": [{"id": "lnk_1", "title": "Good"}, {"id": "lnk_unknown", "title": "x"}]}
    answer = _patch(client, URL, body, editor)
    assert (answer.status_code, answer.json()["changed"]) == (207, ["lnk_1"])
    assert answer.json()["errors"][0]["index"] == 1
    assert answer.json()["errors"][0]["code"] == "LINK_NOT_FOUND"
    assert [(state, payload["count"]) for state, payload in _events("links.updated")] == [("ready", 1)]


def test_a_change_that_linktree_refuses_whole_is_abandoned(
    jane: Profile, client: Client, editor: dict[str, str]
) -> None:
    answer = _patch(client, URL, {"links": [{"id": "lnk_unknown", "title": "x"}]}, editor)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["links.0"])
    assert [state for state, _ in _events("links.updated")] == ["abandoned"]


def test_a_url_that_another_link_has_is_a_conflict(
    jane: Profile, client: Client, editor: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = DuplicateLink("taken", existing_link_id="lnk_2", code="DUPLICATE_LINK", http_status=409)
    monkeypatch.setattr(LinktreeClient, "patch_links", Mock(side_effect=refusal))
    answer = _patch(client, URL, {"links": [{"id": "lnk_1", "url": "https://example.com/shop"}]}, editor)
    assert (answer.status_code, answer["Content-Type"]) == (409, "application/problem+json")
    assert [state for state, _ in _events("links.updated")] == ["abandoned"]


def test_a_change_without_an_answer_is_found_out_by_the_sweeper(
    linked: Running, jane: Profile, client: Client, editor: dict[str, str], settings: Any
) -> None:
    linked.fault("commit-then-drop", times=9, method="PATCH")
    answer = _patch(client, URL, {"links": [{"id": "lnk_1", "title": "Unknown fate"}]}, editor)
    assert (answer.status_code, "Retry-After" in answer) == (503, True)
    (event,) = OutboxEvent.objects.filter(type="links.updated")
    assert event.state == "pending"
    assert handlers.announcement_sweepers["links.updated"](event.pk, event.payload)
    assert client.get("/api/profiles/janedoe").json()["links"][0]["title"] == "Unknown fate"
    assert sweep_announcements() == 0  # not old enough yet


def test_read_only_refuses_a_change_before_any_request(
    linked: Running, jane: Profile, client: Client, editor: dict[str, str], settings: Any
) -> None:
    settings.LINKTREE_READ_ONLY = True
    seen = len(linked.seen)
    assert _patch(client, URL, {"links": [{"id": "lnk_1", "title": "x"}]}, editor).status_code == 403
    assert len(linked.seen) == seen


def test_an_own_link_is_changed_here(own: Profile, client: Client, editor: dict[str, str]) -> None:
    first, second, third = (link.public_id for link in own.links.all())
    slugs = {link.public_id: link.short_link_id for link in own.links.all()}
    body = {"links": [{"id": third, "position": 0}, {"id": first, "url": "https://example.com/new", "enabled": False}]}
    assert _patch(client, "/api/profiles/OWNER/links", body, editor).status_code == 200
    links = client.get("/api/profiles/owner").json()["links"]
    assert [link["id"] for link in links] == [third, second]
    changed = ProfileLink.objects.get(pk=int(first))
    assert (changed.short_link_id, changed.url) == (slugs[first], "https://example.com/new")
    assert not short_link_of(changed).is_active


def test_an_own_change_is_all_or_nothing(own: Profile, client: Client, editor: dict[str, str]) -> None:
    first = own.links.all()[0].public_id
    body = {"links": [{"id": first, "title": "Changed"}, {"id": "999999", "title": "x"}]}
    answer = _patch(client, "/api/profiles/owner/links", body, editor)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["links.1.id"])
    assert own.links.all()[0].title == "A"


@pytest.mark.django_db  # nothing is committed, so nothing has to be truncated
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", ""),
        (b"", "links"),
        (b"null", ""),
        (b"[]", ""),
        (b'{"links": NaN}', ""),
        (b'{"links": [{"id": "1", "title": "a\\u0000b"}]}', "links.0.title"),
        (b'{"links": [{"id": "1", "title": "\\ud800"}]}', "links.0.title"),
        ({}, "links"),
        ({"links": []}, "links"),
        ({"links": {}}, "links"),
        ({"links": [{"id": "1", "title": "x"}] * 51}, "links"),
        ({"links": [7]}, "links.0"),
        ({"links": [{"title": "x"}]}, "links.0.id"),
        ({"links": [{"id": 1, "title": "x"}]}, "links.0.id"),
        ({"links": [{"id": "1"}]}, "links.0"),
        ({"links": [{"id": "1", "title": " "}]}, "links.0.title"),
        ({"links": [{"id": "1", "title": "x" * 101}]}, "links.0.title"),
        ({"links": [{"id": "1", "title": 5}]}, "links.0.title"),
        ({"links": [{"id": "1", "url": "javascript:alert(1)"}]}, "links.0.url"),
        ({"links": [{"id": "1", "url": "http://127.0.0.1/"}]}, "links.0.url"),
        ({"links": [{"id": "1", "url": None}]}, "links.0.url"),
        ({"links": [{"id": "1", "position": -1}]}, "links.0.position"),
        ({"links": [{"id": "1", "position": True}]}, "links.0.position"),
        ({"links": [{"id": "1", "position": "1"}]}, "links.0.position"),
        ({"links": [{"id": "1", "position": 10**30}]}, "links.0.position"),
        ({"links": [{"id": "1", "enabled": "yes"}]}, "links.0.enabled"),
        ({"links": [{"id": "1", "colour": "red"}]}, "links.0.colour"),
        ({"links": [{"id": "1", "title": "x"}, {"id": "1", "title": "y"}]}, "links.1.id"),
        ({"links": [{"id": "1", "position": 0}, {"id": "2", "position": 0}]}, "links.1.position"),
        ({"links": [{"id": "1", "title": "x"}], "more": 1}, "more"),
    ],
)
def test_a_wrong_body_is_400_and_names_the_field(
    own: Profile, client: Client, editor: dict[str, str], body: Any, field: str
) -> None:
    answer = _patch(client, "/api/profiles/owner/links", body, editor)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert field in answer.json()["errors"]
    assert [link.title for link in own.links.all()] == ["A", "B", "C"]


def test_too_large_a_body_is_413_and_another_type_415(own: Profile, client: Client, editor: dict[str, str]) -> None:
    large = {"links": [{"id": "1", "title": "x" * 70_000}]}
    assert _patch(client, "/api/profiles/owner/links", large, editor).status_code == 413
    text = client.generic("PATCH", "/api/profiles/owner/links", b"{}", content_type="text/plain", headers=editor)
    assert text.status_code == 415


@pytest.mark.django_db
@pytest.mark.parametrize("username", ["nobody", "a b", "a" * 5000, "%00", "ä"])
@pytest.mark.parametrize("method", ["PATCH /api/profiles/{}/links", "POST /api/cache/invalidate/{}"])
def test_a_write_to_what_is_no_profile_is_404(
    own: Profile, client: Client, editor: dict[str, str], method: str, username: str
) -> None:
    verb, path = method.split()
    body = b'{"links": [{"id": "1", "title": "x"}]}'
    answer = client.generic(verb, path.format(username), body, content_type="application/json", headers=editor)
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_writing_needs_the_scope(own: Profile, client: Client) -> None:
    reader = {"Authorization": f"Bearer {create_api_key(name='reader', scopes=['profile:read'])[1]}"}
    body = {"links": [{"id": "1", "title": "x"}]}
    assert _patch(client, "/api/profiles/owner/links", body, {}).status_code == 401
    assert _patch(client, "/api/profiles/owner/links", body, reader).status_code == 403
    assert client.post("/api/cache/invalidate/owner").status_code == 401
    assert client.get("/api/profiles/owner/stats").status_code == 401


@pytest.mark.parametrize("ref", ["janedoe", "JaneDoe", "prof_1"])
def test_invalidation_says_what_it_dropped_and_the_next_read_is_fresh(
    linked: Running, jane: Profile, client: Client, editor: dict[str, str], ref: str
) -> None:
    client.get("/api/profiles/janedoe")
    linked.simulator.world.profiles["prof_1"].bio = "Changed upstream"
    answer = client.post(f"/api/cache/invalidate/{ref}", headers=editor)
    assert answer.status_code == 202
    assert answer.json()["profileId"] == "prof_1"
    assert answer.json()["dropped"]["profile"] == {"tier1": False, "tier2": True}
    assert client.get("/api/profiles/janedoe").json()["bio"] == "Changed upstream"


def test_the_briefs_curl_is_open_on_this_machine_in_embedded_mode_only(
    own: Profile, client: Client, settings: Any
) -> None:
    settings.EMBEDDED = True
    assert client.post("/api/cache/invalidate/owner").status_code == 202
    assert client.post("/api/cache/invalidate/owner", REMOTE_ADDR="203.0.113.9").status_code == 401
    spoofed = client.post(
        "/api/cache/invalidate/owner", REMOTE_ADDR="203.0.113.9", headers={"X-Forwarded-For": "127.0.0.1"}
    )
    assert spoofed.status_code == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
def test_no_page_in_a_browser_on_this_machine_may_invalidate(
    own: Profile, client: Client, settings: Any, origin: str
) -> None:
    settings.EMBEDDED = True
    assert client.post("/api/cache/invalidate/owner", headers={"Origin": origin}).status_code == 401


def test_an_edit_of_a_short_link_shows_on_its_profile(own: Profile, client: Client) -> None:
    assert len(client.get("/api/profiles/owner").json()["links"]) == 3
    disable_short_link(short_link_of(own.links.all()[1]).pk)
    assert [link["title"] for link in client.get("/api/profiles/owner").json()["links"]] == ["A", "C"]


def test_stats_of_a_profile_need_the_scope_and_a_known_period(own: Profile, client: Client) -> None:
    key = {"Authorization": f"Bearer {create_api_key(name='analyst', scopes=['analytics:read'])[1]}"}
    answer = client.get("/api/profiles/Owner/stats", headers=key)
    assert (answer.status_code, answer.json()["totals"]["clicks"]["clicks"]) == (200, 0)
    wrong = client.get("/api/profiles/owner/stats?period=forever", headers=key)
    assert (wrong.status_code, "period" in wrong.json()["errors"]) == (400, True)


def test_a_deleted_own_link_ends_its_short_link_and_keeps_it(own: Profile, client: Client) -> None:
    link = own.links.all()[0]
    services.delete_own_link(link)
    assert not short_link_of(link).is_active
    assert [item["title"] for item in client.get("/api/profiles/owner").json()["links"]] == ["B", "C"]
