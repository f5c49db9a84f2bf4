"""The ledger in the admin: to be read, never written. Rows are listed by arrival and counted only so far."""

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import F
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from analytics.models import Click, IngestedBatch, ProcessGeneration

COUNTED_ROWS = 10_000


class FirstRowsPaginator(Paginator):  # type: ignore[type-arg]  # the stubs make it generic, the class is not
    """Pages of the first 10,000 rows: to count millions for a page number would take minutes."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return len(rows.values_list("pk")[:COUNTED_ROWS])


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display_links = None
    show_full_result_count = False
    paginator = FirstRowsPaginator

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Click)
class ClickAdmin(ReadOnlyAdmin):
    list_display = [
        "time",
        "kind",
        "link_id",
        "profile_id",
        "is_bot",
        "bot_kind",
        "country",
        "browser",
        "os",
        "device",
        "referrer_domain",
        "language",
    ]
    list_filter = ["kind", "is_bot"]
    search_fields = ["=link_id"]
    search_help_text = "the id of a short link"
    ordering = ["-batch"]


@admin.register(IngestedBatch)
class IngestedBatchAdmin(ReadOnlyAdmin):
    list_display = ["number", "id", "records", "first_at", "last_at", "stored_at", "is_rolled_up"]
    list_filter = ["is_rolled_up"]
    search_fields = ["=id"]
    ordering = ["-number"]


@admin.register(ProcessGeneration)
class ProcessGenerationAdmin(ReadOnlyAdmin):
    list_display = [
        "generation",
        "host",
        "pid",
        "accepted",
        "stored",
        "dead_lettered",
        "ring",
        "dropped",
        "highest_sequence",
        "heartbeat_at",
    ]
    search_fields = ["=generation", "host"]
    ordering = [F("heartbeat_at").desc(nulls_last=True), "-generation"]
