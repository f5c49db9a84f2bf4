"""Waiting for what another process does."""

import time
from collections.abc import Callable


def eventually(is_so: Callable[[], bool], what: str, *, timeout_seconds: float = 20.0) -> None:
    """Return as soon as it is so; fail after the time-out."""
    give_up_at = time.monotonic() + timeout_seconds
    while not is_so():
        assert time.monotonic() < give_up_at, f"not within {timeout_seconds} s: {what}"
        time.sleep(0.05)
