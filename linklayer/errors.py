"""The one tree of errors that callers may see. The raiser says whether a retry makes sense.

LinkLayerError
├── InvalidInput      400  what was sent is wrong; names the fields
├── Unauthenticated   401  no key, or not one of ours
├── Refused           403  the key lacks a scope, or a policy says no
├── NotFound          404
├── Conflict          409  what is there already contradicts it
├── Ended             410  was there, and ended
├── TooLarge          413
├── TooManyRequests   429  retry after the given seconds
├── UpstreamFailed    502  the other side answered nonsense or refused
└── Unavailable       503  a part of ours is down; retry after the given seconds
"""

from typing import ClassVar


class LinkLayerError(Exception):
    """An error with a status, a stable type and a sentence for the caller."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str = "", *, retry_after_seconds: int | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retry_after_seconds = retry_after_seconds
        self.facts: dict[str, object] = {}


class InvalidInput(LinkLayerError):
    """errors: {field name: [sentence, ...]}; the empty name stands for the whole input."""

    status, kind, title = 400, "invalid-input", "Invalid input"

    def __init__(self, errors: dict[str, list[str]], detail: str = "") -> None:
        super().__init__(detail or "; ".join(f"{name}: {text}" for name, texts in errors.items() for text in texts))
        self.errors = errors


class Unauthenticated(LinkLayerError):
    status, kind, title = 401, "unauthenticated", "A valid API key is needed"


class Refused(LinkLayerError):
    status, kind, title = 403, "refused", "Not allowed"


class NotFound(LinkLayerError):
    status, kind, title = 404, "not-found", "Not found"


class Conflict(LinkLayerError):
    """facts: what is there already, shown beside the detail."""

    status, kind, title = 409, "conflict", "Conflict"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.facts = facts


class Ended(LinkLayerError):
    status, kind, title = 410, "ended", "No longer here"


class TooLarge(LinkLayerError):
    status, kind, title = 413, "too-large", "Body too large"


class TooManyRequests(LinkLayerError):
    status, kind, title = 429, "too-many-requests", "Too many requests"


class UpstreamFailed(LinkLayerError):
    status, kind, title = 502, "upstream-failed", "The source failed"


class Unavailable(LinkLayerError):
    status, kind, title = 503, "unavailable", "Temporarily unavailable"

    def __init__(self, detail: str = "", *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, retry_after_seconds=retry_after_seconds)
