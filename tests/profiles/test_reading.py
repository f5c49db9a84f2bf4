"""Reading a profile over HTTP: cache, snapshot, source; stale when the source fails; fresh after an event."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import transaction
from django.test import Client
from django.utils import timezone
from django_redis import get_redis_connection

from analytics import recorder
from analytics.contracts import Series
from analytics.models import QuarterHour
from linklayer import tier2, warming
from linklayer.forgetting import forget_now
from linklayer.keys import create_api_key
from linklayer.tier1 import tier1
from profiles import handlers, mirroring, resolver, services
from profiles.models import Profile
from tests.profiles.conftest import Running, meanwhile
from webhooks.contracts import InboundEvent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _quiet_recorder() -> Iterator[None]:
    yield
    recorder.close()


@pytest.fixture(autouse=True)
def _unlimited(settings: Any) -> None:
    settings.RATELIMIT_ENABLE = False


def _get(client: Client, path: str, **headers: str) -> Any:
    return client.get(path, headers=headers)


def _event(**changes: Any) -> InboundEvent:
    fields: dict[str, Any] = {"id": "evt_1", "type": "profile.updated", "profile_id": "prof_1", "username": "janedoe"}
    return InboundEvent(**{**fields, "timestamp": timezone.now(), "data": {}, **changes})


def _receive(event: InboundEvent) -> None:
    with transaction.atomic():
        handlers.handlers[event.type].on_receipt(event)


def _grown_old(seconds: float = 3600) -> None:
    """Make every snapshot old, and everything cached of it gone."""
    then = timezone.now() - timedelta(seconds=seconds)
    Profile.objects.update(last_synced_at=then)
    for key in Profile.objects.values_list("pk", flat=True):
        forget_now(f"profile:{key}")


def test_a_profile_is_the_briefs_interface(linked: Running, client: Client) -> None:
    answer = _get(client, "/api/profiles/MyUserName")
    body = answer.json()
    assert answer.status_code == 200
    assert {"id", "username", "displayName", "bio", "avatarUrl", "links", "theme", "lastModified"} <= set(body)
    assert {"id", "title", "url", "position", "clickCount", "enabled"} <= set(body["links"][0])
    assert (body["username"], body["links"][0]["clickCount"]) == ("myusername", 1890)
    assert body["theme"]["backgroundColor"] == "#1B2140"
    assert body["lastSyncedAt"].endswith("Z")


def test_the_second_read_does_not_ask_linktree_and_a_known_etag_gets_304(linked: Running, client: Client) -> None:
    first = _get(client, "/api/profiles/janedoe")
    second = _get(client, "/api/profiles/JANEDOE")
    third = _get(client, "/api/profiles/janedoe", **{"If-None-Match": first["ETag"]})
    assert (first["X-Cache"], second["X-Cache"]) == ("miss", "hit-l2")
    assert (third.status_code, third.content, third["ETag"]) == (304, b"", first["ETag"])
    assert linked.seen == ["GET /v1/profiles/janedoe"]


@pytest.mark.django_db  # nothing is committed, so nothing has to be truncated
@pytest.mark.parametrize(
    "name", ["nobody", "NoBody", "someone.else", "a" * 65, "a b", "ä", "%00", "..", "..%2f..%2fetc", "a" * 5000]
)
@pytest.mark.parametrize("path", ["/api/profiles/{}", "/@{}", "/api/profiles/{}/links"])
def test_what_is_no_profile_is_404(linked: Running, client: Client, path: str, name: str) -> None:
    assert _get(client, path.format(name)).status_code == 404


def test_strangers_cannot_spend_the_quota_with_unknown_names(linked: Running, client: Client, settings: Any) -> None:
    settings.RATELIMIT_ENABLE = True
    with time_machine.travel("2026-11-20 12:00:00Z", tick=False):  # within one window of the limit
        answers = [_get(client, f"/api/profiles/unknown{number}").status_code for number in range(25)]
    assert answers == [404] * 5 + [503] * 15 + [429] * 5
    assert len(linked.seen) == 5


def test_a_profile_that_is_known_is_served_while_linktree_is_away(linked: Running, client: Client) -> None:
    _get(client, "/api/profiles/janedoe")
    _grown_old()
    linked.fault("status:503", times=99)
    answer = _get(client, "/api/profiles/janedoe")
    assert (answer.status_code, answer["X-Cache"], answer.json()["username"]) == (200, "stale", "janedoe")
    assert int(answer["Age"]) >= 3600


def test_an_over_age_profile_is_asked_for_again(linked: Running, client: Client) -> None:
    _get(client, "/api/profiles/janedoe")
    linked.simulator.world.profiles["prof_1"].bio = "New bio"
    _grown_old()
    answer = _get(client, "/api/profiles/janedoe")
    assert (answer.json()["bio"], int(answer["Age"])) == ("New bio", 0)


def test_a_failing_source_is_not_asked_by_every_reader(linked: Running, client: Client) -> None:
    _get(client, "/api/profiles/janedoe")
    _grown_old()
    linked.fault("status:503", times=99)
    for _ in range(10):
        assert _get(client, "/api/profiles/janedoe")["X-Cache"] == "stale"
    assert len(linked.seen) == 2


def test_an_unknown_profile_is_503_and_not_404_while_linktree_is_away(linked: Running, client: Client) -> None:
    linked.fault("status:503", times=99)
    answer = _get(client, "/api/profiles/janedoe")
    assert (answer.status_code, "Retry-After" in answer) == (503, True)


@pytest.mark.parametrize("event", [_event(), _event(profile_id=""), _event(type="link.updated", username="")])
def test_the_read_after_an_event_is_fresh(linked: Running, client: Client, event: InboundEvent) -> None:
    _get(client, "/api/profiles/janedoe")
    linked.simulator.world.profiles["prof_1"].bio = "Changed upstream"
    assert _get(client, "/api/profiles/janedoe").json()["bio"] != "Changed upstream"
    _receive(event)
    assert _get(client, "/api/profiles/janedoe").json()["bio"] == "Changed upstream"


def test_an_event_while_linktree_is_asked_makes_the_next_read_ask_again(
    linked: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited() -> None:
        linked.simulator.world.profiles["prof_1"].bio = "Edited meanwhile"
        _receive(_event())

    _get(client, "/api/profiles/janedoe")
    _grown_old()
    meanwhile(monkeypatch, edited)
    _get(client, "/api/profiles/janedoe")
    assert _get(client, "/api/profiles/janedoe").json()["bio"] == "Edited meanwhile"


def test_an_event_while_linktree_is_away_leaves_the_old_profile_marked_stale(linked: Running, client: Client) -> None:
    _get(client, "/api/profiles/janedoe")
    linked.fault("status:503")
    _receive(_event())
    assert _get(client, "/api/profiles/janedoe")["X-Cache"] == "stale"


def test_a_worker_rereads_only_what_is_still_outdated(linked: Running, client: Client) -> None:
    _get(client, "/api/profiles/janedoe")
    _receive(_event())
    handlers.handlers["profile.updated"].process(_event())
    handlers.handlers["profile.updated"].process(_event())
    assert linked.seen == ["GET /v1/profiles/janedoe", "GET /v1/profiles/prof_1"]


def test_an_event_about_somebody_else_changes_nothing(linked: Running) -> None:
    _receive(_event(profile_id="prof_unknown"))
    handlers.handlers["link.deleted"].process(_event(profile_id="", username=""))
    assert linked.seen == []


def test_a_disabled_link_and_an_unpublished_profile_are_seen_by_a_key_only(linked: Running, client: Client) -> None:
    key = {"Authorization": f"Bearer {create_api_key(name='reader', scopes=['profile:read'])[1]}"}
    open_ids = [link["id"] for link in _get(client, "/api/profiles/janedoe").json()["links"]]
    whole = _get(client, "/api/profiles/janedoe", **key).json()
    assert (open_ids, [link["id"] for link in whole["links"]]) == (["lnk_1", "lnk_2"], ["lnk_1", "lnk_2", "lnk_3"])
    profile = Profile.objects.get()
    profile.is_published = False
    services.save_profile(profile)
    assert _get(client, "/api/profiles/janedoe").status_code == 404
    assert _get(client, "/api/profiles/janedoe", **key).json()["isPublished"] is False


def test_a_key_that_is_not_ours_is_401(linked: Running, client: Client) -> None:
    assert _get(client, "/api/profiles/janedoe", Authorization="Bearer llk_wrong").status_code == 401


def test_only_get_and_head_read(linked: Running, client: Client) -> None:
    assert client.post("/api/profiles/janedoe").status_code == 405
    assert client.head("/@janedoe").status_code == 200


def test_the_list_of_links_is_read_on_its_own(linked: Running, client: Client) -> None:
    answer = _get(client, "/api/profiles/janedoe/links")
    assert [link["title"] for link in answer.json()["links"]] == ["Portfolio", "Shop"]
    assert answer.json()["profileId"] == "prof_1"
    assert "X-Cache" in answer


@pytest.fixture
def _listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tier 1 as a web process has it, without its listener thread."""
    monkeypatch.setattr(tier1, "is_started", True)
    yield
    tier1.flush()


