"""A profile of Linktree's kept here: first sight, refresh, and what becomes of its links."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from linklayer.celery import SOFT_TIME_LIMIT_SECONDS
from linklayer.errors import Unavailable
from linklayer.models import OutboxEvent
from profiles import mirroring, selectors, services
from profiles.models import Profile, ProfileLink
from shortlinks.models import ShortLink
from tests.profiles.conftest import Running, meanwhile, mirrored, short_link_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def jane(linked: Running) -> Profile:
    return mirrored("JaneDoe")


def _link(upstream_id: str) -> ProfileLink:
    return ProfileLink.objects.get(upstream_id=upstream_id)


def test_first_sight_keeps_the_profile_and_makes_short_links(jane: Profile) -> None:
    assert (jane.username, jane.upstream_id, jane.links.count()) == ("janedoe", "prof_1", 3)
    assert short_link_of(_link("lnk_2")).destination == "https://example.com/shop"
    assert ShortLink.objects.filter(profile_id=jane.pk, also_forget=f"profile:{jane.pk}").count() == 2
    assert _link("lnk_3").short_link_id is None  # inactive: it gets one when it is first shown


def test_a_second_first_sight_makes_no_second_profile(jane: Profile) -> None:
    assert mirroring.mirror_profile("prof_1") == mirroring.mirror_profile("janedoe") == jane.pk


@pytest.mark.parametrize("username", ["nobody", "someone.else"])
def test_a_profile_that_linktree_denies_is_not_kept(linked: Running, username: str) -> None:
    assert mirroring.mirror_profile(username) is None
    assert not Profile.objects.exists()


def test_first_sight_without_an_answer_is_unavailable_and_not_a_404(linked: Running) -> None:
    linked.fault("status:503")
    with pytest.raises(Unavailable):
        mirroring.mirror_profile("janedoe")


def test_without_a_source_there_is_no_first_sight() -> None:
    assert mirroring.mirror_profile("janedoe") is None


def test_slugs_survive_renames_and_reorders(linked: Running, jane: Profile) -> None:
    before = {link.upstream_id: link.short_link_id for link in jane.links.all()}
    linked.call("PATCH", "/v1/links/lnk_2", json={"title": "Store", "url": "https://example.com/store", "position": 0})
    assert mirroring.refresh_profile(jane.pk)
    link = _link("lnk_2")
    assert (link.title, link.position, link.short_link_id) == ("Store", 0, before["lnk_2"])
    assert short_link_of(link).destination == "https://example.com/store"


def test_a_link_gone_upstream_is_disabled_and_comes_back_with_its_slug(linked: Running, jane: Profile) -> None:
    held = linked.simulator.world.profiles["prof_1"].link_ids.pop(1)
    mirroring.refresh_profile(jane.pk)
    link = _link(held)
    assert link.gone_at is not None
    assert not short_link_of(link).is_active
    linked.simulator.world.profiles["prof_1"].link_ids.append(held)
    mirroring.refresh_profile(jane.pk)
    assert (_link(held).gone_at, _link(held).short_link_id) == (None, link.short_link_id)
    assert short_link_of(link).is_active


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "https://user@example.com/", "https://shop.local/", "ftp://x.com"]
)
def test_a_refused_url_is_kept_without_a_short_link_and_fails_nothing(linked: Running, jane: Profile, url: str) -> None:
    linked.simulator.world.links["lnk_2"].url = url
    assert mirroring.refresh_profile(jane.pk)
    link = _link("lnk_2")
    assert link.refusal_reason
    assert not short_link_of(link).is_active
    shown = selectors.public_profile(jane.pk)
    assert shown is not None
    assert [item["id"] for item in shown["links"]] == ["lnk_1"]


def test_a_header_is_shown_without_a_short_link(linked: Running, jane: Profile) -> None:
    link = linked.simulator.world.links["lnk_3"]
    link.type, link.url, link.is_active = "header", None, True
    mirroring.refresh_profile(jane.pk)
    shown = selectors.public_profile(jane.pk)
    assert shown is not None
    assert (shown["links"][2]["url"], shown["links"][2]["shortUrl"], shown["links"][2]["type"]) == ("", None, "header")


def test_a_short_link_that_an_operator_disabled_stays_disabled(linked: Running, jane: Profile) -> None:
    ShortLink.objects.filter(pk=short_link_of(_link("lnk_1")).pk).update(is_active=False)
    linked.call("PATCH", "/v1/links/lnk_1", json={"title": "New title"})
    mirroring.refresh_profile(jane.pk)
    assert not short_link_of(_link("lnk_1")).is_active


def test_texts_that_postgresql_cannot_hold_are_stored_spelled_out(linked: Running, jane: Profile) -> None:
    linked.simulator.world.profiles["prof_1"].bio = "a\x00b"
    linked.simulator.world.links["lnk_1"].title = "<script>\x00"
    assert mirroring.refresh_profile(jane.pk)
    jane.refresh_from_db()
    assert (jane.bio, _link("lnk_1").title) == ("a\\x00b", "<script>\\x00")


def test_all_new_click_counts_are_stored_at_once(linked: Running, jane: Profile) -> None:
    for link in linked.simulator.world.links.values():
        link.click_count = 4711
    with CaptureQueriesContext(connection) as queries:
        mirroring.refresh_profile(jane.pk)
    assert set(jane.links.values_list("upstream_click_count", flat=True)) == {4711}
    assert sum('UPDATE "profiles_profilelink"' in query["sql"] for query in queries) == 1


def test_a_click_count_alone_is_no_change(linked: Running, jane: Profile) -> None:
    events = OutboxEvent.objects.count()
    linked.simulator.world.links["lnk_1"].click_count = 4711
    mirroring.refresh_profile(jane.pk)
    assert (_link("lnk_1").upstream_click_count, OutboxEvent.objects.count()) == (4711, events)
    assert Profile.objects.get(pk=jane.pk).version == jane.version


def test_a_denied_profile_is_gone_until_linktree_has_it_again(linked: Running, jane: Profile) -> None:
    upstream = linked.simulator.world.profiles["prof_1"]
    upstream.is_deactivated = True
    assert mirroring.refresh_profile(jane.pk)
    assert selectors.public_profile(jane.pk) is None
    upstream.is_deactivated = False
    mirroring.refresh_profile(jane.pk)
    assert selectors.public_profile(jane.pk) is not None


@pytest.mark.parametrize("fault", ["status:500", "429:3600", "503-html", "truncate", "reset", "empty-200"])
def test_a_failing_source_changes_nothing_and_is_tried_again_later(linked: Running, jane: Profile, fault: str) -> None:
    linked.fault(fault)
    assert not mirroring.refresh_for_reader(jane.pk)
    held = Profile.objects.get(pk=jane.pk)
    assert (held.sync_failures, held.last_synced_at, held.display_name) == (1, jane.last_synced_at, "Jane Doe")
    assert held.sync_error
    assert held.next_refresh_at is not None
    assert held.next_refresh_at > timezone.now()


def test_an_older_answer_does_not_overwrite_a_newer_one(linked: Running, jane: Profile) -> None:
    later = timezone.now() + timedelta(seconds=60)
    Profile.objects.filter(pk=jane.pk).update(last_synced_at=later, display_name="Newer")
    mirroring.refresh_profile(jane.pk)
    assert Profile.objects.get(pk=jane.pk).display_name == "Newer"


def test_what_was_outdated_while_we_asked_stays_outdated(linked: Running, jane: Profile) -> None:
    later = timezone.now() + timedelta(seconds=60)
    Profile.objects.filter(pk=jane.pk).update(outdated_at=later)
    mirroring.refresh_profile(jane.pk)
    assert Profile.objects.get(pk=jane.pk).outdated_at == later


def test_a_renamed_profile_keeps_its_row(linked: Running, jane: Profile) -> None:
    linked.simulator.world.profiles["prof_1"].username = "jane"
    mirroring.refresh_profile(jane.pk)
    assert selectors.find_profile_id("JANE") == jane.pk
    assert selectors.find_profile_id("janedoe") is None


def test_a_name_that_is_taken_here_is_not_taken_over(linked: Running, jane: Profile) -> None:
    Profile.objects.create(username="Taken")
    linked.simulator.world.profiles["prof_1"].username = "taken"
    assert mirroring.refresh_profile(jane.pk)
    assert Profile.objects.get(pk=jane.pk).username == "janedoe"


def test_a_failed_refresh_asks_for_no_refresh_of_what_is_not_mirrored() -> None:
    profile = Profile.objects.create(username="own")
    mirroring.refresh_queued(profile.pk)
    mirroring.refresh_queued(0)


def test_a_late_404_takes_back_no_newer_answer(jane: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, lambda: mirroring.refresh_profile(jane.pk), is_gone=True)
    mirroring.refresh_profile(jane.pk)
    jane.refresh_from_db()
    assert jane.gone_at is None


@pytest.mark.parametrize("is_gone", [True, False])
def test_an_event_during_a_call_leaves_the_profile_due(
    jane: Profile, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    meanwhile(monkeypatch, lambda: mirroring.mark_outdated(jane.pk), is_gone=is_gone)
    mirroring.refresh_profile(jane.pk)
    jane.refresh_from_db()
    assert jane.outdated_at is not None
    assert jane.next_refresh_at is not None
    assert jane.next_refresh_at <= timezone.now()


def test_what_the_admin_stores_takes_back_no_sync_and_no_event(jane: Profile) -> None:
    shown = Profile.objects.get(pk=jane.pk)
    Profile.objects.filter(pk=jane.pk).update(bio="Synced since", version=7)
    mirroring.mark_outdated(jane.pk)
    shown.is_published = False
    services.save_profile(shown)
    jane.refresh_from_db()
    assert (jane.bio, jane.version, jane.is_published) == ("Synced since", 8, False)
    assert jane.outdated_at is not None


def test_a_header_shows_no_url(linked: Running, jane: Profile) -> None:
    link = linked.simulator.world.links["lnk_3"]
    link.type, link.url, link.is_active = "header", "javascript:alert(1)", True
    mirroring.refresh_profile(jane.pk)
    profile = selectors.public_profile(jane.pk)
    assert profile is not None
    assert [(item["type"], item["url"]) for item in profile["links"] if item["id"] == "lnk_3"] == [("header", "")]


def test_a_refresh_ends_before_its_task_is_ended() -> None:
    assert mirroring.TASK_BUDGET_SECONDS < SOFT_TIME_LIMIT_SECONDS


def test_a_late_first_sight_takes_back_no_newer_answer(
    linked: Running, jane: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited() -> None:
        linked.simulator.world.profiles["prof_1"].bio = "Edited meanwhile"
        mirroring.refresh_profile(jane.pk)

    meanwhile(monkeypatch, edited)
    assert mirroring.mirror_profile("janedoe") == jane.pk
    jane.refresh_from_db()
    assert jane.bio == "Edited meanwhile"
