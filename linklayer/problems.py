"""Errors as answers: `application/problem+json` (RFC 9457) for the API, a small page for people.

`type` is a stable URN, `errors` names the fields. No exception text of a library reaches a client.
"""

import json
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template import loader
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from linklayer.errors import InvalidInput, LinkLayerError, NotFound, Refused, Unavailable

logger = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:linklayer:"


def exception_handler(error: Exception, _context: dict[str, Any]) -> Response | None:
    """DRF's hook: every error that we know becomes a problem; others are a 500 by Django."""
    set_rollback()
    known = as_linklayer_error(error)
    if known is not None:
        return Response(problem(known), status=known.status, headers=_headers(known), content_type=CONTENT_TYPE)
    if isinstance(error, exceptions.APIException):
        code = str(getattr(error, "default_code", "error")).replace("_", "-")
        status = error.status_code
        document: dict[str, Any] = {"type": TYPE_PREFIX + code, "title": str(error.default_detail), "status": status}
        if isinstance(error, exceptions.ValidationError):
            document = {**problem(InvalidInput({"": ["invalid input"]})), "errors": _field_errors(error.detail)}
        headers = {}
        if wait := getattr(error, "wait", None):
            headers["Retry-After"] = str(int(wait))
        return Response(document, status=status, headers=headers, content_type=CONTENT_TYPE)
    return None


def as_linklayer_error(error: Exception) -> LinkLayerError | None:
    if isinstance(error, LinkLayerError):
        return error
    if isinstance(error, OperationalError | InterfaceError):
        logger.warning("database_unavailable", error=type(error).__name__)
        return Unavailable("the database does not answer", retry_after_seconds=1)
    if isinstance(error, Http404):
        return NotFound()
    return None


def problem(error: LinkLayerError) -> dict[str, Any]:
    """The problem document: type, title, status, detail, errors for bad input, and the error's facts."""
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + error.kind,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        **error.facts,
    }
    if isinstance(error, InvalidInput):
        document["errors"] = error.errors
    return document


def problem_response(error: LinkLayerError) -> HttpResponse:
    """The same document from a plain Django view."""
    body = json.dumps(problem(error))
    return HttpResponse(body, status=error.status, headers=_headers(error), content_type=CONTENT_TYPE)


def error_response(request: HttpRequest, error: LinkLayerError) -> HttpResponse:
    """The error in the form that the path's users read: problem+json for the API, a page for people."""
    if request.path.startswith(("/api/", "/webhooks/")):
        return problem_response(error)
    context = {"title": error.title, "detail": error.detail, "status": error.status}
    # What shows that something of ours broke must not need more of ours than itself.
    templates = ["linklayer/error.html"] if error.status == 500 else [f"{error.status}.html", "linklayer/error.html"]
    template = loader.select_template(templates)
    return HttpResponse(template.render(context, request), status=error.status, headers=_headers(error))


def _headers(error: LinkLayerError) -> dict[str, str]:
    headers = {} if error.retry_after_seconds is None else {"Retry-After": str(error.retry_after_seconds)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _field_errors(detail: Any, path: str = "") -> dict[str, list[str]]:
    """Flatten DRF's nested error lists to {"links.0.title": ["..."]}."""
    if isinstance(detail, dict):
        nested: dict[str, list[str]] = {}
        for name, inner in detail.items():
            field = "" if name == "non_field_errors" else str(name)
            nested.update(_field_errors(inner, f"{path}.{field}".strip(".")))
        return nested
    if isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        return {
            name: texts
            for position, inner in enumerate(detail)
            for name, texts in _field_errors(inner, f"{path}.{position}".strip(".")).items()
        }
    texts = detail if isinstance(detail, list) else [detail]
    return {path: [str(text) for text in texts]} if texts else {}


# --- plain Django's own errors (urls.py names these)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, InvalidInput({"": ["the request is not valid"]}))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, Refused())


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    return error_response(request, LinkLayerError())


class LinkLayerErrorMiddleware:
    """Turns our errors, raised in a plain view, into answers: a database that is down is 503, never 404 or 500."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        known = as_linklayer_error(error)
        return None if known is None or isinstance(error, Http404) else error_response(request, known)
