"""Tables of the base: keys, dead letters, the outbox, and what the cache must still be told."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class ApiKey(models.Model):
    """A client's key: shown once, stored hashed, limited by scopes, expiry and revocation."""

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=32), default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class DeadLetter(models.Model):
    """A message or row whose data failed: kept whole, read and replayed by an operator."""

    class State(models.TextChoices):
        NEW = "new"
        REPLAYING = "replaying"
        REPLAYED = "replayed"
        DISCARDED = "discarded"

    dedupe_key = models.CharField(max_length=64, unique=True)
    source = models.CharField(max_length=100, help_text="queue or task that gave up")
    reason = models.TextField()
    body = models.BinaryField()
    headers = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State, default=State.NEW)
    replays = models.PositiveSmallIntegerField(default=0)
    first_seen_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [models.Index(fields=["state", "-first_seen_at"], name="dead_letter_state")]

    def __str__(self) -> str:
        return f"{self.source}: {self.reason[:80]}"


class OutboxEvent(models.Model):
    """An event of ours, written in the transaction of the change it tells of."""

    class State(models.TextChoices):
        PENDING = "pending", "pending (the change at Linktree is not confirmed yet)"
        READY = "ready"
        PUBLISHED = "published"
        ABANDONED = "abandoned", "abandoned (the change did not happen)"

    type = models.CharField(max_length=64)
    payload = models.JSONField()
    state = models.CharField(max_length=10, choices=State, default=State.READY)
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["id"], condition=models.Q(state__in=["pending", "ready"]), name="outbox_open"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.pk}"


class PendingForget(models.Model):
    """A cache entry that an edit outdated; the row goes once the cache has confirmed."""

    key = models.CharField(max_length=200)
    version = models.BigIntegerField()
    keep_stale = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.key} < {self.version}"


class CacheKeyVersion(models.Model):
    """The version of a cached value that shows several rows; its row lock puts their edits in one order."""

    key = models.CharField(max_length=200, primary_key=True)
    version = models.BigIntegerField(default=1)

    def __str__(self) -> str:
        return f"{self.key} {self.version}"
