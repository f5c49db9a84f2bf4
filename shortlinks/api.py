"""The API of short links: parse, call a service, answer. Errors are problem+json (linklayer.problems)."""

import hashlib
import json
import re
from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from analytics.selectors import click_counts, link_stats
from linklayer.errors import Ended, InvalidInput, NotFound
from linklayer.keys import RequiresScope
from linklayer.ratelimits import check_rate, guessing
from shortlinks import selectors, services
from shortlinks.addresses import short_url
from shortlinks.contracts import ShortLinkRecord
from shortlinks.inputs import LinkChanges, LinkQuery, NewLink, StatsQuery, cursor_text
from shortlinks.slugs import is_slug

_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)


class ShortLinkAnswer(serializers.Serializer[Any]):
    """A short link as the API shows it; for the schema only."""

    slug = serializers.CharField()
    shortUrl = serializers.URLField()
    url = serializers.URLField(help_text="the destination, in the form in which it is served")
    statusCode = serializers.IntegerField()
    isActive = serializers.BooleanField()
    isAnonymous = serializers.BooleanField()
    profileId = serializers.IntegerField(allow_null=True)
    expiresAt = serializers.DateTimeField(allow_null=True)
    clickCount = serializers.IntegerField()
    createdAt = serializers.DateTimeField()
    updatedAt = serializers.DateTimeField()


class ShortLinkListAnswer(serializers.Serializer[Any]):
    links = ShortLinkAnswer(many=True)
    nextCursor = serializers.CharField(allow_null=True)


_NO_BODY = OpenApiResponse(description="Retired: the slug stays taken and answers 410.")
_IDEMPOTENCY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="1 to 255 visible ASCII characters; a repeat within 24 hours gets the first answer again.",
)


class LinksView(APIView):
    """All short links."""

    def get_permissions(self) -> list[BasePermission]:
        """Anybody may create, at a limited rate; a key that is shown must fit."""
        if self.request.method == "POST" and self.request.auth is None:
            return []
        return [RequiresScope("links:write")()]

    @extend_schema(operation_id="list_links", parameters=[LinkQuery], responses=ShortLinkListAnswer)
    def get(self, request: Request) -> Response:
        query = LinkQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        wanted = query.validated_data
        page = selectors.list_short_links(search=wanted["search"], before_id=wanted["cursor"], limit=wanted["limit"])
        counts = click_counts([record.id for record in page.short_links])
        links = [link_json(request, record, counts.get(record.id, 0)) for record in page.short_links]
        return Response({"links": links, "nextCursor": cursor_text(page.next_before_id)})

    @extend_schema(
        operation_id="create_link", request=NewLink, parameters=[_IDEMPOTENCY_HEADER], responses={201: ShortLinkAnswer}
    )
    def post(self, request: Request) -> Response:
        if request.auth is None:
            check_rate(request, group="anonymous-write", rate=settings.ANONYMOUS_WRITE_RATE)
        given = NewLink(data=request.data)
        given.is_valid(raise_exception=True)
        body = link_json(request, _create(request, given.validated_data), clicks=0)
        return Response(body, status=201, headers={"Location": f"/api/links/{body['slug']}"})


class LinkView(APIView):
    """One short link."""

    permission_classes = [RequiresScope("links:write")]

    @extend_schema(operation_id="read_link", responses=ShortLinkAnswer)
    def get(self, request: Request, slug: str) -> Response:
        return _answer(request, _live(slug))

    @extend_schema(operation_id="change_link", request=LinkChanges, responses=ShortLinkAnswer)
    def patch(self, request: Request, slug: str) -> Response:
        given = LinkChanges(data=request.data)
        given.is_valid(raise_exception=True)
        changes = given.validated_data
        record = services.change_short_link(
            _live(slug).id,
            url=changes.get("url"),
            status_code=changes.get("statusCode"),
            is_active=changes.get("isActive"),
            expires_at=changes.get("expiresAt", services.KEEP),
        )
        return _answer(request, record)

    @extend_schema(operation_id="retire_link", responses={204: _NO_BODY})
    def delete(self, request: Request, slug: str) -> Response:
        services.retire_short_link(_existing(slug).id)
        return Response(status=204)


class LinkStatsView(APIView):
    """The numbers of one short link: totals are always live, breakdowns are up to 15 minutes old and dated."""

    @extend_schema(operation_id="read_link_stats", parameters=[StatsQuery], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        query = StatsQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        with guessing(request):
            record = _existing(slug)
        if query.validated_data["fresh"] or not record.is_anonymous:
            RequiresScope("analytics:read")().has_permission(request, self)
        stats = link_stats(record.id, **query.validated_data)
        return Response({"slug": record.slug, "shortUrl": short_url(request, record.slug), **stats})


def link_json(request: Request, record: ShortLinkRecord, clicks: int) -> dict[str, Any]:
    """Return the API's form of a short link; moments in ISO 8601, UTC."""
    return {
        "slug": record.slug,
        "shortUrl": short_url(request, record.slug),
        "url": record.destination,
        "statusCode": record.status_code,
        "isActive": record.is_active,
        "isAnonymous": record.is_anonymous,
        "profileId": record.profile_id,
        "expiresAt": record.expires_at,
        "clickCount": clicks,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
    }


def _answer(request: Request, record: ShortLinkRecord) -> Response:
    return Response(link_json(request, record, click_counts([record.id]).get(record.id, 0)))


def _create(request: Request, given: dict[str, Any]) -> ShortLinkRecord:
    def create() -> ShortLinkRecord:
        return services.create_short_link(
            url=given["url"],
            slug=given.get("slug"),
            status_code=given.get("statusCode", 302),
            expires_at=given.get("expiresAt"),
            is_anonymous=request.auth is None,
        )

    key = request.headers.get("Idempotency-Key")
    if key is None:
        return create()
    if _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise InvalidInput({"Idempotency-Key": ["Send 1 to 255 visible ASCII characters."]})
    caller = request.META["REMOTE_ADDR"] if request.auth is None else f"key {request.auth.pk}"
    digest = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()
    return services.create_short_link_once(key=f"{caller} {key}", request_digest=digest, create=create)


def _live(slug: str) -> ShortLinkRecord:
    record = _existing(slug)
    if record.retired_at is not None:
        raise Ended("This short link is retired; its slug stays taken.")
    return record


def _existing(slug: str) -> ShortLinkRecord:
    if not is_slug(slug):
        raise NotFound("There is no such short link.")
    return selectors.short_link_by_slug(slug)
