"""Writing short links: versions, forgets, events, and who wins a race."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from linklayer.errors import Conflict, Ended, InvalidInput, LinkLayerError, NotFound
from linklayer.models import CacheKeyVersion, OutboxEvent, PendingForget
from shortlinks import selectors, services, slugs
from shortlinks.contracts import ShortLinkRecord
from shortlinks.models import IdempotentCreation, ShortLink

URL = "https://www.python.org/"
DIGEST = "0" * 64

pytestmark = pytest.mark.django_db


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run the calls in threads of their own; return their results or the errors of the house that they raised."""

    def run(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except LinkLayerError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def test_a_new_link_is_stored_in_its_canonical_form_and_told_of() -> None:
    record = services.create_short_link(url="HTTPS://bücher.de", slug="Books", profile_id=7, also_forget="profile:7")
    assert (record.slug, record.destination) == ("Books", "https://xn--bcher-kva.de/")
    assert (record.version, record.is_active, record.profile_id) == (1, True, 7)
    event = OutboxEvent.objects.get()
    assert (event.type, event.payload["slug"], event.payload["version"]) == ("link.created", "Books", 1)
    assert set(PendingForget.objects.values_list("key", flat=True)) == {"link:Books", "profile:7"}


def test_a_link_without_slug_gets_a_free_random_one(monkeypatch: pytest.MonkeyPatch) -> None:
    services.create_short_link(url=URL, slug="taken11")
    drawn = iter(["taken11", "TAKEN11", "free111"])
    monkeypatch.setattr(services, "random_slug", lambda: next(drawn))
    assert services.create_short_link(url=URL).slug == "free111"


def test_all_wrong_fields_are_named_and_nothing_is_stored() -> None:
    with pytest.raises(InvalidInput) as refusal:
        services.create_short_link(
            url="ftp://x", slug="a/b", status_code=303, expires_at=datetime.now(UTC) - timedelta(seconds=1)
        )
    assert set(refusal.value.errors) == {"url", "slug", "statusCode", "expiresAt"}
    assert not ShortLink.objects.exists()


@pytest.mark.parametrize("slug", ["Hello", "hello", "HELLO"])
def test_a_taken_slug_is_a_conflict_in_any_case_also_when_retired(slug: str) -> None:
    link_id = services.create_short_link(url=URL, slug="Hello").id
    services.retire_short_link(link_id)
    with pytest.raises(Conflict, match="taken"):
        services.create_short_link(url=URL, slug=slug)
    assert ShortLink.objects.count() == 1


def test_an_edit_raises_the_version_and_orders_the_forgets() -> None:
    record = services.create_short_link(url=URL, slug="edit-me", also_forget="profile:3")
    changed = services.change_short_link(record.id, url="https://www.djangoproject.com", status_code=301)
    assert (changed.destination, changed.status_code, changed.version) == ("https://www.djangoproject.com/", 301, 2)
    assert changed.updated_at >= record.updated_at
    assert OutboxEvent.objects.filter(type="link.updated", payload__version=2).count() == 1
    assert PendingForget.objects.filter(key="link:edit-me", version=2).exists()
    assert CacheKeyVersion.objects.get(key="profile:3").version == 2


def test_an_edit_that_changes_nothing_tells_nobody() -> None:
    record = services.create_short_link(url=URL, slug="same")
    assert services.change_short_link(record.id, url="https://WWW.python.org", is_active=True).version == 1
    assert not OutboxEvent.objects.filter(type="link.updated").exists()


def test_an_expiry_can_be_set_kept_and_taken_away() -> None:
    moment = datetime.now(UTC) + timedelta(days=1)
    link_id = services.create_short_link(url=URL, expires_at=moment).id
    assert services.change_short_link(link_id, is_active=False).expires_at == moment
    assert services.change_short_link(link_id, expires_at=None).expires_at is None


def test_disabling_enabling_and_retiring() -> None:
    link_id = services.create_short_link(url=URL).id
    assert services.disable_short_link(link_id).is_active is False
    assert services.enable_short_link(link_id).is_active is True
    retired = services.retire_short_link(link_id)
    assert retired.is_active is False
    assert retired.retired_at is not None
    assert services.retire_short_link(link_id).version == retired.version
    with pytest.raises(Ended):
        services.enable_short_link(link_id)


def test_a_link_that_does_not_exist_cannot_be_edited() -> None:
    for edit in (services.disable_short_link, services.retire_short_link):
        with pytest.raises(NotFound):
            edit(1)


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("status_code", 200, "short_link_status_code"),
        ("slug", "a/b", "short_link_slug_format"),
        ("destination", "javascript:alert(1)", "short_link_destination"),
        ("destination", "https://a.org/\r\nX: y", "short_link_destination"),
        ("version", 0, "short_link_version"),
        ("retired_at", datetime.now(UTC), "short_link_retired_is_inactive"),
    ],
)
def test_the_database_itself_refuses_what_no_link_may_be(column: str, value: Any, constraint: str) -> None:
    link_id = services.create_short_link(url=URL).id
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        ShortLink.objects.filter(pk=link_id).update(**{column: value})


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_gets_the_slug() -> None:
    slugs_asked = ["race", "RACE", "Race", "rAce"] * 3
    results = at_once([partial(services.create_short_link, url=URL, slug=slug) for slug in slugs_asked])
    assert sum(isinstance(result, ShortLinkRecord) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 11
    assert ShortLink.objects.count() == OutboxEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_edits_at_once_are_all_counted_in_the_version() -> None:
    link_id = services.create_short_link(url=URL).id
    edits = [partial(services.change_short_link, link_id, url=f"{URL}{number}") for number in range(8)]
    versions = sorted(record.version for record in at_once(edits))
    assert versions == list(range(2, 10))


def _create_once(key: str = "k", digest: str = DIGEST) -> ShortLinkRecord:
    return services.create_short_link_once(
        key=key, request_digest=digest, create=lambda: services.create_short_link(url=URL, slug="once")
    )


def test_a_repeat_gets_the_first_answer_whatever_was_edited_since() -> None:
    first = _create_once()
    services.disable_short_link(first.id)
    assert _create_once() == first


def test_a_key_with_another_request_is_a_conflict() -> None:
    _create_once()
    with pytest.raises(Conflict, match="another request"):
        _create_once(digest="1" * 64)


def test_a_failed_creation_leaves_the_key_free() -> None:
    services.create_short_link(url=URL, slug="once")
    with pytest.raises(Conflict):
        _create_once()
    assert not IdempotentCreation.objects.exists()


def test_after_a_day_the_key_is_forgotten_and_pruned() -> None:
    first = _create_once()
    services.retire_short_link(first.id)
    IdempotentCreation.objects.update(created_at=datetime.now(UTC) - timedelta(hours=24))
    with pytest.raises(Conflict, match="taken"):
        _create_once()
    assert services.prune_idempotent_creations() == 1
    _create_once_with_another_slug = services.create_short_link_once(
        key="k", request_digest=DIGEST, create=lambda: services.create_short_link(url=URL)
    )
    assert _create_once_with_another_slug.id != first.id
    assert services.prune_idempotent_creations() == 0


def test_pages_of_links_come_newest_first_without_gap_or_repeat() -> None:
    made = [services.create_short_link(url=f"{URL}{n}", slug=f"page-{n}").id for n in range(5)]
    services.retire_short_link(made[2])
    first = selectors.list_short_links(limit=2)
    second = selectors.list_short_links(limit=2, before_id=first.next_before_id)
    assert [record.id for record in first.short_links + second.short_links] == [made[4], made[3], made[1], made[0]]
    assert second.next_before_id is None
    assert [record.slug for record in selectors.list_short_links(search="PAGE-1").short_links] == ["page-1"]
    assert [record.slug for record in selectors.list_short_links(search="org/3").short_links] == ["page-3"]


def test_links_are_found_by_id_in_one_query(django_assert_num_queries: Any) -> None:
    ids = [services.create_short_link(url=URL).id for _ in range(3)]
    with django_assert_num_queries(1):
        found = selectors.short_links_by_id([*ids, 0])
    assert set(found) == set(ids)


def test_a_slug_of_the_greatest_length_is_stored() -> None:
    assert services.create_short_link(url=URL, slug="x" * slugs.MAX_LENGTH).slug == "x" * 50
