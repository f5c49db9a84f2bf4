"""API keys and the strict JSON body, through real views."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from linklayer.errors import Conflict, Unavailable
from linklayer.keys import RequiresScope, create_api_key, revoke_api_key
from linklayer.models import ApiKey

pytestmark = pytest.mark.django_db


class Echo(APIView):
    permission_classes = [RequiresScope("links:write")]

    def post(self, request: Request) -> Response:
        return Response({"data": request.data})


class Failing(APIView):
    error: Exception = Unavailable("later", retry_after_seconds=7)

    def get(self, request: Request) -> Response:
        raise self.error


def posted(body: bytes, text: str) -> Response:
    request = RequestFactory().post("/", body, content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {text}")
    response: Any = Echo.as_view()(request)
    response.render()
    return response  # type: ignore[no-any-return] # DRF's as_view is annotated as plain Django's


@pytest.fixture
def key() -> str:
    return create_api_key(name="test", scopes=["links:write"])[1]


def test_a_key_is_stored_hashed(key: str) -> None:
    stored = ApiKey.objects.get()
    assert key not in {stored.digest, stored.prefix}
    assert key.startswith(stored.prefix)


def test_a_key_with_the_scope_may(key: str) -> None:
    assert posted(b'{"a": 1}', key).status_code == 200


@pytest.mark.parametrize("text", ["llk_unknown", "", "é", "x" * 5000])
def test_an_unknown_key_may_not(text: str) -> None:
    response = posted(b"{}", text)
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")


def test_a_key_without_the_scope_is_refused() -> None:
    _, text = create_api_key(name="reader", scopes=["analytics:read"])
    assert posted(b"{}", text).status_code == 403


def test_a_revoked_key_may_not(key: str) -> None:
    revoke_api_key(ApiKey.objects.get())
    assert posted(b"{}", key).status_code == 401


def test_an_expired_key_may_not() -> None:
    _, text = create_api_key(name="old", scopes=["links:write"], expires_at=timezone.now() - timedelta(seconds=1))
    assert posted(b"{}", text).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", ""),
        (b"\xff\xfe", ""),
        (b"NaN", ""),
        (b'{"a": Infinity}', ""),
        (b'{"a": "\\u0000"}', "a"),
        (b'{"a": {"b": ["\\ud800"]}}', "a.b.0"),
        (b'{"\\u0000": 1}', ""),
        (b"[" * 30 + b"]" * 30, "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"),
        (b"[" * 30_000, ""),
        (b"1" * 5_000, ""),
    ],
    ids=[
        "cut",
        "no UTF-8",
        "NaN",
        "infinity",
        "NUL",
        "surrogate",
        "NUL name",
        "deep",
        "deeper",
        "huge number",
    ],
)
def test_a_body_that_is_not_clean_json_is_a_problem_naming_the_field(body: bytes, field: str, key: str) -> None:
    response = posted(body, key)
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert response.data is not None
    assert list(response.data["errors"]) == [field]


def test_a_body_over_64_kib_is_too_large(key: str) -> None:
    assert posted(b'"' + b"x" * 65_536 + b'"', key).status_code == 413


def test_an_outage_is_503_with_retry_after() -> None:
    response = Failing.as_view()(RequestFactory().get("/"))
    assert (response.status_code, response["Retry-After"]) == (503, "7")


def test_a_conflict_shows_its_facts() -> None:
    response: Any = Failing.as_view(error=Conflict("taken", slug="abc"))(RequestFactory().get("/"))
    assert (response.status_code, response.data["slug"]) == (409, "abc")
