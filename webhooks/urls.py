"""Where senders deliver."""

from django.urls import path

from webhooks import views

urlpatterns = [path("linktree", views.linktree, name="webhook-linktree")]
