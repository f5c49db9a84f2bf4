"""System checks: production does not start with settings that are only safe for development."""

import re
from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings
from django.core.checks import Error, Warning, register  # noqa: A004 - Django's own name
from django.core.exceptions import ImproperlyConfigured

SECRET_MIN_LENGTH = 32


@register()
def production_settings(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[Error | Warning]:
    """Every command runs this. Embedded mode generates its secrets and is exempt from the rest."""
    problems: list[Error | Warning] = []
    if len(settings.SECRET_KEY) < SECRET_MIN_LENGTH or settings.SECRET_KEY.startswith("django-insecure"):
        problems.append(Error(f"SECRET_KEY needs at least {SECRET_MIN_LENGTH} random characters", id="linklayer.E001"))
    if settings.CLICK_ADDRESS not in {"truncated", "none", "full"}:
        problems.append(Error("CLICK_ADDRESS is one of truncated, none, full", id="linklayer.E002"))
    if settings.LINKTREE_API_KEY and settings.LINKTREE_API_TOKEN not in {"", settings.LINKTREE_API_KEY}:
        problems.append(Error("LINKTREE_API_KEY and LINKTREE_API_TOKEN differ: set one of them", id="linklayer.E003"))
    if not re.fullmatch(r"[0-9]+/[smhd]", settings.ANONYMOUS_WRITE_RATE):
        problems.append(Error("ANONYMOUS_WRITE_RATE has the form 10/m (s, m, h or d)", id="linklayer.E004"))
    if settings.TIER1_ENTRIES < 1:
        problems.append(Error("TIER1_ENTRIES is at least 1", id="linklayer.E005"))
    return problems if settings.EMBEDDED else problems + _production_only()


def refuse_unsafe_settings() -> None:
    """Raise ImproperlyConfigured naming every error: servers call this, since only commands run the system checks."""
    errors = [problem for problem in production_settings(None) if problem.is_serious()]
    if errors:
        raise ImproperlyConfigured("; ".join(f"{error.msg} ({error.id})" for error in errors))


def _production_only() -> list[Error | Warning]:
    problems: list[Error | Warning] = []
    if settings.DEBUG:
        problems.append(Error("DEBUG is on: it shows settings and memory to strangers", id="linklayer.E010"))
    if "*" in settings.ALLOWED_HOSTS:
        problems.append(Error("ALLOWED_HOSTS must name the hosts, not '*'", id="linklayer.E011"))
    if any(network.prefixlen == 0 for network in settings.TRUSTED_PROXIES):
        problems.append(Error("TRUSTED_PROXIES trusts everybody: anyone could name their address", id="linklayer.E012"))
    key = settings.LINKTREE_API_KEY or settings.LINKTREE_API_TOKEN
    if settings.LINKTREE_BASE_URL and not key:
        problems.append(Error("LINKTREE_BASE_URL is set but LINKTREE_API_KEY is not", id="linklayer.E013"))
    if key and not settings.LINKTREE_BASE_URL:
        problems.append(Error("LINKTREE_API_KEY is set but LINKTREE_BASE_URL is not", id="linklayer.E014"))
    if key.startswith("lt_test_"):
        problems.append(Error("LINKTREE_API_KEY is a test key (lt_test_...)", id="linklayer.E015"))
    if settings.LINKTREE_BASE_URL and not settings.LINKTREE_WEBHOOK_SECRET:
        problems.append(Warning("LINKTREE_WEBHOOK_SECRET is not set: webhooks are refused", id="linklayer.W016"))
    if not settings.AMQP_URL.startswith(("amqp://", "amqps://")):
        problems.append(Warning("AMQP_URL is not RabbitMQ: queues are not replicated", id="linklayer.W017"))
    if not settings.PUBLIC_URL.startswith("https://"):
        problems.append(Warning("PUBLIC_URL is not https: cookies are not marked secure", id="linklayer.W018"))
    return problems
