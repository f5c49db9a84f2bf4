"""API keys: `Authorization: Bearer llk_...`, stored as SHA-256 (256 random bits need no slow hash), with scopes."""

import hashlib
import secrets
from datetime import datetime
from typing import TYPE_CHECKING, cast

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from linklayer.errors import InvalidInput, Refused, Unauthenticated
from linklayer.models import ApiKey

if TYPE_CHECKING:  # rest_framework.views imports this module by its settings
    from rest_framework.views import APIView

PREFIX = "llk_"
SCOPES = ("profile:read", "links:write", "analytics:read", "admin")


def create_api_key(*, name: str, scopes: list[str], expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """Return the row and the key's text, which is shown this once. Raises InvalidInput for an unknown scope."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InvalidInput({"scopes": [f"choose from {', '.join(SCOPES)}"]})
    text = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey.objects.create(name=name, prefix=text[:12], digest=_digest(text), scopes=scopes, expires_at=expires_at)
    return key, text


def revoke_api_key(key: ApiKey) -> None:
    """Refuse the key from now on."""
    key.revoked_at = timezone.now()
    key.save(update_fields=["revoked_at"])


def key_of(request: HttpRequest | Request) -> ApiKey | None:
    """Return the valid key that the request carries, or None if it carries none.

    Raises Unauthenticated for a key that is unknown, expired or revoked, and for another scheme than Bearer.
    """
    header = request.headers.get("Authorization", "")
    if not header:
        return None
    scheme, _, text = header.partition(" ")
    key = ApiKey.objects.filter(digest=_digest(text.strip())).first() if scheme.lower() == "bearer" else None
    if key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= timezone.now()):
        raise Unauthenticated("the API key is unknown, expired or revoked")
    return key


def has_scope(key: ApiKey | None, scope: str) -> bool:
    return key is not None and (scope in key.scopes or "admin" in key.scopes)


class ApiKeyAuthentication(BaseAuthentication):
    """DRF: `request.auth` is the ApiKey or None; there is no user."""

    def authenticate(self, request: Request) -> tuple[None, ApiKey] | None:
        key = key_of(request)
        return None if key is None else (None, key)

    def authenticate_header(self, _request: Request) -> str:
        return "Bearer"


def RequiresScope(scope: str) -> type[BasePermission]:  # noqa: N802 - used as a permission class
    """Return a permission class: 401 without a key, 403 with one that lacks the scope."""

    class HasScope(BasePermission):
        def has_permission(self, request: Request, view: "APIView") -> bool:
            if request.auth is None:
                raise Unauthenticated(f"an API key with the scope {scope} is needed")
            if not has_scope(cast("ApiKey", request.auth), scope):
                raise Refused(f"the API key lacks the scope {scope}")
            return True

    return HasScope


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
