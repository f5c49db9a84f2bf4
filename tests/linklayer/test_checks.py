"""Production does not start with settings that are only safe for development."""

import ipaddress
import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from linklayer.checks import production_settings, refuse_unsafe_settings


@pytest.fixture(autouse=True)
def safe(settings: Settings) -> None:
    settings.EMBEDDED = settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["links.example"]
    settings.LINKTREE_BASE_URL = "https://api.linktr.ee/v1"
    settings.LINKTREE_API_KEY = "lt_live_x"
    settings.LINKTREE_WEBHOOK_SECRET = "secret"
    settings.PUBLIC_URL = "https://links.example"


def test_safe_settings_pass() -> None:
    assert production_settings(None) == []


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("SECRET_KEY", "short", "linklayer.E001"),
        ("CLICK_ADDRESS", "some", "linklayer.E002"),
        ("LINKTREE_API_TOKEN", "another", "linklayer.E003"),
        ("ANONYMOUS_WRITE_RATE", "ten", "linklayer.E004"),
        ("TIER1_ENTRIES", 0, "linklayer.E005"),
        ("DEBUG", True, "linklayer.E010"),
        ("ALLOWED_HOSTS", ["*"], "linklayer.E011"),
        ("TRUSTED_PROXIES", [ipaddress.ip_network("0.0.0.0/0")], "linklayer.E012"),
        ("LINKTREE_API_KEY", "", "linklayer.E013"),
        ("LINKTREE_BASE_URL", "", "linklayer.E014"),
        ("LINKTREE_API_KEY", "lt_test_x", "linklayer.E015"),
        ("LINKTREE_WEBHOOK_SECRET", "", "linklayer.W016"),
        ("AMQP_URL", "redis://localhost/0", "linklayer.W017"),
        ("PUBLIC_URL", "http://links.example", "linklayer.W018"),
    ],
)
def test_each_unsafe_setting_is_named(settings: Settings, name: str, value: Any, error: str) -> None:
    setattr(settings, name, value)
    assert [problem.id for problem in production_settings(None)] == [error]


def test_embedded_mode_needs_no_production_settings(settings: Settings) -> None:
    settings.EMBEDDED, settings.LINKTREE_API_KEY = True, "lt_test_x"
    assert production_settings(None) == []


def test_a_server_refuses_to_start_and_says_why(settings: Settings) -> None:
    settings.DEBUG = True
    with pytest.raises(ImproperlyConfigured, match="DEBUG"):
        refuse_unsafe_settings()


@pytest.mark.parametrize("server", ["linklayer.asgi", "linklayer.wsgi"])
def test_both_servers_ask(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "*")
    run = subprocess.run(
        [sys.executable, "-c", f"import {server}"], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode != 0
    assert "linklayer.E011" in run.stderr
