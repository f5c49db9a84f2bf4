"""The simulator answers as the contract says (section 12.1, by its case numbers where a test has one)."""

import json
import uuid

import pytest

from tests.profiles.conftest import Running


def _ids(simulator: Running) -> list[str]:
    return [link["id"] for link in simulator.call("GET", "/v1/profile").json()["links"]]


def test_health_needs_no_token(simulator: Running) -> None:  # case 1
    answer = simulator.call("GET", "/v1/health", token="")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_default_profile_has_its_links_in_order_and_rate_headers(simulator: Running) -> None:  # cases 2, 3
    answer = simulator.call("GET", "/v1/profile")
    assert [link["position"] for link in answer.json()["links"]] == [0, 1, 2]
    assert answer.json()["username"] == "janedoe"
    assert answer.headers["X-Linktree-Api-Version"] == "v1"
    assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == ("60", "59")
    assert simulator.call("GET", "/v1/me").content == simulator.call("GET", "/v1/user").content == answer.content


@pytest.mark.parametrize("ref", ["janedoe", "JaneDoe", "prof_1"])
def test_a_profile_is_found_by_name_in_any_case_and_by_id(simulator: Running, ref: str) -> None:  # case 4
    assert simulator.call("GET", f"/v1/profiles/{ref}").json()["id"] == "prof_1"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/profiles/nobody", 404, "PROFILE_NOT_FOUND"),  # case 5
        ("GET", "/v1/profiles/someone.else", 404, "PROFILE_NOT_FOUND"),
        ("GET", "/v1/links/lnk_foreign", 404, "LINK_NOT_FOUND"),  # case 34
        ("GET", "/v1/nothing", 404, "ROUTE_NOT_FOUND"),
        ("GET", "/v2/profile", 404, "ROUTE_NOT_FOUND"),
        ("DELETE", "/v1/profile", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/links?cursor=garbage", 400, "INVALID_CURSOR"),  # case 13
        ("GET", "/v1/links?limit=0", 400, "INVALID_FILTER"),
        ("GET", "/v1/links?type=hologram", 400, "INVALID_FILTER"),
    ],
)
def test_a_wrong_request_gets_its_error_in_the_envelope(
    simulator: Running, method: str, path: str, status: int, code: str
) -> None:
    answer = simulator.call(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_without_a_bearer_token_everything_is_401(simulator: Running) -> None:  # case 6
    answer = simulator.call("GET", "/v1/profile?access_token=lt_test_full", token="")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_pages_go_on_behind_the_last_link_seen_even_after_an_insert(simulator: Running) -> None:  # cases 10, 12
    first = simulator.call("GET", "/v1/links?profile_id=prof_1&limit=2").json()
    simulator.call(
        "POST", "/v1/links", json={"profile_id": "prof_1", "title": "N", "url": "https://n.com", "position": 0}
    )
    second = simulator.call("GET", f"/v1/links?limit=2&cursor={first['cursor']}").json()
    assert ([link["id"] for link in first["data"]], first["has_more"]) == (["lnk_1", "lnk_2"], True)
    assert ([link["id"] for link in second["data"]], second["has_more"]) == (["lnk_3"], False)
    assert "cursor" not in second


def test_links_are_filtered_by_activity(simulator: Running) -> None:  # case 14
    answer = simulator.call("GET", "/v1/links?is_active=true").json()
    assert [link["id"] for link in answer["data"]] == ["lnk_1", "lnk_2"]


def test_a_created_link_is_inserted_and_the_others_shift(simulator: Running) -> None:  # case 15
    body = {"profile_id": "prof_1", "title": "New", "url": "https://new.com/", "position": 0}
    answer = simulator.call("POST", "/v1/links", json=body)
    assert (answer.status_code, answer.json()["position"]) == (201, 0)
    assert _ids(simulator) == [answer.json()["id"], "lnk_1", "lnk_2", "lnk_3"]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"url": "HTTPS://EXAMPLE.com"}, 409, "DUPLICATE_LINK"),  # case 16
        ({"url": "example.com"}, 400, "INVALID_URL"),  # case 17
        ({"url": "mailto:a@b.c"}, 400, "INVALID_URL"),
        ({"url": "javascript:alert(1)"}, 400, "INVALID_URL"),
        ({"url": "https://user:secret@example.org"}, 400, "INVALID_URL"),
        ({"url": "https://example.org/\x00"}, 400, "INVALID_URL"),
        ({"url": 7}, 422, "VALIDATION_ERROR"),
        ({"url": "https://example.org/" + "x" * 2048}, 422, "VALIDATION_ERROR"),
        ({"title": "🙂" * 101}, 422, "VALIDATION_ERROR"),  # case 18
        ({"title": "  "}, 422, "VALIDATION_ERROR"),
        ({"position": -1}, 422, "VALIDATION_ERROR"),
        ({"position": True}, 422, "VALIDATION_ERROR"),
        ({"thumbnail_url": "https://example.org/a.svg"}, 422, "VALIDATION_ERROR"),
        ({"profile_id": "prof_2"}, 404, "PROFILE_NOT_FOUND"),
    ],
)
def test_a_link_that_breaks_a_rule_is_refused(
    simulator: Running, changes: dict[str, object], status: int, code: str
) -> None:
    body = {"profile_id": "prof_1", "title": "T", "url": "https://fresh.com/", **changes}
    answer = simulator.call("POST", "/v1/links", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(_ids(simulator)) == 3


def test_a_title_may_have_a_hundred_emoji(simulator: Running) -> None:  # case 18
    body = {"profile_id": "prof_1", "title": "🙂" * 100, "url": "https://fresh.com/"}
    assert simulator.call("POST", "/v1/links", json=body).status_code == 201


def test_bodies_are_checked_before_fields(simulator: Running) -> None:  # case 19
    missing = simulator.call("POST", "/v1/links", json={"profile_id": "prof_1", "url": "https://a.com"})
    broken = simulator.call("POST", "/v1/links", data="{", headers={"Content-Type": "application/json"})
    plain = simulator.call("POST", "/v1/links", data="{}", headers={"Content-Type": "text/plain"})
    large = simulator.call("POST", "/v1/links", json={"title": "x" * 70_000})
    assert missing.json()["error"]["details"]["fields"] == {"title": ["is required"]}
    assert [answer.status_code for answer in (missing, broken, plain, large)] == [422, 400, 415, 413]


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_an_update_changes_only_what_is_named(simulator: Running, method: str) -> None:  # case 20
    before = simulator.call("GET", "/v1/links/lnk_1").json()
    simulator.simulator.clock.advance(5)
    after = simulator.call(method, "/v1/links/lnk_1", json={"title": "X"}).json()
    assert {name for name in after if after[name] != before[name]} == {"title", "updated_at"}


def test_archived_means_inactive_and_an_empty_update_says_nothing(simulator: Running) -> None:  # cases 21, 22
    assert simulator.call("PATCH", "/v1/links/lnk_1", json={"archived": True}).json()["is_active"] is False
    assert simulator.call("PATCH", "/v1/links/lnk_1", json={}).status_code == 200


def test_a_deleted_link_closes_the_gap_and_is_gone(simulator: Running) -> None:  # case 23
    first = simulator.call("DELETE", "/v1/links/lnk_2")
    assert (first.status_code, first.content) == (204, b"")
    assert _ids(simulator) == ["lnk_1", "lnk_3"]
    assert simulator.call("DELETE", "/v1/links/lnk_2").status_code == 404


def test_reordering_needs_every_link_exactly_once(simulator: Running) -> None:  # cases 24, 25
    missing = simulator.call("PATCH", "/v1/links/reorder", json={"link_ids": ["lnk_3", "lnk_1"]})
    foreign = simulator.call("PATCH", "/v1/links/reorder", json={"link_ids": ["lnk_3", "lnk_1", "lnk_foreign"]})
    assert (missing.status_code, foreign.status_code, _ids(simulator)) == (422, 422, ["lnk_1", "lnk_2", "lnk_3"])
    answer = simulator.call("PATCH", "/v1/links/reorder", json={"link_ids": ["lnk_3", "lnk_1", "lnk_2"]})
    assert [item["position"] for item in answer.json()["links"]] == [0, 1, 2]
    assert _ids(simulator) == ["lnk_3", "lnk_1", "lnk_2"]


def test_a_bulk_update_reports_each_item(simulator: Running) -> None:  # case 26
    body = {"links": [{"id": "lnk_1", "title": "Good"}, {"id": "lnk_2", "url": "ftp://x"}]}
    answer = simulator.call("PATCH", "/v1/profiles/prof_1/links", json=body)
    assert (answer.status_code, [item["id"] for item in answer.json()["data"]]) == (207, ["lnk_1"])
    assert answer.json()["errors"][0]["index"] == 1
    too_many = {"links": [{"id": "lnk_1", "title": "x"}] * 11}
    assert simulator.call("PATCH", "/v1/profiles/prof_1/links", json=too_many).status_code == 422


def test_an_unknown_theme_is_kept_out_without_a_word(simulator: Running) -> None:  # case 27
    answer = simulator.call("PATCH", "/v1/profiles/prof_1", json={"theme": {"id": "nope"}})
    assert (answer.status_code, answer.json()["theme"]["id"]) == (200, "air")


def test_scopes_and_plans_are_told_apart(simulator: Running) -> None:  # cases 28, 29
    scope = simulator.call("POST", "/v1/links", token="lt_test_readonly", json={})
    plan = simulator.call("PATCH", "/v1/profiles/prof_2", token="lt_test_free", json={"bio": "x"})
    brief = simulator.call("PATCH", "/v1/links/lnk_1", token="lt_test_brief", json={"title": "x"})
    assert scope.json()["error"]["code"] == "INSUFFICIENT_SCOPE"
    assert (plan.status_code, plan.json()["error"]["code"]) == (403, "PLAN_RESTRICTED")
    assert brief.status_code == 200


def test_the_31st_write_in_a_minute_is_429_until_the_window_ends(simulator: Running) -> None:  # case 35
    for _ in range(30):
        assert simulator.call("PATCH", "/v1/links/lnk_1", json={}).status_code == 200
    refused = simulator.call("PATCH", "/v1/links/lnk_1", json={})
    assert (refused.status_code, refused.headers["X-RateLimit-Remaining"]) == (429, "0")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert simulator.call("GET", "/v1/profile").status_code == 200
    simulator.simulator.clock.advance(60)
    assert simulator.call("PATCH", "/v1/links/lnk_1", json={}).status_code == 200


def test_an_idempotency_key_replays_and_refuses_another_body(simulator: Running) -> None:  # case 41
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"profile_id": "prof_1", "title": "Once", "url": "https://once.com/"}
    first = simulator.call("POST", "/v1/links", json=body, headers=headers)
    again = simulator.call("POST", "/v1/links", json=body, headers=headers)
    other = simulator.call("POST", "/v1/links", json={**body, "title": "Other"}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert other.json()["error"]["code"] == "IDEMPOTENCY_CONFLICT"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"url": "https://app.example/hook", "events": ["link.created"]}, 201),
        ({"url": "http://127.0.0.1:1/hook", "events": ["link.created"]}, 201),
        ({"url": "http://app.example/hook", "events": ["link.created"]}, 422),  # case 49
        ({"url": "https://app.example/hook", "events": ["planet.discovered"]}, 422),
        ({"url": "https://app.example/hook", "events": []}, 422),
        ({"url": "https://[", "events": ["link.created"]}, 422),
    ],
)
def test_a_subscription_needs_https_or_loopback_and_known_events(
    simulator: Running, body: dict[str, object], status: int
) -> None:
    assert simulator.call("POST", "/v1/webhooks", json=body).status_code == status


def test_a_second_subscription_with_the_same_url_is_refused(simulator: Running) -> None:
    body = {"url": "https://app.example/hook", "events": ["link.created"]}
    simulator.call("POST", "/v1/webhooks", json=body)
    assert simulator.call("POST", "/v1/webhooks", json=body).json()["error"]["code"] == "DUPLICATE_WEBHOOK"


def test_an_unknown_fault_is_refused_and_controls_are_not_rate_limited(simulator: Running) -> None:
    answer = simulator.call("POST", "/__sim__/faults", json={"fault": "no-such"})
    assert (answer.status_code, "X-RateLimit-Limit" in answer.headers) == (422, False)


def test_state_survives_in_its_file(simulator: Running, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("state") / "linktree.json"
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "Kept"})
    simulator.simulator.world.save(path)
    simulator.simulator.start_over()
    assert json.loads(path.read_text())["links"]
    simulator.simulator.world.load(path)
    assert simulator.call("GET", "/v1/links/lnk_1").json()["title"] == "Kept"
