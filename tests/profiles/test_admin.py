"""Profiles in the admin: own ones are edited through the services, mirrored ones only shown and refreshed."""

from typing import Any

import pytest
from django.test import Client

from profiles import mirroring
from profiles.models import Profile, ProfileLink
from tests.profiles.conftest import Running, short_link_of

pytestmark = pytest.mark.django_db

LIST, ADD = "/admin/profiles/profile/", "/admin/profiles/profile/add/"


def _form(**changes: Any) -> dict[str, Any]:
    link = {"position": "0", "title": "Shop", "url": "https://example.com/shop", "is_enabled": "on", "id": ""}
    return {
        "username": "owner", "display_name": "Owner", "bio": "", "avatar_url": "", "theme": "{}", "is_published": "on",
        "links-TOTAL_FORMS": "1", "links-INITIAL_FORMS": "0",
        **{f"links-0-{name}": text for name, text in link.items()}, **changes,
    }  # fmt: skip


def test_an_operator_makes_a_profile_with_a_link(admin_client: Client) -> None:
    answer = admin_client.post(ADD, _form())
    assert answer.status_code == 302
    link = ProfileLink.objects.get()
    assert short_link_of(link).destination == "https://example.com/shop"
    assert admin_client.get(LIST).status_code == 200
    assert admin_client.get(f"{LIST}{link.profile_id}/change/").status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "TAKEN"),
        ("username", "a b"),
        ("username", ""),
        ("theme", "[1]"),
        ("theme", "{"),
        ("links-0-url", "javascript:alert(1)"),
        ("links-0-title", "x" * 101),
        ("links-0-position", "-1"),
    ],
)
def test_what_an_operator_gets_wrong_is_named_and_nothing_is_stored(
    admin_client: Client, field: str, value: str
) -> None:
    Profile.objects.create(username="taken")
    answer = admin_client.post(ADD, _form(**{field: value}))
    assert answer.status_code == 200
    assert b"errorlist" in answer.content or b"text-red" in answer.content
    assert (Profile.objects.count(), ProfileLink.objects.count()) == (1, 0)


def test_an_edit_raises_the_version_and_a_deleted_link_ends(admin_client: Client) -> None:
    admin_client.post(ADD, _form())
    link = ProfileLink.objects.get()
    version = Profile.objects.get().version
    changes = {"links-INITIAL_FORMS": "1", "links-0-id": str(link.pk), "links-0-DELETE": "on", "bio": "New"}
    answer = admin_client.post(f"{LIST}{link.profile_id}/change/", _form(**changes))
    assert answer.status_code == 302
    assert (Profile.objects.get().bio, ProfileLink.objects.count()) == ("New", 0)
    assert Profile.objects.get().version > version
    assert not short_link_of(link).is_active


def test_a_mirrored_profile_is_shown_and_only_its_publishing_is_ours(linked: Running, admin_client: Client) -> None:
    profile_id = mirroring.mirror_profile("janedoe")
    page = f"{LIST}{profile_id}/change/"
    assert b'name="username"' not in admin_client.get(page).content
    answer = admin_client.post(page, {"links-TOTAL_FORMS": "0", "links-INITIAL_FORMS": "0", "username": "stolen"})
    assert answer.status_code == 302
    assert (Profile.objects.get().username, Profile.objects.get().is_published) == ("janedoe", False)


def test_the_actions_refresh_and_invalidate(linked: Running, admin_client: Client) -> None:
    profile_id = mirroring.mirror_profile("janedoe")
    linked.simulator.world.profiles["prof_1"].bio = "Changed"
    chosen = {"_selected_action": [str(profile_id)]}
    assert admin_client.post(LIST, {"action": "refresh", **chosen}).status_code == 302
    assert Profile.objects.get().bio == "Changed"
    assert admin_client.post(LIST, {"action": "invalidate", **chosen}).status_code == 302
    assert Profile.objects.get().outdated_at is not None
