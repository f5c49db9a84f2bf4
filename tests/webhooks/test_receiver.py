"""`POST /webhooks/linktree`: the bad inputs that reach Django, numbered as in the list of fifty it is held to."""

import hashlib
import hmac
import json
import time
import uuid
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from linklayer.models import PendingForget
from tests.servers.running import RunningServer
from tests.webhooks import recording
from tests.webhooks.sender import PATH, SECRET, deliver, event_body
from webhooks import metrics
from webhooks.models import WebhookReceipt
from webhooks.signing import sign

pytestmark = pytest.mark.django_db


def test_a_genuine_event_is_stored_and_forgotten_about_before_the_answer() -> None:
    """1"""
    body = event_body(id="evt_one")
    response = deliver(body, delivery_id="dlv_one")
    assert (response.status_code, response.json()) == (200, {"received": True})
    receipt = WebhookReceipt.objects.get()
    assert (receipt.event_id, receipt.delivery_id, receipt.state) == ("evt_one", "dlv_one", "received")
    assert (receipt.type, receipt.profile_ref, bytes(receipt.body)) == ("link.created", "prof_1", body)
    assert PendingForget.objects.get().key == "test-profile:prof_1"


def test_the_same_delivery_again_is_a_duplicate_without_effect() -> None:
    """2"""
    body = event_body()
    deliver(body, delivery_id="dlv_again")
    assert deliver(body, delivery_id="dlv_again").json() == {"duplicate": True}
    assert len(recording.receipts) == WebhookReceipt.objects.count() == 1


def test_the_same_event_in_another_delivery_is_a_duplicate() -> None:
    """3"""
    body = event_body()
    deliver(body)
    assert deliver(body).json() == {"duplicate": True}
    assert len(recording.receipts) == WebhookReceipt.objects.count() == 1


def test_the_first_body_of_an_event_wins() -> None:
    """4"""
    deliver(event_body(id="evt_two_bodies"))
    response = deliver(event_body(id="evt_two_bodies", profile_id="prof_2"))
    assert (response.status_code, response.json()) == (200, {"duplicate": True})
    assert WebhookReceipt.objects.get().profile_ref == "prof_1"


@pytest.mark.parametrize(
    "missing", [{"x-linktree-signature"}, {"x-linktree-timestamp"}, {"x-linktree-signature", "x-linktree-timestamp"}]
)
def test_without_its_headers_a_delivery_is_refused(missing: set[str]) -> None:
    """5 to 7"""
    body, timestamp = event_body(), str(int(time.time()))
    sent = {"x-linktree-signature": sign(SECRET, timestamp, body), "x-linktree-timestamp": timestamp}
    kept = {name: value for name, value in sent.items() if name not in missing}
    assert_refused(Client().post(PATH, data=body, content_type="application/json", headers=kept))


@pytest.mark.parametrize(
    "signature",
    ["{good},{good}", "{good}0", "sha256={good}", "é" * 64, "", "{body_only}", "{other_secret}", "{reindented}"],
)
def test_a_wrong_signature_is_refused_with_one_answer(signature: str) -> None:
    """8 to 15, 26"""
    body, timestamp = event_body(), str(int(time.time()))
    forged = signature.format(
        good=sign(SECRET, timestamp, body),
        body_only=hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
        other_secret=sign("whsec_other", timestamp, body),
        reindented=sign(SECRET, timestamp, json.dumps(json.loads(body), indent=2).encode()),
    )
    assert_refused(deliver(body, signature=forged, timestamp=timestamp))


def test_the_previous_secret_is_accepted_until_it_is_removed(settings: Settings) -> None:
    """16"""
    settings.LINKTREE_WEBHOOK_SECRET, settings.LINKTREE_WEBHOOK_SECRET_PREVIOUS = "whsec_new", SECRET
    assert deliver(event_body(), secret=SECRET).status_code == 200
    settings.LINKTREE_WEBHOOK_SECRET_PREVIOUS = ""
    recording.clear()
    assert_refused(deliver(event_body(), secret=SECRET))


@pytest.mark.parametrize(("skew_seconds", "status"), [(-290, 200), (-302, 401), (302, 401)])
def test_a_delivery_outside_of_the_window_is_refused(skew_seconds: int, status: int) -> None:
    """17, 48, 50"""
    assert deliver(event_body(), timestamp=str(int(time.time()) + skew_seconds)).status_code == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[]",
        b'"x"',
        b"null",
        b"1",
        b"NaN",
        b'{"type":NaN}',
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"id":"e","type":"t","data":' + b"9" * 5000 + b"}",
        '{"id":"e","type":"t"}'.encode("utf-16"),
    ],
)
def test_a_signed_body_that_is_no_event_is_a_400(body: bytes) -> None:
    """27 to 31"""
    response = deliver(body)
    assert response.status_code == 400
    assert response.json()["error"]
    assert not WebhookReceipt.objects.exists()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"id": 5}, "id"),
        ({"id": "e" * 256}, "id"),
        ({"type": ["x"]}, "type"),
        ({"type": None}, "type"),
        ({"type": "t" * 10_000}, "type"),
        ({"profile_id": {}}, "profile_id"),
        ({"data": [1]}, "data"),
        ({"data": {"username": 7}}, "username"),
    ],
)
def test_a_field_of_the_wrong_form_is_named(fields: dict[str, Any], field: str) -> None:
    """34, 35"""
    response = deliver(event_body(**fields))
    assert response.status_code == 400
    assert field in response.json()["error"]


