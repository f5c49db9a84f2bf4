"""The simulator's webhooks: signed over the raw bytes, retried on schedule, bent by faults; and what we do on one."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from profiles import mirroring
from tests.profiles.conftest import WEBHOOK_SECRET, Running


@dataclass
class Receiver:
    """Keeps what it got; answers with `statuses` in turn, then 200."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    held = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            held.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(held.statuses.pop(0) if held.statuses else 200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    held.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    yield held
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def subscribed(simulator: Running, receiver: Receiver) -> Receiver:
    body = {"url": receiver.url, "events": ["link.created", "link.updated", "link.deleted", "profile.updated"]}
    assert simulator.call("POST", "/v1/webhooks", json=body).status_code == 201
    return receiver


def _until(is_so: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def _deliveries(simulator: Running) -> list[Any]:
    return list(simulator.call("GET", "/__sim__/deliveries").json()["data"])


def _settled(simulator: Running, attempts: int) -> Callable[[], bool]:
    return lambda: sum(len(item["attempts"]) for item in _deliveries(simulator)) == attempts


def _is_signed(headers: dict[str, str], body: bytes, secret: str = WEBHOOK_SECRET) -> bool:
    message = headers["x-linktree-timestamp"].encode() + b"." + body
    return headers["x-linktree-signature"] == hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def test_an_edit_is_told_once_signed_and_in_the_envelope(simulator: Running, subscribed: Receiver) -> None:
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "Café"})
    _until(_settled(simulator, 1))
    ((headers, body),) = subscribed.got
    event = json.loads(body)
    assert _is_signed(headers, body)
    assert (event["type"], event["profile_id"]) == ("link.updated", "prof_1")
    assert event["data"] == {
        "link_id": "lnk_1", "title": "Café", "url": "https://example.com/", "position": 0, "thumbnail_url": None,
        "username": "janedoe",
    }  # fmt: skip


def test_an_empty_update_and_a_refused_one_are_not_told(simulator: Running, subscribed: Receiver) -> None:
    simulator.call("PATCH", "/v1/links/lnk_1", json={})
    simulator.call("PATCH", "/v1/links/lnk_1", json={"url": "ftp://x"})
    assert _deliveries(simulator) == []


def test_a_ping_goes_to_its_subscription(simulator: Running, subscribed: Receiver) -> None:
    (subscription,) = simulator.call("GET", "/v1/webhooks").json()["data"]
    assert simulator.call("POST", f"/v1/webhooks/{subscription['id']}/test").status_code == 202
    _until(_settled(simulator, 1))
    assert json.loads(subscribed.got[0][1])["type"] == "ping"


def test_a_failing_receiver_is_tried_on_schedule_then_given_up(  # case 57
    simulator: Running, subscribed: Receiver
) -> None:
    subscribed.statuses = [500] * 6
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "X"})
    for number, delay in enumerate([0, 10, 30, 90, 270, 810], start=1):
        simulator.simulator.clock.advance(delay)
        _until(_settled(simulator, number))
    (delivery,) = _deliveries(simulator)
    first = delivery["attempts"][0]["at"]
    assert [round(attempt["at"] - first, -1) for attempt in delivery["attempts"]] == [0, 10, 40, 130, 400, 1210]
    assert delivery["status"] == "failed"
    assert len({headers["x-linktree-delivery-id"] for headers, _ in subscribed.got}) == 1
    assert len({headers["x-linktree-timestamp"] for headers, _ in subscribed.got}) == 6
    assert all(_is_signed(headers, body) for headers, body in subscribed.got)


def test_two_failures_then_success_is_delivered(simulator: Running, subscribed: Receiver) -> None:  # case 58
    subscribed.statuses = [500, 302]
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "X"})
    for number, delay in enumerate([0, 10, 30], start=1):
        simulator.simulator.clock.advance(delay)
        _until(_settled(simulator, number))
    assert _deliveries(simulator)[0]["status"] == "delivered"
    assert simulator.call("GET", "/v1/webhooks").json()["data"][0]["failing_since"] is None


def test_three_days_of_failures_disable_and_an_operator_enables_again(  # case 59
    simulator: Running, subscribed: Receiver
) -> None:
    subscribed.statuses = [500, 500]
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "X"})
    _until(_settled(simulator, 1))
    simulator.simulator.clock.advance(73 * 3600)
    _until(_settled(simulator, 2))
    (subscription,) = simulator.call("GET", "/v1/webhooks").json()["data"]
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "Dropped"})
    assert (subscription["status"], len(_deliveries(simulator))) == ("disabled", 1)
    simulator.call("PATCH", f"/v1/webhooks/{subscription['id']}", json={"status": "active"})
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "Told"})
    _until(_settled(simulator, 3))


@pytest.mark.parametrize(
    ("fault", "is_signed"),
    [("bad-sig", False), ("uppercase-sig", False), ("prefixed-sig", False), ("short-sig", False),
     ("body-only-sig", False), ("stale-ts", True), ("future-ts", True), ("brief-envelope", True)],
)  # fmt: skip
def test_a_fault_bends_one_delivery(simulator: Running, subscribed: Receiver, fault: str, is_signed: bool) -> None:
    simulator.fault(fault, event="link.updated")
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "X"})
    _until(_settled(simulator, 1))
    assert _is_signed(*subscribed.got[0]) is is_signed


def test_a_doubled_delivery_has_one_id_and_a_dropped_one_never_comes(simulator: Running, subscribed: Receiver) -> None:
    simulator.fault("dup")
    simulator.fault("drop")
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "Twice"})
    simulator.call("PATCH", "/v1/links/lnk_1", json={"title": "Never"})
    _until(_settled(simulator, 2))
    assert len({headers["x-linktree-delivery-id"] for headers, _ in subscribed.got}) == 1


@pytest.mark.django_db(transaction=True)
def test_an_edit_at_linktree_reaches_our_next_reader(
    linked: Running, settings: Settings, live_server: LiveServer, client: Client
) -> None:
    settings.LINKTREE_WEBHOOK_SECRET = WEBHOOK_SECRET
    mirroring.mirror_profile("janedoe")
    assert client.get("/api/profiles/janedoe").json()["links"][0]["title"] == "Portfolio"
    body = {"url": f"{live_server.url}/webhooks/linktree".replace("localhost", "127.0.0.1"), "events": ["link.updated"]}
    linked.call("POST", "/v1/webhooks", json=body)
    linked.call("PATCH", "/v1/links/lnk_1", json={"title": "Changed there"})
    _until(_settled(linked, 1))
    assert _deliveries(linked)[0]["status"] == "delivered"
    assert client.get("/api/profiles/janedoe").json()["links"][0]["title"] == "Changed there"