@pytest.mark.usefixtures("_listening")
def test_the_front_door_knows_a_name_once_django_has_resolved_it(linked: Running, client: Client) -> None:
    mirroring.mirror_profile("janedoe")
    _get(client, "/@JaneDoe")
    profile_id = str(Profile.objects.get().pk)
    assert resolver.page_read.key("/@janedoe") == resolver.profile_read.key("/api/profiles/JANEDOE") == profile_id
    assert resolver.profile_read.key("/api/profiles/janedoe/links") is None
    assert resolver.page_read.key("/@nobody") is None
    assert resolver.page_read.key("/about") is None
    assert resolver.profile_reads.peek(profile_id) is not None


def test_warming_offers_the_visible_profiles_the_most_viewed_first() -> None:
    viewed, newest, hidden = (Profile.objects.create(username=name) for name in ("viewed", "newest", "hidden"))
    Profile.objects.filter(pk=hidden.pk).update(is_published=False)
    QuarterHour.objects.create(
        series=Series.PROFILE_VIEWS, subject_id=viewed.pk, starts_at=timezone.now(), humans=1, bots=0
    )
    things = [thing for batch in resolver.warm.batches(500) for thing in batch]
    assert [[entry.key for entry in thing] for thing in things] == [
        [str(viewed.pk), "viewed"],
        [str(newest.pk), "newest"],
    ]
    assert resolver.warm.count() == 2


def test_a_warmed_profile_needs_neither_query_nor_linktree(
    linked: Running, client: Client, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirroring.mirror_profile("janedoe")
    _grown_old(seconds=290)  # past its soft life: a reader's load would ask Linktree
    monkeypatch.setattr(mirroring, "refresh_for_reader", None)
    assert sum(warming.warmed(resolver.warm, 10, per_second=1000)) == 1
    get_redis_connection("reads").set(tier2.made_key("lock:profile:" + str(Profile.objects.get().pk)), "x")
    with django_assert_num_queries(0):
        answer = _get(client, "/@JaneDoe")
    assert answer.status_code == 200
    assert answer.headers["X-Cache"] in {"hit-l2", "stale"}
    assert int(answer.headers["Age"]) >= 290


def test_an_outdated_profile_is_not_warmed(linked: Running) -> None:
    mirroring.mirror_profile("janedoe")
    _receive(_event())
    assert [thing for batch in resolver.warm.batches(500) for thing in batch] == [[]]
