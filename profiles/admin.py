"""Profiles in the admin. Own ones are edited here, through the services; mirrored ones are shown and refreshed."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from linklayer.errors import LinkLayerError
from profiles import mirroring, services
from profiles.models import Profile, ProfileLink
from shortlinks.services import InvalidDestination, canonical_destination

if TYPE_CHECKING:
    _LinkForm = forms.ModelForm[ProfileLink]
    _ProfileForm = forms.ModelForm[Profile]
else:
    _LinkForm = _ProfileForm = forms.ModelForm  # take no parameter at run time

_MIRROR_STATE = ["last_synced_at", "outdated_at", "next_refresh_at", "gone_at", "sync_failures", "sync_error"]
_EDITED = ["username", "display_name", "bio", "avatar_url", "theme"]


class ProfileForm(_ProfileForm):
    class Meta:
        model = Profile
        fields = [*_EDITED, "is_published"]

    def clean_username(self) -> str:
        """Refuse a name that another profile has in whatever case."""
        username = str(self.cleaned_data["username"])
        if Profile.objects.filter(username__iexact=username).exclude(pk=self.instance.pk).exists():
            raise ValidationError("Another profile has this username.")
        return username

    def clean_theme(self) -> dict[str, Any]:
        theme = self.cleaned_data["theme"] or {}
        if not isinstance(theme, dict):
            raise ValidationError("A theme is a JSON object.")
        return theme


class LinkForm(_LinkForm):
    title = forms.CharField(max_length=services.TITLE_MAX)
    url = forms.CharField(required=False, max_length=2048, help_text="Empty for a header")

    class Meta:
        model = ProfileLink
        fields = ["position", "title", "url", "is_enabled"]

    def clean_url(self) -> str:
        url = str(self.cleaned_data["url"])
        try:
            return canonical_destination(url) if url else ""
        except InvalidDestination as error:
            raise ValidationError(error.reason) from error


class LinkInline(TabularInline):  # type: ignore[misc] # unfold ships no types
    model = ProfileLink
    form = LinkForm
    extra = 0
    fields = ["position", "title", "url", "is_enabled", "short_link", "refusal_reason", "upstream_click_count"]
    readonly_fields = ["short_link", "refusal_reason", "upstream_click_count"]

    def has_add_permission(self, request: HttpRequest, obj: Profile | None = None) -> bool:
        return _is_own(obj) and bool(super().has_add_permission(request, obj))

    def has_change_permission(self, request: HttpRequest, obj: Profile | None = None) -> bool:
        return _is_own(obj) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Profile | None = None) -> bool:
        return _is_own(obj) and bool(super().has_delete_permission(request, obj))


@admin.register(Profile)
class ProfileAdmin(ModelAdmin):  # type: ignore[misc] # unfold ships no types
    form = ProfileForm
    inlines = [LinkInline]
    list_display = ["username", "display_name", "origin", "is_published", "freshness", "last_synced_at"]
    list_filter = ["source", "is_published"]
    search_fields = ["username", "display_name", "upstream_id"]
    ordering = ["username"]
    list_per_page = 50
    show_full_result_count = False
    actions = ["refresh", "invalidate"]
    readonly_fields = ["source", "upstream_id", "version", "modified_at", "created_at", *_MIRROR_STATE]

    def get_readonly_fields(self, request: HttpRequest, obj: Profile | None = None) -> list[str]:
        """What Linktree says about a mirrored profile is changed there; only whether we publish it is ours."""
        return self.readonly_fields if _is_own(obj) else [*_EDITED, *self.readonly_fields]

    def has_delete_permission(self, request: HttpRequest, obj: Profile | None = None) -> bool:
        """Its short links and their history would be left without a home: unpublish it instead."""
        return False

    @display(description="Source", label={"own": "info", "linktree": "success"})  # type: ignore[untyped-decorator] # as above
    def origin(self, profile: Profile) -> str:
        return profile.source

    @display(  # type: ignore[untyped-decorator] # as above
        description="State", label={"current": "success", "outdated": "warning", "failing": "danger", "gone": "danger"}
    )
    def freshness(self, profile: Profile) -> str:
        if profile.gone_at is not None:
            return "gone"
        if profile.sync_failures:
            return "failing"
        return "outdated" if profile.outdated_at is not None else "current"

    def save_model(self, request: HttpRequest, obj: Profile, form: ProfileForm, change: bool) -> None:
        services.save_profile(obj)

    def save_formset(self, request: HttpRequest, form: ProfileForm, formset: Any, change: bool) -> None:
        links = formset.save(commit=False)
        for link in formset.deleted_objects:
            services.delete_own_link(link)
        for link in links:
            services.save_own_link(link)

    @admin.action(permissions=["change"], description="Refresh from Linktree now")
    def refresh(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        for profile in queryset.filter(source=Profile.Source.LINKTREE):
            try:
                is_answered = mirroring.refresh_for_reader(profile.pk)
            except LinkLayerError as error:
                messages.error(request, f"{profile}: {error.detail}")
                continue
            word = "is refreshed" if is_answered else "could not be refreshed: Linktree gave no answer"
            (messages.success if is_answered else messages.warning)(request, f"{profile} {word}.")

    @admin.action(permissions=["change"], description="Drop from the cache and queue a refresh")
    def invalidate(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        for profile in queryset:
            services.invalidate_profile(profile.pk)
        messages.success(request, f"{len(queryset)} dropped from the cache.")


def _is_own(profile: Profile | None) -> bool:
    return profile is None or not profile.is_mirrored
