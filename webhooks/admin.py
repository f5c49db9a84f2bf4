"""The inbox: every event that came in, with what became of it."""

import json

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from linklayer.storable import shown_text
from webhooks import services
from webhooks.models import WebhookReceipt


@admin.register(WebhookReceipt)
class WebhookReceiptAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display = ["event_id", "type", "profile_ref", "state", "attempts", "happened_at", "received_at"]
    list_filter = ["state", "type", "received_at"]
    search_fields = ["=event_id", "=delivery_id", "=profile_ref"]
    ordering = ["-received_at"]
    show_full_result_count = False
    fields = [
        "event_id", "delivery_id", "type", "profile_ref", "state", "attempts", "failures", "last_error",
        "happened_at", "received_at", "due_at", "finished_at", "shown_headers", "shown_body",
    ]  # fmt: skip
    readonly_fields = fields
    actions = ["process_again"]

    @admin.display(description="headers")
    def shown_headers(self, receipt: WebhookReceipt) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(receipt.headers, indent=2, sort_keys=True))

    @admin.display(description="body (first 4 KiB)")
    def shown_body(self, receipt: WebhookReceipt) -> SafeString:
        return format_html("<pre>{}</pre>", shown_text(bytes(receipt.body)))

    @admin.action(permissions=["change"], description="Process again")
    def process_again(self, request: HttpRequest, receipts: QuerySet[WebhookReceipt]) -> None:
        receipt_ids = list(receipts.values_list("pk", flat=True))
        for receipt_id in receipt_ids:
            services.process_again(receipt_id)
        self.message_user(request, f"{len(receipt_ids)} will be processed again", messages.SUCCESS)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: WebhookReceipt | None = None) -> bool:
        return False
