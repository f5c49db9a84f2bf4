"""The inbox in the admin."""

import pytest
from django.test import Client

from tests.webhooks.sender import deliver, event_body
from webhooks import services
from webhooks.models import WebhookReceipt

pytestmark = pytest.mark.django_db

INBOX = "/admin/webhooks/webhookreceipt/"


def test_a_receipt_is_shown_with_its_body_escaped(admin_client: Client) -> None:
    deliver(event_body(data={"title": "<script>alert(1)</script>", "username": "\x00"}))
    receipt = WebhookReceipt.objects.get()
    page = admin_client.get(f"{INBOX}{receipt.pk}/change/")
    assert page.status_code == 200
    assert b"&lt;script&gt;" in page.content
    assert b"<script>alert" not in page.content


def test_receipts_are_found_by_id_state_and_type(admin_client: Client) -> None:
    deliver(event_body(id="evt_wanted"))
    deliver(event_body("link.teleported", id="evt_other"))
    for query in ("q=evt_wanted", "state__exact=received", "type=link.created"):
        page = admin_client.get(f"{INBOX}?{query}")
        assert b"evt_wanted" in page.content, query
        assert b"evt_other" not in page.content, query


def test_a_receipt_can_be_processed_again(admin_client: Client) -> None:
    deliver(event_body())
    receipt = WebhookReceipt.objects.get()
    services.process(receipt.pk)
    admin_client.post(INBOX, {"action": "process_again", "_selected_action": [receipt.pk]})
    receipt.refresh_from_db()
    assert receipt.state == "received"


def test_nothing_is_added_or_deleted_by_hand(admin_client: Client) -> None:
    deliver(event_body())
    receipt = WebhookReceipt.objects.get()
    assert admin_client.get(f"{INBOX}add/").status_code == 403
    assert admin_client.post(f"{INBOX}{receipt.pk}/delete/", {"post": "yes"}).status_code == 403
