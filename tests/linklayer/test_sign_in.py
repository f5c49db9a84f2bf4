"""The admin's sign-in, which strangers may not try for ever."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from linklayer import sign_in as module

pytestmark = pytest.mark.django_db
ADDRESS = "203.0.113.77"


@pytest.fixture(autouse=True)
def owner(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> User:
    settings.RATELIMIT_ENABLE = True
    monkeypatch.setattr(module, "SIGN_IN_RATE", "10/d")  # no window ends during the test
    return User.objects.create_superuser("owner", password="a long secret")


def sign_in(client: Client, password: str, address: str = ADDRESS) -> int:
    given = {"username": "owner", "password": password, "next": "/admin/"}
    return client.post("/admin/login/", given, REMOTE_ADDR=address).status_code


def test_guessing_ends_after_ten_tries(client: Client) -> None:
    tries = [sign_in(client, "wrong") for _ in range(11)]
    assert tries == [200] * 10 + [429]
    assert sign_in(client, "a long secret") == 429
    assert client.get("/admin/login/", REMOTE_ADDR=ADDRESS).status_code == 200
    assert sign_in(client, "a long secret", "203.0.113.78") == 302
