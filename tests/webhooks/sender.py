"""A sender of Linktree's webhooks, on its side of the wire."""

import itertools
import json
import time
from typing import Any

from django.test import Client

from webhooks.signing import sign

SECRET = "whsec_test_0123456789abcdef"
PATH = "/webhooks/linktree"
_numbers = itertools.count(1)


def event_body(event_type: str = "link.created", **fields: Any) -> bytes:
    """Return a canonical body with an id of its own; fields overwrite, None removes."""
    envelope: dict[str, Any] = {
        "id": f"evt_{next(_numbers):04}",
        "type": event_type,
        "timestamp": "2026-01-15T12:00:00Z",
        "profile_id": "prof_1",
        "data": {"link_id": "lnk_1", "title": "Café", "username": "janedoe"},
    }
    envelope.update(fields)
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def deliver(
    body: bytes,
    *,
    signature: str | None = None,
    timestamp: str | None = None,
    delivery_id: str | None = "",
    content_type: str = "application/json",
    secret: str = SECRET,
    **headers: str,
) -> Any:
    """Deliver a body as Linktree would; what is given replaces the right value, delivery_id None sends none."""
    if timestamp is None:
        timestamp = str(int(time.time()))
    if signature is None:
        signature = sign(secret, timestamp, body)
    sent = {
        "content-type": content_type,
        "x-linktree-signature": signature,
        "x-linktree-timestamp": timestamp,
        **headers,
    }
    if delivery_id is not None:
        sent["x-linktree-delivery-id"] = delivery_id or f"dlv_{next(_numbers):04}"
    client = Client(raise_request_exception=True, enforce_csrf_checks=True)
    return client.post(PATH, data=body, content_type=content_type, headers=sent)
