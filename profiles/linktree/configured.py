"""The one client of this process, made from the settings when it is first needed."""

import os
import time
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from profiles.linktree.client import LinktreeClient
from profiles.linktree.errors import LinktreeUnavailable
from profiles.linktree.quota import GLOBAL, Quota, Rate

FIRST_SIGHT = "first-sight"
KEY_FILE_VARIABLE = "LINKTREE_API_KEY_FILE"


def is_configured() -> bool:
    return bool(settings.LINKTREE_BASE_URL)


def linktree() -> LinktreeClient:
    """Return the client. Raises LinktreeUnavailable if no LINKTREE_BASE_URL is set."""
    if not is_configured():
        raise LinktreeUnavailable("no LINKTREE_BASE_URL is set")
    return _client(settings.LINKTREE_BASE_URL, settings.LINKTREE_READ_ONLY)


def credential() -> str:
    """Return the present token: a key file is read again each time, so that a rotation needs no restart."""
    path = os.environ.get(KEY_FILE_VARIABLE)
    if path:
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise LinktreeUnavailable("the file of the Linktree API key cannot be read") from error
    return str(settings.LINKTREE_API_KEY or settings.LINKTREE_API_TOKEN)


@lru_cache(maxsize=8)
def _client(base_url: str, read_only: bool) -> LinktreeClient:
    return LinktreeClient(base_url, credential, read_only=read_only)


@lru_cache(maxsize=1)
def first_sight_quota() -> Quota:
    """Names that strangers make up may use a third of the profile calls that we have, not all of them."""
    rate = Rate(capacity=5, per_minute=15)
    return Quota(time.monotonic, {GLOBAL: rate, FIRST_SIGHT: rate})


def forget_clients() -> None:
    """Let the next call make a new client, with a full quota and a closed breaker."""
    _client.cache_clear()
    first_sight_quota.cache_clear()
