"""Replays of POST by Idempotency-Key, kept 24 hours (section 7.2)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from profiles.simulator.answers import ApiError, Reply

KEPT_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Stored:
    digest: str
    reply: Reply
    stored_at: float


class IdempotencyKeys:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stored: dict[tuple[str, str, str], Stored] = {}

    def replay(self, token: str, path: str, key: str, body: bytes) -> Reply | None:
        """Return the stored answer, None for a new key; raises 409 when the key came with another body."""
        stored = self._stored.get((token, path, key))
        if stored is None or self._clock() - stored.stored_at > KEPT_SECONDS:
            return None
        if stored.digest != hashlib.sha256(body).hexdigest():
            raise ApiError(409, "IDEMPOTENCY_CONFLICT", "This Idempotency-Key was used with another body")
        return Reply(stored.reply.status, stored.reply.body, {**stored.reply.headers, "Idempotency-Replayed": "true"})

    def store(self, token: str, path: str, key: str, body: bytes, reply: Reply) -> None:
        """Keep a 2xx or 4xx answer; a 429 or 5xx must be tried again."""
        if reply.status < 500 and reply.status != 429:
            digest = hashlib.sha256(body).hexdigest()
            self._stored[token, path, key] = Stored(digest, reply, self._clock())
