"""Short links in the admin: every write goes through the services, every refusal becomes a sentence on the page."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.admin import ModelAdmin
from unfold.decorators import display

from analytics.selectors import click_counts
from linklayer.errors import Ended, InvalidInput, LinkLayerError
from shortlinks import services
from shortlinks.destinations import InvalidDestination, canonical_destination
from shortlinks.models import ShortLink
from shortlinks.slugs import check_slug

if TYPE_CHECKING:
    _Form = forms.ModelForm[ShortLink]
else:
    _Form = forms.ModelForm  # takes no parameter at run time


class ShortLinkForm(_Form):
    """What an operator may type; judged by the same rules as the API's input."""

    slug = forms.CharField(required=False, max_length=50, help_text="Empty: a random one. It cannot be changed later.")

    class Meta:
        model = ShortLink
        fields = ["slug", "destination", "status_code", "is_active", "expires_at"]
        widgets = {"destination": forms.URLInput(attrs={"size": 80})}

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        if slug:
            try:
                check_slug(slug)
            except InvalidInput as error:
                raise ValidationError(error.errors["slug"]) from error
        return slug

    def clean_destination(self) -> str:
        try:
            return canonical_destination(self.cleaned_data["destination"])
        except InvalidDestination as error:
            raise ValidationError(error.reason) from error


class CountedChangeList(ChangeList):
    """One query for the clicks of all links on the page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        counts = click_counts([short_link.pk for short_link in self.result_list])
        for short_link in self.result_list:
            short_link.click_count = counts.get(short_link.pk, 0)


@admin.register(ShortLink)
class ShortLinkAdmin(ModelAdmin):  # type: ignore[misc] # unfold ships no types
    form = ShortLinkForm
    list_display = ["slug", "destination_start", "clicks", "state", "expires_at", "created_at"]
    list_filter = ["is_active", "is_anonymous", "status_code", ("retired_at", admin.EmptyFieldListFilter)]
    search_fields = ["slug", "destination"]
    ordering = ["-pk"]
    list_per_page = 50
    show_full_result_count = False
    actions = ["disable", "enable", "retire"]
    readonly_fields = ["clicks", "version", "created_at", "updated_at"]

    # --- reading

    def get_changelist(self, request: HttpRequest, **_kwargs: Any) -> type[ChangeList]:
        return CountedChangeList

    def get_fields(self, request: HttpRequest, obj: ShortLink | None = None) -> list[str]:
        if obj is None:
            return ["destination", "slug", "status_code", "expires_at"]
        return ["slug", "destination", "status_code", "is_active", "expires_at", *self.readonly_fields]

    def get_readonly_fields(self, request: HttpRequest, obj: ShortLink | None = None) -> list[str]:
        return self.readonly_fields if obj is None else ["slug", *self.readonly_fields]

    def has_change_permission(self, request: HttpRequest, obj: ShortLink | None = None) -> bool:
        return self._is_open(obj) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: ShortLink | None = None) -> bool:
        return self._is_open(obj) and bool(super().has_delete_permission(request, obj))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Without Django's bulk delete: it would speak of deletion where nothing is deleted."""
        return {name: found for name, found in super().get_actions(request).items() if name != "delete_selected"}

    @admin.display(description="Destination", ordering="destination")
    def destination_start(self, short_link: ShortLink) -> str:
        url = short_link.destination
        return url if len(url) <= 80 else f"{url[:80]}…"

    @admin.display(description="Clicks")
    def clicks(self, short_link: ShortLink) -> int:
        counted: int | None = getattr(short_link, "click_count", None)
        if counted is None and short_link.pk is not None:
            counted = click_counts([short_link.pk]).get(short_link.pk, 0)
        return counted or 0

    @display(  # type: ignore[untyped-decorator] # unfold ships no types
        description="State", label={"active": "success", "disabled": "warning", "retired": "danger"}
    )
    def state(self, short_link: ShortLink) -> str:
        if short_link.retired_at is not None:
            return "retired"
        return "active" if short_link.is_active else "disabled"

    # --- writing, through the services only

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show a refusal that only the write itself could find (somebody took the slug in between) as a message."""
        return self._answered(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._answered(request, super().delete_view, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: ShortLink, form: ShortLinkForm, change: bool) -> None:
        given = form.cleaned_data
        if change:
            record = services.change_short_link(
                obj.pk,
                url=given["destination"],
                status_code=given["status_code"],
                is_active=given["is_active"],
                expires_at=given["expires_at"] if "expires_at" in form.changed_data else services.KEEP,
            )
        else:
            record = services.create_short_link(
                url=given["destination"],
                slug=given["slug"] or None,
                status_code=given["status_code"],
                expires_at=given["expires_at"],
            )
        obj.pk, obj.slug, obj.version = record.id, record.slug, record.version

    def get_deleted_objects(
        self, objs: list[ShortLink], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Name the links alone: retiring deletes no row, so nothing that refers to one stands in the way."""
        return [str(short_link) for short_link in objs], {"short links": len(objs)}, set(), []

    def delete_model(self, request: HttpRequest, obj: ShortLink) -> None:
        services.retire_short_link(obj.pk)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[ShortLink]) -> Any:
        """Log a retirement as the change it is."""
        return [self.log_change(request, short_link, "Retired.") for short_link in queryset]

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        messages.success(request, f"{obj_display} is retired: it answers 410, its slug stays taken.")
        return HttpResponseRedirect("../../")

    @admin.action(permissions=["change"], description="Disable: answer 410 until enabled")
    def disable(self, request: HttpRequest, queryset: QuerySet[ShortLink]) -> None:
        self._each(request, queryset, services.disable_short_link, "disabled")

    @admin.action(permissions=["change"], description="Enable: redirect again")
    def enable(self, request: HttpRequest, queryset: QuerySet[ShortLink]) -> None:
        self._each(request, queryset, services.enable_short_link, "enabled")

    @admin.action(permissions=["delete"], description="Retire for good: answer 410, the slug stays taken")
    def retire(self, request: HttpRequest, queryset: QuerySet[ShortLink]) -> None:
        self._each(request, queryset, services.retire_short_link, "retired")

    def _each(self, request: HttpRequest, queryset: QuerySet[ShortLink], write: Any, word: str) -> None:
        done = 0
        for short_link in queryset:
            try:
                write(short_link.pk)
            except Ended as error:
                messages.warning(request, f"{short_link.slug}: {error.detail}")
            else:
                self.log_change(request, short_link, f"{word.capitalize()}.")
                done += 1
        messages.success(request, f"{done} short link{'' if done == 1 else 's'} {word}.")

    def _answered(self, request: HttpRequest, view: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            answer: HttpResponse = view(request, *args, **kwargs)
        except LinkLayerError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(request.path)
        return answer

    @staticmethod
    def _is_open(short_link: ShortLink | None) -> bool:
        return short_link is None or short_link.retired_at is None
