"""Endpoints E18 to E20: webhook subscriptions (section 4.6)."""

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from profiles.simulator.answers import ApiError, Json, Reply, invalid_fields
from profiles.simulator.calls import Call
from profiles.simulator.clock import iso
from profiles.simulator.world import Event, Subscription, new_id

EVENT_TYPES = (
    "link.created",
    "link.updated",
    "link.deleted",
    "profile.updated",
    "analytics.milestone",
    "link.clicked",
)


def create_subscription(call: Call) -> Reply:
    url = clean_receiver(call.body.get("url"))
    events = _clean_events(call.body.get("events"))
    _refuse_second(call, url)
    subscription = Subscription(new_id("wh"), call.account, url, events, "active", call.world.now())
    call.world.subscriptions[subscription.id] = subscription
    return Reply(201, _body(subscription))


def list_subscriptions(call: Call) -> Reply:
    own = [item for item in call.world.subscriptions.values() if item.account == call.account]
    return Reply(200, {"data": [_body(item) for item in own], "has_more": False})


def one_subscription(call: Call) -> Reply:
    return Reply(200, _body(call.world.subscription(call.account, call.params["id"])))


def update_subscription(call: Call) -> Reply:
    subscription = call.world.subscription(call.account, call.params["id"])
    changes: Json = {}
    if "url" in call.body:
        changes["url"] = clean_receiver(call.body["url"])
    if "events" in call.body:
        changes["events"] = _clean_events(call.body["events"])
    if "status" in call.body:
        if call.body["status"] not in ("active", "paused"):
            raise invalid_fields({"status": ["must be active or paused"]})
        changes["status"] = call.body["status"]
    if changes.get("url", subscription.url) != subscription.url:
        _refuse_second(call, changes["url"])
    for name, value in changes.items():
        setattr(subscription, name, value)
    if changes.get("status") == "active":
        subscription.failing_since = None
    return Reply(200, _body(subscription))


def delete_subscription(call: Call) -> Reply:
    del call.world.subscriptions[call.world.subscription(call.account, call.params["id"]).id]
    return Reply(204)


def ping_subscription(call: Call) -> Reply:
    """Raise a `ping`, which goes to this subscription alone."""
    subscription = call.world.subscription(call.account, call.params["id"])
    call.world.events.append(Event(new_id("evt"), "ping", call.world.now(), subscription.id, None, {}))
    return Reply(202, {"sent": True})


def clean_receiver(value: Any) -> str:
    """Return the receiver's URL: https, or http to a loopback address. Raises 422."""
    wrong = invalid_fields({"url": ["must be an https URL"]})
    if not isinstance(value, str) or len(value) > 2048:
        raise wrong
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise wrong from error
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise wrong
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _clean_events(value: Any) -> list[str]:
    if not isinstance(value, list) or not value or any(item not in EVENT_TYPES for item in value):
        raise invalid_fields({"events": [f"must be a list of {', '.join(EVENT_TYPES)}"]})
    return list(dict.fromkeys(value))


def _refuse_second(call: Call, url: str) -> None:
    if any(item.account == call.account and item.url == url for item in call.world.subscriptions.values()):
        raise ApiError(409, "DUPLICATE_WEBHOOK", "There is a subscription with this URL")


def _body(subscription: Subscription) -> Json:
    failing = subscription.failing_since
    return {
        "id": subscription.id,
        "url": subscription.url,
        "events": subscription.events,
        "status": subscription.status,
        "failing_since": None if failing is None else iso(failing),
        "created_at": subscription.created_at,
    }
