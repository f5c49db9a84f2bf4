"""Keys in the admin and at the terminal: shown once, limited, revoked; and who sees the models at all."""

import re
from io import StringIO

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from linklayer.keys import create_api_key
from linklayer.models import ApiKey

pytestmark = pytest.mark.django_db

KEYS = "/admin/linklayer/apikey/"
KEY = re.compile(r"llk_[A-Za-z0-9_-]{43}")


def is_accepted(client: Client, text: str) -> bool:
    status = client.get("/api/links", headers={"authorization": f"Bearer {text}"}).status_code
    assert status in {200, 401}
    return status == 200


def test_an_operator_makes_a_key_and_sees_it_once(admin_client: Client, client: Client) -> None:
    form = {"name": "importer", "scopes": ["links:write", "analytics:read"], "expires_at_0": "", "expires_at_1": ""}
    made = admin_client.post(f"{KEYS}add/", form, follow=True)
    shown = KEY.findall(made.content.decode())
    assert len(shown) == 1
    assert is_accepted(client, shown[0])
    key = ApiKey.objects.get()
    assert (key.name, key.scopes) == ("importer", ["links:write", "analytics:read"])
    for page in (KEYS, f"{KEYS}{key.pk}/change/"):
        again = admin_client.get(page)
        assert again.status_code == 200
        assert b"importer" in again.content
        assert not KEY.search(again.content.decode())


@pytest.mark.parametrize("wrong", [{"scopes": []}, {"scopes": ["everything"]}, {"name": ""}])
def test_a_key_that_is_asked_for_wrongly_is_not_made(admin_client: Client, wrong: dict[str, object]) -> None:
    answer = admin_client.post(f"{KEYS}add/", {"name": "x", "scopes": ["admin"], **wrong})
    assert answer.status_code == 200
    assert not ApiKey.objects.exists()


def test_a_revoked_key_is_refused_and_stays_to_be_seen(admin_client: Client, client: Client) -> None:
    key, text = create_api_key(name="lost", scopes=["links:write"])
    assert is_accepted(client, text)
    admin_client.post(KEYS, {"action": "revoke", "_selected_action": [key.pk]})
    assert not is_accepted(client, text)
    assert b"revoked" in admin_client.get(KEYS).content
    assert admin_client.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.post(f"{KEYS}{key.pk}/change/", {"name": "y", "scopes": ["admin"]}).status_code == 403


@pytest.mark.parametrize(("model", "action", "ask"), [("apikey", "revoke", "view_apikey")])
def test_who_may_only_look_revokes_nothing(client: Client, model: str, action: str, ask: str) -> None:
    key, text = create_api_key(name="kept", scopes=["links:write"])
    watcher = User.objects.create_user("watcher", is_staff=True)
    watcher.user_permissions.add(Permission.objects.get(codename=ask))
    client.force_login(watcher)
    assert client.get(KEYS).status_code == 200
    client.post(f"/admin/linklayer/{model}/", {"action": action, "_selected_action": [key.pk]})
    assert is_accepted(Client(), text)


def test_the_command_prints_a_key_that_works_and_ends_in_time(client: Client) -> None:
    text = command("importer", "--scope", "links:write", "--days", "7").strip()
    assert KEY.fullmatch(text)
    assert is_accepted(client, text)
    expires_at = ApiKey.objects.get().expires_at
    assert expires_at is not None
    assert 6 <= (expires_at - timezone.now()).days <= 7
    assert ApiKey.objects.filter(expires_at=None).count() == 0


def test_the_command_wants_a_scope() -> None:
    with pytest.raises(CommandError, match="scopes"):
        command("importer")
    assert not ApiKey.objects.exists()


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("create_api_key", *arguments, stdout=out)
    return out.getvalue()


def test_links_profiles_receipts_dead_letters_and_keys_are_in_the_admin() -> None:
    registered = {model._meta.label for model in admin.site._registry}
    assert registered >= {
        "shortlinks.ShortLink", "profiles.Profile", "webhooks.WebhookReceipt", "linklayer.DeadLetter",
        "linklayer.ApiKey", "analytics.Click", "analytics.IngestedBatch",
    }  # fmt: skip
