"""Signed webhook deliveries (sections 9.2, 9.3 and 9.6): one thread decides what is due, a small pool sends."""

import hashlib
import hmac
import http.client
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from profiles.simulator.answers import Json
from profiles.simulator.faults import Fault, FaultQueue
from profiles.simulator.world import Event, Subscription, new_id

RETRY_DELAYS_SECONDS = (10.0, 30.0, 90.0, 270.0, 810.0)
ATTEMPT_TIMEOUT_SECONDS = 10.0
DISABLED_AFTER_SECONDS = 72 * 3600.0
LOGGED_DELIVERIES = 500
_POLL_SECONDS = 0.1  # the clock may be moved under us, so waiting is never longer than this


@dataclass(frozen=True, slots=True)
class Secrets:
    """The account's signing secret, and the one before it during a rotation."""

    current: str
    previous: str = ""


@dataclass(slots=True)
class Delivery:
    """One event for one subscription. attempts: (Unix seconds, status or 0 without an answer)."""

    id: str
    event: Event
    subscription: Subscription
    due_at: float
    fault: Fault | None
    status: str = "pending"
    attempts: list[tuple[float, int]] = field(default_factory=list)


class WebhookSender:
    """Delivers events to active subscriptions, at least once and in no promised order."""

    def __init__(self, clock: Callable[[], float], secrets: Secrets) -> None:
        self._clock = clock
        self._secrets = secrets
        self._deliveries: list[Delivery] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="webhook")
        self._thread = threading.Thread(target=self._run, name="webhook-schedule", daemon=True)
        self.faults = FaultQueue()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop taking up deliveries; what is on its way may end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=2)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def enqueue(self, event: Event, subscriptions: list[Subscription]) -> None:
        """Plan the deliveries of an event; a `ping` goes to the subscription it names as its account."""
        for subscription in subscriptions:
            wanted = event.account == subscription.id if event.type == "ping" else _wants(subscription, event)
            if wanted and subscription.status == "active":
                self._plan(event, subscription)

    def _plan(self, event: Event, subscription: Subscription) -> None:
        fault = next(iter(self.faults.for_delivery(event.type)), None)
        name = fault.name if fault is not None else ""
        if name == "drop":
            return
        delay = (fault.number or 0.0) if fault is not None and name == "delay" else 0.0
        delivery_id = new_id("dlv")
        copies = 2 if name == "dup" else 1
        with self._changed:
            for _ in range(copies):
                self._deliveries.append(Delivery(delivery_id, event, subscription, self._clock() + delay, fault))
            finished = [item for item in self._deliveries if item.status in {"delivered", "failed"}]
            for item in finished[:-LOGGED_DELIVERIES]:
                self._deliveries.remove(item)
            self._changed.notify()

    def log(self) -> list[Json]:
        """Return the deliveries, oldest first, with their attempts."""
        with self._changed:
            return [
                {
                    "id": item.id,
                    "type": item.event.type,
                    "event_id": item.event.id,
                    "status": item.status,
                    "attempts": [{"at": at, "status": status} for at, status in item.attempts],
                }
                for item in self._deliveries
            ]

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                now = self._clock()
                due = [item for item in self._deliveries if item.status == "pending" and item.due_at <= now]
                for item in due:
                    item.status = "sending"
                    self._pool.submit(self._attempt, item)
                self._changed.wait(_POLL_SECONDS)

    def _attempt(self, delivery: Delivery) -> None:
        at = self._clock()
        status = _post(delivery.subscription.url, *self._message(delivery, int(at)))
        with self._changed:
            delivery.attempts.append((at, status))
            self._settle(delivery, succeeded=200 <= status < 300)

    def _settle(self, delivery: Delivery, *, succeeded: bool) -> None:
        """Decide what follows an attempt: delivered, the next try, or failed and perhaps disabled."""
        subscription = delivery.subscription
        now = self._clock()
        if succeeded:
            delivery.status = "delivered"
            subscription.failing_since = None
            return
        if subscription.failing_since is None:
            subscription.failing_since = now
        if now - subscription.failing_since >= DISABLED_AFTER_SECONDS:
            subscription.status = "disabled"
        tried = len(delivery.attempts)
        if tried > len(RETRY_DELAYS_SECONDS) or subscription.status != "active":
            delivery.status = "failed"
            return
        delivery.due_at = delivery.attempts[-1][0] + RETRY_DELAYS_SECONDS[tried - 1]
        delivery.status = "pending"

    def _message(self, delivery: Delivery, now: int) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of one attempt, signed with a timestamp of its own."""
        fault = delivery.fault.name if delivery.fault is not None else ""
        body = _body(delivery.event, fault)
        timestamp = str(now + {"stale-ts": -301, "future-ts": 301}.get(fault, 0))
        secret = self._secrets.previous if fault == "old-secret" else self._secrets.current
        signed = body if fault == "body-only-sig" else timestamp.encode() + b"." + body
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Linktree-Webhooks/1.0",
            "X-Linktree-Event": delivery.event.type,
            "X-Linktree-Delivery-Id": delivery.id,
        }
        if fault != "no-headers":
            headers["X-Linktree-Timestamp"] = timestamp
            headers["X-Linktree-Signature"] = _bent_signature(sign(secret, signed), fault)
        return body, headers


def sign(secret: str, message: bytes) -> str:
    """Return the lower-case hex HMAC-SHA256. Source: the Linktree contract, section 9.3."""
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _wants(subscription: Subscription, event: Event) -> bool:
    return subscription.account == event.account and event.type in subscription.events


def _body(event: Event, fault: str) -> bytes:
    if fault == "not-json":
        return b"<not json>"
    document: Json = {"id": event.id, "type": event.type, "timestamp": event.timestamp}
    if event.profile_id is not None:
        document["profile_id"] = event.profile_id
    document["data"] = event.data
    if fault == "unknown-event":
        document["type"] = "planet.discovered"
    elif fault == "brief-envelope":
        document = {"event": event.type, "profileId": event.profile_id, "data": event.data}
    elif fault == "huge":
        document["padding"] = "x" * (257 * 1024)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _bent_signature(signature: str, fault: str) -> str:
    return {
        "bad-sig": "0" * 64,
        "uppercase-sig": signature.upper(),
        "prefixed-sig": f"sha256={signature}",
        "short-sig": signature[:10],
    }.get(fault, signature)


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Send one attempt; return the status, or 0 when no answer came in time. Redirects are not followed."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ATTEMPT_TIMEOUT_SECONDS)
    try:
        connection.request("POST", parts.path + (f"?{parts.query}" if parts.query else ""), body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
