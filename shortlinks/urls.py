"""Addresses of short links. The API's lie below /api/links; a slug is tried last, after every other address."""

from django.urls import path, re_path

from shortlinks import api, views
from shortlinks.home import home

app_name = "shortlinks"
urlpatterns = [
    path("", home, name="home"),
    path("api/links", api.LinksView.as_view(), name="links"),
    path("api/links/<str:slug>", api.LinkView.as_view(), name="link"),
    path("api/links/<str:slug>/stats", api.LinkStatsView.as_view(), name="link-stats"),
    re_path(r"^(?P<slug>[^/]+)\Z", views.redirect_view, name="redirect"),
]
