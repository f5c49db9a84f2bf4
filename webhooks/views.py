"""`POST /webhooks/linktree`: plain Django, raw bytes, the bodies of the contract (9.5) and no problem+json.

The signature is judged before anything is parsed, and every failure of it gets the same answer.
"""

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from linklayer.errors import InvalidInput, TooManyRequests, Unavailable
from linklayer.ratelimits import check_rate
from webhooks import services

log = structlog.get_logger(__name__)

ALLOWED = "POST, HEAD, OPTIONS"
FAILED_VERIFICATIONS = "120/m"


@csrf_exempt
def linktree(request: HttpRequest) -> HttpResponse:
    """Take one delivery: 200 stored or known, 400 no event, 401 not genuine, 413, 415, 429, 503 sender tries again."""
    if request.method in {"HEAD", "OPTIONS"}:
        return HttpResponse(headers={"Allow": ALLOWED})
    if request.method != "POST":
        return _error(405, "Method not allowed", {"Allow": ALLOWED})
    try:
        body = _capped_body(request)
    except UnreadablePostError:
        return _error(400, "The body ended early")
    if body is None:
        return _error(413, "Body too large")
    if services.is_genuine(body, request.headers, now=timezone.now()):
        return _receive(request, body)
    return _refuse(request)


def _receive(request: HttpRequest, body: bytes) -> HttpResponse:
    if request.content_type != "application/json" or request.headers.get("Content-Encoding", "identity") != "identity":
        return _error(415, "Send application/json, not encoded")
    try:
        outcome = services.receive(body, request.headers)
    except InvalidInput as error:
        return _error(400, error.detail.removeprefix(": "))
    except (OperationalError, InterfaceError, Unavailable) as error:
        log.error("webhook_not_stored", error=repr(error))  # noqa: TRY400 - an outage, not a bug: no traceback
        return _error(503, "Temporarily unavailable", {"Retry-After": "1"})
    return JsonResponse({outcome: True})


def _capped_body(request: HttpRequest) -> bytes | None:
    """Return the raw body, None if it is over the cap; a declared length over it is not read at all."""
    limit = settings.WEBHOOK_BODY_BYTES
    declared = request.META.get("CONTENT_LENGTH") or "0"
    if declared.isdecimal() and int(declared[:20]) > limit:
        return None
    body = request.read(limit + 1)
    return None if len(body) > limit else body


def _refuse(request: HttpRequest) -> HttpResponse:
    """401 for whatever failed; only failures count towards the limit, so a genuine sender always passes."""
    try:
        check_rate(request, group="webhook-failures", rate=FAILED_VERIFICATIONS)
    except TooManyRequests as error:
        return _error(429, "Too many requests", {"Retry-After": str(error.retry_after_seconds)})
    return _error(401, "Invalid signature")


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> HttpResponse:
    return JsonResponse({"error": sentence}, status=status, headers=headers)
