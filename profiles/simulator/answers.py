"""What the simulator answers: a reply with a JSON body, or an error in the contract's envelope (section 5)."""

import json
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(slots=True)
class Reply:
    """One HTTP answer. body: JSON-able, or None for an empty one; raw wins over body when it is set."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None

    def payload(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return b"" if self.body is None else json.dumps(self.body, ensure_ascii=False).encode("utf-8", "replace")


class ApiError(Exception):
    """An error of the contract: status, code, message, details and headers."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Json | None = None,
        headers: dict[str, str] | None = None,
        beside: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers or {}
        self.beside = beside or {}

    def reply(self) -> Reply:
        error: Json = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return Reply(self.status, {"error": error, **self.beside}, dict(self.headers))


def not_found(kind: str) -> ApiError:
    """kind: PROFILE, LINK, WEBHOOK or ROUTE."""
    return ApiError(404, f"{kind}_NOT_FOUND", f"{kind.title()} not found")


def invalid_fields(fields: dict[str, list[str]]) -> ApiError:
    return ApiError(422, "VALIDATION_ERROR", "Some fields are not valid", details={"fields": fields})


def invalid_url(message: str) -> ApiError:
    return ApiError(400, "INVALID_URL", message)