def test_an_event_needs_an_id_or_a_delivery_id() -> None:
    """34"""
    assert deliver(event_body(id=None), delivery_id=None).status_code == 400
    assert deliver(event_body(id=None), delivery_id="dlv_only").status_code == 200
    assert WebhookReceipt.objects.get().event_id == "dlv_only"


@pytest.mark.parametrize(
    "fields", [{"data": {"n": 10**199}}, {"data": {"n": 1e300}}, {"timestamp": "yesterday"}, {"timestamp": 12}]
)
def test_odd_values_are_stored_as_they_came(fields: dict[str, Any]) -> None:
    """31"""
    body = event_body(**fields)
    assert deliver(body).status_code == 200
    assert bytes(WebhookReceipt.objects.get().body) == body


def test_the_last_of_two_equal_keys_wins() -> None:
    """32"""
    deliver(b'{"id":"first","id":"second","type":"link.created","data":{}}')
    assert WebhookReceipt.objects.get().event_id == "second"


@pytest.mark.parametrize("text", ["\x00", "\ud800", "a\nb", "'; DROP TABLE", "../../etc", "🙂" * 100])
def test_any_text_can_be_an_id_a_type_and_a_value(text: str) -> None:
    """33, 35"""
    body = event_body(id=f"e{text}", data={"title": text, "username": text})
    assert deliver(body).status_code == 200
    assert bytes(WebhookReceipt.objects.get().body) == body
    assert "\x00" not in recording.receipts[0].data["title"]


def test_an_unknown_type_is_kept_and_marked() -> None:
    """36"""
    assert deliver(event_body("link.teleported")).status_code == 200
    assert WebhookReceipt.objects.get().state == "ignored"
    assert recording.receipts == []


def test_the_form_of_the_brief_is_understood() -> None:
    """Contract case 62."""
    deliver(b'{"event":"profile.updated","profileId":"prof_9","data":{}}', delivery_id="dlv_brief")
    event = recording.receipts[0]
    assert (event.id, event.type, event.profile_id) == ("dlv_brief", "profile.updated", "prof_9")


@pytest.mark.parametrize(("length", "status"), [(256 * 1024, 400), (256 * 1024 + 1, 413)])
def test_a_body_over_the_cap_is_refused(length: int, status: int) -> None:
    """38"""
    assert deliver(b"x" * length).status_code == status


def test_a_declared_length_over_the_cap_is_not_read() -> None:
    """38"""
    response = Client().generic(
        "POST", PATH, b"x", content_type="application/json", headers={"content-length": "999999"}
    )
    assert response.status_code == 413


@pytest.mark.parametrize(
    "content_type", ["text/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_another_content_type_is_a_415_after_the_signature(content_type: str) -> None:
    """43"""
    assert deliver(event_body(), content_type=content_type).status_code == 415
    assert_refused(deliver(event_body(), content_type=content_type, signature="0" * 64))


def test_an_encoded_body_is_never_inflated() -> None:
    """42"""
    assert deliver(event_body(), **{"content-encoding": "gzip"}).status_code == 415


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 405), ("PUT", 405), ("DELETE", 405), ("HEAD", 200), ("OPTIONS", 200)]
)
def test_other_methods(method: str, status: int) -> None:
    """44"""
    response = Client().generic(method, PATH)
    assert response.status_code == status
    assert response["Allow"] == "POST, HEAD, OPTIONS"


def test_a_foreign_origin_needs_no_csrf_token() -> None:
    """45"""
    assert deliver(event_body(), origin="https://elsewhere.example").status_code == 200


def test_only_failures_are_limited_and_a_genuine_sender_always_passes() -> None:
    """47"""
    statuses = [deliver(event_body(), signature="0" * 64).status_code for _ in range(125)]
    assert set(statuses[:120]) == {401}
    assert statuses[-1] == 429
    assert deliver(event_body()).status_code == 200


def test_a_handler_that_fails_at_receipt_costs_no_event() -> None:
    assert deliver(event_body("test.forgets_badly")).status_code == 200
    assert WebhookReceipt.objects.get().state == "received"


def assert_refused(response: object) -> None:
    assert getattr(response, "status_code", None) == 401
    assert getattr(response, "content", None) == b'{"error": "Invalid signature"}'
    assert not recording.receipts


@pytest.mark.django_db(transaction=True)
def test_without_the_database_the_sender_is_told_to_try_again(postgres: RunningServer) -> None:
    postgres.stop()
    try:
        response = deliver(event_body())
    finally:
        postgres.start()
    assert (response.status_code, response["Retry-After"]) == (503, "1")
    assert deliver(event_body()).status_code == 200


def test_a_copy_without_a_delivery_id_conflicts_with_no_other_event() -> None:
    body = event_body(id="evt_second")
    before = metrics.conflicts._value.get()
    deliver(event_body(id="evt_first"), delivery_id=None)
    WebhookReceipt.objects.update(id=uuid.UUID(int=0))  # the first that a careless search finds
    for _ in range(2):
        deliver(body, delivery_id=None)
    assert metrics.conflicts._value.get() == before
    deliver(event_body(id="evt_second", data={"title": "Another"}), delivery_id=None)
    assert metrics.conflicts._value.get() == before + 1
