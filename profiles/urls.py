"""Addresses of profiles. A username is whatever stands in its place: what cannot be one is 404."""

from django.urls import path

from profiles import api, views

urlpatterns = [
    path("@<str:username>", views.page_view, name="profile-page"),
    path("api/profiles/<str:username>", views.profile_view, name="profile"),
    path("api/profiles/<str:username>/links", api.ProfileLinksView.as_view(), name="profile-links"),
    path("api/profiles/<str:username>/stats", api.ProfileStatsView.as_view(), name="profile-stats"),
    path("api/cache/invalidate/<str:username>", api.InvalidationView.as_view(), name="invalidate-profile"),
]
