"""All addresses, in the order they are tried; the short link's `/<slug>` comes last."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from linklayer import health
from linklayer.sign_in import sign_in

handler400 = "linklayer.problems.bad_request"
handler403 = "linklayer.problems.permission_denied"
handler404 = "linklayer.problems.not_found"
handler500 = "linklayer.problems.server_error"

urlpatterns = [
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("health/live", health.livez),
    path("health/ready", health.readyz),
    path("health", health.health),
    path("metrics", health.metrics),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/login/", sign_in),  # before the admin's own
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("webhooks/", include("webhooks.urls")),
    path("", include("profiles.urls")),
    path("", include("shortlinks.urls")),
]
