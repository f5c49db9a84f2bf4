"""Short links, and the creations that a client may safely repeat."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now

from shortlinks import destinations, slugs


class ShortLink(models.Model):
    """A slug and where it leads. Rows are never deleted: a retired slug stays taken and answers 410.

    version grows by one with every edit, in the same UPDATE: the cache orders values by it.
    profile_id and also_forget belong to the caller: a plain id, and the cache key of what shows this link.
    """

    class Status(models.IntegerChoices):
        MOVED = 301, "301 moved permanently"
        FOUND = 302, "302 found"
        TEMPORARY = 307, "307 temporary, method kept"
        PERMANENT = 308, "308 permanent, method kept"

    slug = models.CharField(max_length=slugs.MAX_LENGTH)
    destination = models.TextField()
    status_code = models.PositiveSmallIntegerField(choices=Status, default=Status.FOUND)
    is_active = models.BooleanField(default=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_anonymous = models.BooleanField(default=False, editable=False)
    profile_id = models.BigIntegerField(null=True, blank=True, editable=False)
    also_forget = models.CharField(max_length=200, blank=True, editable=False)
    version = models.BigIntegerField(default=1, editable=False)
    policy_version = models.PositiveSmallIntegerField(default=destinations.POLICY_VERSION, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["slug"], name="short_link_slug"),
            models.UniqueConstraint(
                Lower("slug"), name="short_link_slug_any_case", violation_error_message="This slug is taken."
            ),
            models.CheckConstraint(condition=Q(slug__regex=f"^{slugs.PATTERN}$"), name="short_link_slug_format"),
            models.CheckConstraint(condition=Q(status_code__in=[301, 302, 307, 308]), name="short_link_status_code"),
            models.CheckConstraint(condition=Q(destination__regex="^https?://[!-~]+$"), name="short_link_destination"),
            models.CheckConstraint(condition=Q(version__gte=1), name="short_link_version"),
            models.CheckConstraint(
                condition=Q(retired_at__isnull=True) | Q(is_active=False), name="short_link_retired_is_inactive"
            ),
        ]
        indexes = [
            models.Index(F("profile_id"), name="short_link_profile", condition=Q(profile_id__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.slug


class IdempotentCreation(models.Model):
    """What a creation with an Idempotency-Key made, kept for 24 hours so that a repeat gets the same answer.

    record: the new link as it was then (ShortLinkRecord.to_json), whatever was edited since.
    """

    key_digest = models.CharField(max_length=64, primary_key=True)
    request_digest = models.CharField(max_length=64)
    record = models.JSONField()
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(key_digest__regex="^[0-9a-f]{64}$") & Q(request_digest__regex="^[0-9a-f]{64}$"),
                name="idempotent_creation_digests",
            )
        ]

    def __str__(self) -> str:
        return self.key_digest[:8]
