"""What a call to Linktree may raise. Three things matter to a caller: try later, refused, not there.

LinktreeError
├── LinktreeUnavailable    no usable answer; a stale copy may serve, a later try may succeed
│   ├── ServerError            5xx to the last attempt
│   ├── RateLimited            429, or our own quota: retry_after_seconds says when
│   ├── CircuitOpen            not asked: the last calls all failed
│   └── BadResponse            not JSON, cut off, or without the fields that an object must have
├── LinktreeRejected       a definite no: the same call will get the same answer
│   ├── ValidationError        400 or 422; fields names what is wrong
│   ├── DuplicateLink          409; existing_link_id is the link that has the URL
│   ├── PlanRestricted         403; the plan, never the key
│   ├── InsufficientScope      403
│   └── ReadOnly               not asked: LINKTREE_READ_ONLY blocks writes
├── AuthError              401 with the present credential
├── LinktreeNotFound       404: unknown, deactivated, or another account's
└── ThemeNotApplied        200, but the theme is still the old one
"""

from linklayer.errors import LinkLayerError


class LinktreeError(LinkLayerError):
    """code: Linktree's upper snake-case word, UNKNOWN if it gave none. http_status: 0 without an answer."""

    status, kind, title = 502, "linktree-failed", "Linktree failed"

    def __init__(
        self, detail: str = "", *, code: str = "UNKNOWN", http_status: int = 0, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(detail, retry_after_seconds=retry_after_seconds)
        self.code = code
        self.http_status = http_status


class LinktreeUnavailable(LinktreeError):
    status, kind, title = 503, "linktree-unavailable", "Linktree does not answer"

    def __init__(
        self, detail: str = "", *, code: str = "UNKNOWN", http_status: int = 0, retry_after_seconds: int = 30
    ) -> None:
        super().__init__(detail, code=code, http_status=http_status, retry_after_seconds=retry_after_seconds)


class ServerError(LinktreeUnavailable):
    title = "Linktree reports an error of its own"


class RateLimited(LinktreeUnavailable):
    title = "Linktree's rate limit is reached"


class CircuitOpen(LinktreeUnavailable):
    title = "Linktree is not asked after repeated failures"


class BadResponse(LinktreeUnavailable):
    title = "Linktree's answer cannot be read"


class LinktreeRejected(LinktreeError):
    kind, title = "linktree-rejected", "Linktree refused the request"


class ValidationError(LinktreeRejected):
    """fields: {field name: [sentence, ...]} as Linktree gave them; may be empty."""

    def __init__(self, detail: str, *, fields: dict[str, list[str]], code: str, http_status: int) -> None:
        super().__init__(detail, code=code, http_status=http_status)
        self.fields = fields


class DuplicateLink(LinktreeRejected):
    status, title = 409, "Another link has this URL"

    def __init__(self, detail: str, *, existing_link_id: str | None, code: str, http_status: int) -> None:
        super().__init__(detail, code=code, http_status=http_status)
        self.existing_link_id = existing_link_id


class PlanRestricted(LinktreeRejected):
    title = "The Linktree plan does not include this"


class InsufficientScope(LinktreeRejected):
    title = "The Linktree token lacks a scope"


class ReadOnly(LinktreeRejected):
    status = 403
    title = "Writing to Linktree is switched off"


class AuthError(LinktreeError):
    kind, title = "linktree-credential", "Linktree does not accept the credential"


class LinktreeNotFound(LinktreeError):
    status, kind, title = 404, "not-found", "Not found at Linktree"


class ThemeNotApplied(LinktreeError):
    title = "Linktree kept the old theme"
