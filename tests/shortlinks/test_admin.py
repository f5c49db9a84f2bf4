"""Short links in the admin, by Django's test client: every write through the services, every refusal a sentence."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from linklayer.models import OutboxEvent
from shortlinks import services
from shortlinks.models import ShortLink

URL = "https://www.python.org/"
LIST = "/admin/shortlinks/shortlink/"
NEW = f"{LIST}add/"

pytestmark = pytest.mark.django_db


def form(**given: Any) -> dict[str, Any]:
    return {"destination": URL, "slug": "", "status_code": 302, "expires_at_0": "", "expires_at_1": "", **given}


def text(response: Any) -> str:
    content: str = response.content.decode()
    return content


def test_an_operator_makes_a_link_by_form(admin_client: Client) -> None:
    response = admin_client.post(NEW, form(slug="By-Hand", destination="https://bücher.de"), follow=True)
    assert response.status_code == 200
    link = ShortLink.objects.get()
    assert (link.slug, link.destination, link.is_anonymous) == ("By-Hand", "https://xn--bcher-kva.de/", False)
    assert OutboxEvent.objects.get().type == "link.created"
    assert "was added successfully" in text(response)


def test_an_empty_slug_becomes_a_random_one(admin_client: Client) -> None:
    assert admin_client.post(NEW, form()).status_code == 302
    assert len(ShortLink.objects.get().slug) == 7


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"destination": "http://localhost/"}, "needs a domain"),
        ({"destination": ""}, "This field is required"),
        ({"slug": "a/b"}, "letters a to z"),
        ({"slug": "admin"}, "reserved"),
        ({"slug": "TAKEN"}, "This slug is taken"),
        ({"slug": "taken"}, "already exists"),
        ({"status_code": 200}, "Select a valid choice"),
        ({"expires_at_0": "2001-01-01", "expires_at_1": "00:00"}, "must lie in the future"),
    ],
)
def test_a_wrong_field_gets_a_sentence_and_stores_nothing(
    admin_client: Client, given: dict[str, Any], sentence: str
) -> None:
    services.create_short_link(url=URL, slug="taken")
    response = admin_client.post(NEW, form(**given), follow=True)
    assert response.status_code == 200
    assert sentence in text(response)
    assert ShortLink.objects.count() == 1


def test_a_refusal_that_only_the_write_can_find_is_a_message(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.create_short_link(url=URL, slug="drawn11")
    monkeypatch.setattr(services, "random_slug", lambda: "drawn11")
    response = admin_client.post(NEW, form(), follow=True)
    assert "No free slug was found." in text(response)
    assert ShortLink.objects.count() == 1


def test_an_operator_changes_a_link(admin_client: Client) -> None:
    moment = datetime.now(UTC) + timedelta(days=1, seconds=0.5)
    record = services.create_short_link(url=URL, slug="edit", expires_at=moment)
    page = f"{LIST}{record.id}/change/"
    assert "edit" in text(admin_client.get(page))
    kept = {"expires_at_0": f"{moment:%Y-%m-%d}", "expires_at_1": f"{moment:%H:%M:%S}"}
    response = admin_client.post(page, form(destination="https://www.djangoproject.com/", status_code=301, **kept))
    assert response.status_code == 302
    link = ShortLink.objects.get()
    assert (link.slug, link.destination, link.status_code) == ("edit", "https://www.djangoproject.com/", 301)
    assert (link.is_active, link.version) == (False, 2)
    assert link.expires_at == moment


def test_deleting_is_retiring(admin_client: Client) -> None:
    record = services.create_short_link(url=URL, slug="ended")
    response = admin_client.post(f"{LIST}{record.id}/delete/", {"post": "yes"}, follow=True)
    assert "its slug stays taken" in text(response)
    assert ShortLink.objects.get().retired_at is not None
    assert admin_client.get(f"{LIST}{record.id}/change/").status_code == 200
    assert admin_client.post(f"{LIST}{record.id}/change/", form()).status_code == 403


@pytest.mark.parametrize(("action", "word"), [("disable", "disabled"), ("enable", "enabled"), ("retire", "retired")])
def test_the_actions_say_what_they_did(admin_client: Client, action: str, word: str) -> None:
    ids = [services.create_short_link(url=URL).id for _ in range(2)]
    ended = services.retire_short_link(services.create_short_link(url=URL, slug="ended").id)
    given = {"action": action, "_selected_action": [*ids, ended.id]}
    page = text(admin_client.post(LIST, given, follow=True))
    assert f"short links {word}" in page
    assert ("ended: " in page) == (action != "retire")
    assert "delete_selected" not in page


def test_the_list_costs_the_same_however_long(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(12):
        services.create_short_link(url=f"{URL}{number}", slug=f"listed-{number}")
    with django_assert_max_num_queries(8):
        page = text(admin_client.get(LIST))
    assert all(f"listed-{number}" in page for number in range(12))


def test_the_list_is_searched_and_filtered(admin_client: Client) -> None:
    services.disable_short_link(services.create_short_link(url=URL, slug="needle").id)
    services.create_short_link(url=URL, slug="haystack")
    for query in ("q=NEEDLE", "is_active__exact=0"):
        page = text(admin_client.get(f"{LIST}?{query}"))
        assert "needle" in page
        assert "haystack" not in page


def test_a_stranger_is_sent_to_the_sign_in(client: Client) -> None:
    response = client.post(NEW, form(slug="sneaky"))
    assert response.status_code == 302
    assert response["Location"].startswith("/admin/login/")
    assert not ShortLink.objects.exists()
