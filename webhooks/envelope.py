"""From the raw body of a genuine delivery to an InboundEvent, in the canonical form or the brief's (contract 9.2)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from linklayer.errors import InvalidInput
from linklayer.storable import storable_text
from webhooks.contracts import InboundEvent

MAX_TEXT = 255
# Our own events nest 3 deep; the limit keeps every later walk over the data off Python's recursion limit.
MAX_DEPTH = 32


def parse(body: bytes, *, delivery_id: str, sent_at: datetime) -> InboundEvent:
    """Return the event in a body; delivery_id and sent_at, from the headers, stand in for `id` and `timestamp`.

    Raises InvalidInput naming the field: no JSON object, no id, a text longer than 255 characters, a wrong type.
    """
    envelope = _json_object(body)
    data = envelope.get("data")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InvalidInput({"data": ["must be an object"]})
    event_id = _text(envelope, "id") or _bounded("id", delivery_id)
    if not event_id:
        raise InvalidInput({"id": ["is missing, and there is no delivery id"]})
    event_type = _text(envelope, "type") or _text(envelope, "event")
    if not event_type:
        raise InvalidInput({"type": ["is missing"]})
    return InboundEvent(
        id=event_id,
        type=event_type,
        profile_id=_text(envelope, "profile_id") or _text(envelope, "profileId") or _text(data, "profile_id"),
        username=_text(data, "username"),
        timestamp=_moment(envelope.get("timestamp")) or _moment(envelope.get("created")) or sent_at,
        data=data,
    )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        # Decoded first: json.loads would guess UTF-16 from bytes. Later keys win over earlier ones of the same name.
        parsed = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        cleaned = _cleaned(parsed)
    except (ValueError, RecursionError) as error:
        raise InvalidInput({"": ["is not JSON in UTF-8"]}) from error
    if not isinstance(cleaned, dict):
        raise InvalidInput({"": ["must be a JSON object"]})
    return cleaned


def _cleaned(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [_cleaned(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {storable_text(key): _cleaned(item, depth + 1) for key, item in value.items()}
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput({name: ["must be a text"]})
    return _bounded(name, value)


def _bounded(name: str, text: str) -> str:
    if len(text) > MAX_TEXT:
        raise InvalidInput({name: [f"is longer than {MAX_TEXT} characters"]})
    return text


def _moment(value: object) -> datetime | None:
    """Return an ISO-8601 moment in UTC; None if it is none: the header's time serves as well."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
