"""Each event that came in and was genuine, whole, with what became of it."""

import uuid

from django.db import models


class WebhookReceipt(models.Model):
    """One event of a sender's; its two unique ids are what makes a repeated delivery harmless."""

    class State(models.TextChoices):
        RECEIVED = "received"
        PROCESSING = "processing"
        DONE = "done"
        FAILED = "failed", "failed (a dead letter has it)"
        IGNORED = "ignored", "ignored (nobody handles its type)"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    event_id = models.CharField(max_length=255, unique=True)
    delivery_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    type = models.CharField(max_length=255)
    profile_ref = models.CharField(max_length=255, blank=True, help_text="the sender's profile id, or the username")
    body = models.BinaryField()
    headers = models.JSONField(default=dict)
    happened_at = models.DateTimeField()
    received_at = models.DateTimeField(auto_now_add=True)
    state = models.CharField(max_length=10, choices=State, default=State.RECEIVED)
    due_at = models.DateTimeField(help_text="when the sweeper asks for it again if it is not finished by then")
    attempts = models.PositiveIntegerField(default=0)
    failures = models.PositiveSmallIntegerField(default=0, help_text="attempts that failed by the event itself")
    last_error = models.TextField(blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["due_at"], condition=models.Q(state__in=["received", "processing"]), name="receipt_unfinished"
            ),
            models.Index(fields=["-received_at"], name="receipt_newest"),
            models.Index(fields=["type", "-received_at"], name="receipt_type"),
            models.Index(fields=["profile_ref", "-received_at"], name="receipt_profile"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"
