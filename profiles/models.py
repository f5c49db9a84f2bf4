"""Profiles, owned here or mirrored from Linktree, and their links. A link is a short link with a place on a page."""

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now

from profiles.contracts import USERNAME_PATTERN


class Profile(models.Model):
    """A link-in-bio page.

    A mirrored profile is a snapshot of Linktree's: last_synced_at says how old. outdated_at is set when somebody says
    that the snapshot is no longer true (a webhook, an invalidation), and cleared by the next successful read.
    """

    class Source(models.TextChoices):
        OWN = "own", "edited here"
        LINKTREE = "linktree", "mirrored from Linktree"

    source = models.CharField(max_length=8, choices=Source, default=Source.OWN)
    upstream_id = models.CharField(max_length=100, null=True, blank=True, unique=True)
    username = models.CharField(max_length=64, validators=[RegexValidator(rf"^{USERNAME_PATTERN}\Z")])
    display_name = models.CharField(max_length=200, blank=True)
    bio = models.TextField(blank=True)
    avatar_url = models.CharField(max_length=2048, blank=True)
    theme = models.JSONField(default=dict, blank=True, help_text="ThemeConfig: data, never CSS")
    is_published = models.BooleanField(default=True)
    version = models.BigIntegerField(default=1, editable=False)
    modified_at = models.DateTimeField(db_default=Now(), help_text="when what visitors see last changed, at its source")

    last_synced_at = models.DateTimeField(null=True, blank=True, editable=False)
    outdated_at = models.DateTimeField(null=True, blank=True, editable=False)
    next_refresh_at = models.DateTimeField(null=True, blank=True, editable=False)
    gone_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="when Linktree first denied it")
    sync_failures = models.PositiveIntegerField(default=0, editable=False)
    sync_error = models.CharField(max_length=300, blank=True, editable=False)

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("username"), name="profile_username_any_case"),
            models.CheckConstraint(
                condition=Q(username__regex=f"^{USERNAME_PATTERN}$"), name="profile_username_format"
            ),
            models.CheckConstraint(
                condition=Q(source="own", upstream_id__isnull=True) | Q(source="linktree", upstream_id__isnull=False),
                name="profile_mirrored_has_upstream_id",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_refresh_at"], name="profile_refresh_due", condition=Q(next_refresh_at__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return self.username

    @property
    def is_mirrored(self) -> bool:
        return self.source == self.Source.LINKTREE

    @property
    def public_id(self) -> str:
        """The id that the API shows: Linktree's for a mirrored profile, ours for an own one."""
        return self.upstream_id or str(self.pk)


class ProfileLink(models.Model):
    """One entry of a profile's page.

    short_link is missing for headers and for URLs that our policy refuses (refusal_reason then says why). A link that
    Linktree no longer has keeps its row and its short link, disabled (gone_at).
    """

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="links")
    short_link = models.OneToOneField(
        "shortlinks.ShortLink", on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    upstream_id = models.CharField(max_length=100, null=True, blank=True, editable=False)  # noqa: DJ001 - unique if known
    type = models.CharField(max_length=40, default="classic")
    title = models.CharField(max_length=300)
    url = models.TextField(blank=True, help_text="as given; visitors are led there through the short link")
    thumbnail_url = models.CharField(max_length=2048, blank=True)
    position = models.PositiveIntegerField(help_text="place on the page, from 0")
    is_enabled = models.BooleanField(default=True)
    upstream_click_count = models.BigIntegerField(default=0, editable=False)
    refusal_reason = models.CharField(max_length=300, blank=True, editable=False)
    gone_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        ordering = ["position", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["profile", "upstream_id"], name="profile_link_upstream_id"),
            models.CheckConstraint(condition=Q(upstream_click_count__gte=0), name="profile_link_click_count"),
        ]
        indexes = [models.Index(F("profile"), F("position"), name="profile_link_place")]

    def __str__(self) -> str:
        return self.title

    @property
    def public_id(self) -> str:
        """The id that the API shows: Linktree's for a mirrored link, ours for an own one."""
        return self.upstream_id or str(self.pk)

    @property
    def is_shown(self) -> bool:
        """Whether visitors see it: enabled, and leading somewhere unless it is a header."""
        return self.is_enabled and self.gone_at is None and (self.short_link_id is not None or self.type == "header")
