"""The fault catalogue (section 8) and the queue that decides which request or delivery meets which fault."""

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from profiles.simulator.answers import ApiError, Json, invalid_fields

API_FAULTS = frozenset({
    "status", "500-once", "503-html", "429", "429-no-retry-after", "429-http-date", "429-ip",
    "slow", "drip", "reset", "truncate", "commit-then-drop",
    "empty-200", "wrong-content-type", "plain-error", "unknown-fields", "camel-case",
    "theme-noop", "bulk-partial", "bad-cursor", "cursor-loop",
    "expire-token", "downgrade-plan", "clock-skew", "v2-on",
})  # fmt: skip
WEBHOOK_FAULTS = frozenset({
    "dup", "delay", "drop", "stale-ts", "future-ts", "bad-sig", "uppercase-sig", "prefixed-sig", "short-sig",
    "no-headers", "old-secret", "body-only-sig", "unknown-event", "brief-envelope", "huge", "not-json",
})  # fmt: skip
_WITH_NUMBER = frozenset({"status", "slow", "clock-skew", "delay"})


@dataclass(frozen=True, slots=True)
class Fault:
    """number: the argument of `status:<code>`, `slow:<s>`, `clock-skew:<s>`, `delay:<s>`; of `429`, its Retry-After."""

    name: str
    number: float | None = None

    @staticmethod
    def parse(text: Any) -> "Fault":
        """Read `name[:number]`; raises 422 for a name that is not in the catalogue."""
        name, _, argument = str(text).partition(":")
        if name not in API_FAULTS | WEBHOOK_FAULTS:
            raise invalid_fields({"fault": [f"unknown fault {name!r}"]})
        try:
            number = float(argument) if argument else None
        except ValueError as error:
            raise invalid_fields({"fault": [f"{argument!r} is not a number"]}) from error
        if name in _WITH_NUMBER and number is None:
            raise invalid_fields({"fault": [f"{name} needs a number"]})
        return Fault(name, number)


@dataclass(slots=True)
class QueuedFault:
    """method and path: shell patterns for API faults. event: a pattern of event types for webhook faults."""

    fault: Fault
    times: int
    method: str = "*"
    path: str = "*"
    event: str = "*"


class FaultQueue:
    """Faults in the order in which they were queued; each is used up after `times` matches."""

    def __init__(self) -> None:
        self._queued: list[QueuedFault] = []
        self._lock = threading.Lock()

    def add(self, body: Json) -> None:
        """Queue `{"match": {"method"?, "path"?, "event"?}, "fault": "...", "times"?: 1}`."""
        match = body.get("match") or {}
        times = body.get("times", 1)
        if not isinstance(match, dict) or not isinstance(times, int) or times < 1:
            raise invalid_fields({"fault": ["match must be an object, times a positive integer"]})
        patterns = {name: str(match[name]) for name in ("method", "path", "event") if name in match}
        with self._lock:
            self._queued.append(QueuedFault(Fault.parse(body.get("fault")), times, **patterns))

    def clear(self) -> None:
        with self._lock:
            self._queued.clear()

    def for_request(self, method: str, path: str) -> list[Fault]:
        return self._take(
            lambda item: (
                item.fault.name in API_FAULTS and fnmatchcase(method, item.method) and fnmatchcase(path, item.path)
            )
        )

    def for_delivery(self, event_type: str) -> list[Fault]:
        return self._take(lambda item: item.fault.name in WEBHOOK_FAULTS and fnmatchcase(event_type, item.event))

    def _take(self, matches: Any) -> list[Fault]:
        """Return the first matching fault, as a list of one or none."""
        with self._lock:
            for item in self._queued:
                if matches(item):
                    item.times -= 1
                    if item.times == 0:
                        self._queued.remove(item)
                    return [item.fault]
        return []


def refusal(fault: Fault) -> ApiError | None:
    """Return the error that this fault answers with instead of the real answer, or None."""
    if fault.name == "status":
        status = int(fault.number or 500)
        return ApiError(status, "INTERNAL_ERROR" if status == 500 else "UNAVAILABLE", f"Injected {status}")
    if fault.name == "500-once":
        return ApiError(500, "INTERNAL_ERROR", "Injected 500")
    if fault.name == "bad-cursor":
        return ApiError(400, "INVALID_CURSOR", "Injected cursor error")
    return None


def camel_case(value: Any) -> Any:
    """Return the value with every key in camelCase, and with the brief's names where section 10 gives them."""
    renamed = {"is_active": "enabled", "updated_at": "lastModified"}
    if isinstance(value, dict):
        return {renamed.get(name, _camel(name)): camel_case(item) for name, item in value.items()}
    if isinstance(value, list):
        return [camel_case(item) for item in value]
    return value


def with_unknown_fields(value: Any) -> Any:
    """Return the value with a field in every object that no contract names."""
    if isinstance(value, dict):
        return {**{name: with_unknown_fields(item) for name, item in value.items()}, "x_new_field": {"a": [1]}}
    if isinstance(value, list):
        return [with_unknown_fields(item) for item in value]
    return value


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)
