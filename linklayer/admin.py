"""Admin of the base: dead letters, to be read, replayed and discarded. Nothing is added or deleted here."""

import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from linklayer import dead_letters
from linklayer.errors import LinkLayerError, Unavailable
from linklayer.models import DeadLetter
from linklayer.storable import shown_text


@admin.register(DeadLetter)
class DeadLetterAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display = ["id", "source", "short_reason", "state", "replays", "first_seen_at", "last_seen_at"]
    list_filter = ["state", "source", "first_seen_at"]
    search_fields = ["=id", "reason", "dedupe_key"]
    ordering = ["-first_seen_at"]
    show_full_result_count = False
    fields = ["source", "state", "reason", "replays", "first_seen_at", "last_seen_at", "shown_headers", "shown_body"]
    readonly_fields = fields
    actions = ["replay", "discard"]

    @admin.display(description="reason")
    def short_reason(self, letter: DeadLetter) -> str:
        return letter.reason[:100]

    @admin.display(description="headers")
    def shown_headers(self, letter: DeadLetter) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(letter.headers, indent=2, sort_keys=True))

    @admin.display(description="body (first 4 KiB)")
    def shown_body(self, letter: DeadLetter) -> SafeString:
        return format_html("<pre>{}</pre>", shown_text(bytes(letter.body)))

    @admin.action(description="Replay: send again to where it came from")
    def replay(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        self._each(request, letters, dead_letters.replay, "replayed")

    @admin.action(description="Discard")
    def discard(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        reason = f"by {request.user.get_username()}"
        self._each(request, letters, lambda letter_id: dead_letters.discard(letter_id, reason), "discarded")

    def _each(
        self, request: HttpRequest, letters: QuerySet[DeadLetter], act: Callable[[int], None], done_word: str
    ) -> None:
        """Act on each letter and say how many went; refusals are shown, a broker that is away ends it."""
        done = 0
        for letter_id in letters.order_by("id").values_list("pk", flat=True):
            try:
                act(letter_id)
                done += 1
            except Unavailable as error:
                self.message_user(request, error.detail, messages.ERROR)
                break
            except LinkLayerError as error:
                self.message_user(request, error.detail, messages.WARNING)
        self.message_user(request, f"{done} {done_word}", messages.SUCCESS if done else messages.WARNING)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
