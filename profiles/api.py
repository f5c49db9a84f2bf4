"""The API of profiles: parse, call a service, answer. Errors are problem+json (linklayer.problems)."""

from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from analytics.selectors import profile_stats
from linklayer.keys import RequiresScope
from profiles import resolver, selectors, services
from profiles.inputs import read_link_changes
from profiles.views import answer_cached


class ThemeAnswer(serializers.Serializer[Any]):
    """ThemeConfig: all fields are optional, unknown ones are passed on; for the schema only."""

    id = serializers.CharField(required=False)
    mode = serializers.ChoiceField(choices=["light", "dark"], required=False)
    backgroundColor = serializers.CharField(required=False)
    buttonStyle = serializers.CharField(required=False)


class ProfileLinkAnswer(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    url = serializers.CharField(help_text="the destination; empty for a header")
    position = serializers.IntegerField()
    clickCount = serializers.IntegerField()
    enabled = serializers.BooleanField()
    type = serializers.CharField()
    shortUrl = serializers.CharField(allow_null=True, help_text="where visitors are sent through")


class ProfileAnswer(serializers.Serializer[Any]):
    id = serializers.CharField()
    username = serializers.CharField()
    displayName = serializers.CharField()
    bio = serializers.CharField()
    avatarUrl = serializers.CharField()
    theme = ThemeAnswer()
    links = ProfileLinkAnswer(many=True)
    lastModified = serializers.DateTimeField()
    lastSyncedAt = serializers.DateTimeField(allow_null=True)


class LinkListAnswer(serializers.Serializer[Any]):
    profileId = serializers.CharField()
    username = serializers.CharField()
    links = ProfileLinkAnswer(many=True)
    lastModified = serializers.DateTimeField()
    lastSyncedAt = serializers.DateTimeField(allow_null=True)


class LinkChangeInput(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField(required=False)
    url = serializers.URLField(required=False)
    position = serializers.IntegerField(required=False)
    enabled = serializers.BooleanField(required=False)


class LinkChangesInput(serializers.Serializer[Any]):
    links = LinkChangeInput(many=True)


class ProfileLinksView(APIView):
    """The links of a profile."""

    def get_permissions(self) -> list[BasePermission]:
        """Anybody may read."""
        return [RequiresScope("links:write")()] if self.request.method == "PATCH" else []

    @extend_schema(operation_id="list_profile_links", responses=LinkListAnswer)
    def get(self, request: Request, username: str) -> HttpResponseBase:
        return answer_cached(_django_request(request), resolver.links_read, username)

    @extend_schema(
        operation_id="change_profile_links",
        request=LinkChangesInput,
        responses={200: LinkListAnswer, 207: OpenApiResponse(description="Some items failed: see `errors`.")},
    )
    def patch(self, request: Request, username: str) -> Response:
        changes = read_link_changes(request.data)
        profile_id = selectors.profile_id_of(username)
        update = services.update_links(profile_id, changes)
        body: dict[str, Any] = {
            "profileId": selectors.public_id_of(profile_id),
            "changed": update.changed,
            "errors": [problem.to_json() for problem in update.problems],
        }
        return Response(body, status=207 if update.problems else 200)


class InvalidationView(APIView):
    """The brief's manual invalidation."""

    def get_permissions(self) -> list[BasePermission]:
        """Open from this machine in embedded mode only, so that the brief's curl line works as written.

        Not to a browser on it: any page may make one post here, and then it says with Origin from where.
        """
        is_open = (
            settings.EMBEDDED
            and self.request.auth is None
            and "Origin" not in self.request.headers
            and _is_from_this_machine(_django_request(self.request))
        )
        return [] if is_open else [RequiresScope("links:write")()]

    @extend_schema(
        operation_id="invalidate_profile", request=None, responses={202: OpenApiResponse(OpenApiTypes.OBJECT)}
    )
    def post(self, request: Request, username: str) -> Response:
        profile_id = selectors.profile_id_of(username)
        outcome = services.invalidate_profile(profile_id)
        return Response({"profileId": selectors.public_id_of(profile_id), **outcome}, status=202)


class ProfileStatsView(APIView):
    """Views and clicks of a profile."""

    permission_classes = [RequiresScope("analytics:read")]

    @extend_schema(
        operation_id="read_profile_stats",
        parameters=[
            OpenApiParameter("period", OpenApiTypes.STR, description="24h, 7d, 30d, 90d or 365d"),
            OpenApiParameter("timezone", OpenApiTypes.STR, description="IANA name; UTC when absent"),
            OpenApiParameter("fresh", OpenApiTypes.BOOL, description="breakdowns as of now, not as cached"),
        ],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request, username: str) -> Response:
        query = request.query_params
        stats = profile_stats(
            selectors.profile_id_of(username),
            period=query.get("period", "30d"),
            timezone=query.get("timezone", "UTC"),
            fresh=query.get("fresh") == "true",
        )
        return Response(stats)


def _django_request(request: Request) -> HttpRequest:
    return request._request  # noqa: SLF001 - where DRF documents the request that it wraps


def _is_from_this_machine(request: HttpRequest) -> bool:
    """Whether peer and client are both loopback: a proxy on this machine does not make its clients local."""
    try:
        return all(ip_address(request.META.get(name, "")).is_loopback for name in ("PEER_ADDR", "REMOTE_ADDR"))
    except ValueError:
        return False
