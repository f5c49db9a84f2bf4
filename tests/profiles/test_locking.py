"""A change of a profile and an edit of one of its short links at the same moment: one waits, neither is ended."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from profiles import mirroring, services
from profiles.contracts import LinkChange
from profiles.models import Profile, ProfileLink
from shortlinks.models import ShortLink
from shortlinks.services import disable_short_link
from tests.profiles.conftest import Running, mirrored, short_link_of

pytestmark = pytest.mark.django_db(transaction=True)


def _own() -> Profile:
    profile = Profile.objects.create(username="owner")
    for place, name in enumerate("ab"):
        services.save_own_link(
            ProfileLink(profile=profile, title=name, url=f"https://example.com/{name}", position=place)
        )
    return profile


def _wait_until_somebody_waits_for_a_lock() -> None:
    give_up_at = time.monotonic() + 5
    while time.monotonic() < give_up_at:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def _together_with_an_edit_of(link: ProfileLink, change: Callable[[], object]) -> None:
    """Hold the link's short link, let the change come to it, then edit it, which raises the profile's key."""

    def in_a_thread() -> None:
        try:
            change()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            ShortLink.objects.select_for_update().get(pk=short_link_of(link).pk)
            changing = threads.submit(in_a_thread)
            _wait_until_somebody_waits_for_a_lock()
            disable_short_link(short_link_of(link).pk)
        changing.result(timeout=10)


def test_a_sync_and_an_edit_of_a_short_link_do_not_deadlock(linked: Running) -> None:
    profile = mirrored("janedoe")
    for upstream_id in ("lnk_1", "lnk_2"):
        linked.simulator.world.links[upstream_id].url = f"https://example.com/{upstream_id}?changed"
    _together_with_an_edit_of(profile.links.get(upstream_id="lnk_2"), lambda: mirroring.refresh_profile(profile.pk))
    assert all(link.url.endswith("?changed") for link in profile.links.filter(upstream_id__in=["lnk_1", "lnk_2"]))


def test_a_change_of_own_links_and_an_edit_of_a_short_link_do_not_deadlock() -> None:
    profile = _own()
    first, second = profile.links.all()
    changes = [LinkChange(id=link.public_id, url=f"{link.url}?changed") for link in (first, second)]
    _together_with_an_edit_of(second, lambda: services.update_links(profile.pk, changes))
    assert all(link.url.endswith("?changed") for link in profile.links.all())


def test_the_admins_save_and_an_edit_of_a_short_link_do_not_deadlock() -> None:
    profile = _own()
    link = profile.links.all()[1]

    @transaction.atomic
    def save() -> None:
        services.save_profile(profile)
        link.url += "?changed"
        services.save_own_link(link)

    _together_with_an_edit_of(link, save)
    assert short_link_of(link).destination.endswith("?changed")
