"""Admin of the base: dead letters are read, replayed and discarded, API keys made and revoked. Nothing is deleted."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from linklayer import dead_letters, keys
from linklayer.errors import LinkLayerError, Unavailable
from linklayer.models import ApiKey, DeadLetter
from linklayer.storable import shown_text

if TYPE_CHECKING:
    _Form = forms.ModelForm[ApiKey]
else:
    _Form = forms.ModelForm  # takes no parameter at run time


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

    @admin.action(permissions=["change"], description="Replay: send again to where it came from")
    def replay(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        self._each(request, letters, dead_letters.replay, "replayed")

    @admin.action(permissions=["change"], description="Discard")
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


class ApiKeyForm(_Form):
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in keys.SCOPES], widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = ApiKey
        fields = ["name", "scopes", "expires_at"]


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """A key is shown in the message after it is made, and never again; what it may do cannot be changed later."""

    form = ApiKeyForm
    list_display = ["name", "prefix", "shown_scopes", "state", "created_at", "expires_at", "revoked_at"]
    list_filter = ["created_at"]
    search_fields = ["name", "=prefix"]
    ordering = ["-created_at"]
    show_full_result_count = False
    actions = ["revoke"]

    @admin.display(description="scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @display(label={"valid": "success", "expired": "warning", "revoked": "danger"})  # type: ignore[untyped-decorator] # as above
    def state(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        is_over = key.expires_at is not None and key.expires_at <= timezone.now()
        return "expired" if is_over else "valid"

    @admin.action(permissions=["revoke"], description="Revoke: refused from now on")
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiKey]) -> None:
        valid = list(chosen.filter(revoked_at=None))
        for key in valid:
            keys.revoke_api_key(key)
        self.message_user(request, f"{len(valid)} revoked", messages.SUCCESS if valid else messages.WARNING)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        made = ["name", "scopes", "expires_at"]
        return made if obj is None else [*made, "prefix", "created_at", "revoked_at"]

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ApiKeyForm, change: bool) -> None:
        key, text = keys.create_api_key(name=obj.name, scopes=obj.scopes, expires_at=obj.expires_at)
        obj.pk, obj.prefix = key.pk, key.prefix
        self.message_user(request, f"The key, shown this once: {text}", messages.WARNING)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("linklayer.change_apikey")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
