"""One logical call to Linktree: quota, breaker, bounded retries, credential and errors (contract sections 5 to 7).

The budget in seconds bounds everything, waits included. Logs carry the route template, never an id, a token or a body.
"""

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import structlog

from profiles.linktree.breaker import CircuitBreaker
from profiles.linktree.errors import (
    AuthError,
    BadResponse,
    CircuitOpen,
    DuplicateLink,
    InsufficientScope,
    LinktreeError,
    LinktreeNotFound,
    LinktreeRejected,
    LinktreeUnavailable,
    PlanRestricted,
    RateLimited,
    ServerError,
    ValidationError,
)
from profiles.linktree.metrics import api_seconds, rate_limits, retries
from profiles.linktree.quota import Quota
from profiles.linktree.transport import HttpTransport, NoAnswer, Request, Response
from profiles.linktree.wire import field

log = structlog.get_logger(__name__)

CALL_BUDGET_SECONDS = 10.0
ANSWER_WITHIN_SECONDS = 10.0  # one attempt, however large the budget of all (contract 3.3)
MAX_ATTEMPTS = 4
BACKOFF_BASE_SECONDS = 1.5
BACKOFF_CAP_SECONDS = 32.0
RATE_LIMIT_JITTER_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0
ALWAYS_RETRIED = frozenset({"GET", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Time:
    """Clock, sleep and chance, so that a test can own all three. now: Unix seconds; monotonic: for waits."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint: its template names it in logs and metrics, its class is what the quota counts."""

    method: str
    template: str
    limit_class: str


class Caller:
    """Sends calls for one account. Safe for threads."""

    def __init__(self, transport: HttpTransport, credential: Callable[[], str], time_source: Time) -> None:
        """credential: returns the present token; asked for each call and once more after a 401."""
        self._transport = transport
        self._credential = credential
        self._time = time_source
        self.quota = Quota(time_source.monotonic)
        self.breaker = CircuitBreaker(time_source.monotonic)

    def call(
        self,
        route: Route,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        budget_seconds: float = CALL_BUDGET_SECONDS,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> Any:
        """Return the answer's JSON, None for an empty one. Raises LinktreeError."""
        payload = None if body is None else json.dumps(body).encode()
        request = Request(route.method, path, payload, headers or {})
        give_up_at = self._time.monotonic() + budget_seconds
        token = self._credential()
        attempt = 1
        while True:
            try:
                response = self._attempt(route, request, token, give_up_at)
            except NoAnswer as error:
                may_repeat = _may_repeat(request) or not error.was_sent
                failure: LinktreeUnavailable = LinktreeUnavailable(f"no answer: {error}")
                wait_seconds = self._backoff_seconds(attempt)
            else:
                if response.status < 400:
                    return _document(response)
                if response.status == 401:
                    token = self._renewed(token, response)
                    continue
                if response.status != 429 and response.status < 500:
                    raise _rejection(response)
                may_repeat = response.status == 429 or _may_repeat(request)
                failure, wait_seconds = self._failure(route, response, attempt)
            if not may_repeat or attempt >= max_attempts:
                raise failure
            if wait_seconds > LONGEST_WAIT_SECONDS or self._time.monotonic() + wait_seconds >= give_up_at:
                raise failure
            retries.labels(route.template).inc()
            self._time.sleep(wait_seconds)
            attempt += 1

    def _attempt(self, route: Route, request: Request, token: str, give_up_at: float) -> Response:
        """Wait for quota, ask the breaker, send once, and tell both how it went. Raises NoAnswer or LinktreeError."""
        self._wait_for_quota(route, give_up_at)
        closed_for = self.breaker.seconds_until_allowed()
        if closed_for > 0:
            raise CircuitOpen(retry_after_seconds=math.ceil(closed_for))
        left = max(0.1, min(give_up_at - self._time.monotonic(), ANSWER_WITHIN_SECONDS))
        started = time.perf_counter()
        status = 0
        try:
            response = self._transport.exchange(request, token, timeout_seconds=left)
            status = response.status
        except NoAnswer:
            self.breaker.failed()
            raise
        finally:
            seconds = time.perf_counter() - started
            api_seconds.labels(f"{route.method} {route.template}", str(status)).observe(seconds)
            log.debug("linktree_called", route=route.template, method=route.method, status=status, seconds=seconds)
        if status >= 500:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        self._heed_rate_headers(route, response)
        return response

    def _wait_for_quota(self, route: Route, give_up_at: float) -> None:
        left = max(0.0, min(give_up_at - self._time.monotonic(), LONGEST_WAIT_SECONDS))
        wait_seconds = self.quota.take(route.limit_class, wait_at_most_seconds=left)
        if wait_seconds < 0:
            needed = math.ceil(self.quota.wait_seconds(route.limit_class))
            raise RateLimited("our own quota is spent", retry_after_seconds=max(1, needed))
        if wait_seconds > 0:
            self._time.sleep(wait_seconds)

    def _heed_rate_headers(self, route: Route, response: Response) -> None:
        """Pause the class when Linktree says that nothing is left; what it says wins over our own count."""
        resets_at = _number(response.headers.get("x-ratelimit-reset"))
        if response.headers.get("x-ratelimit-remaining") == "0" and resets_at is not None and response.status != 429:
            self.quota.pause(route.limit_class, min(max(0.0, resets_at - self._time.now()), LONGEST_WAIT_SECONDS))

    def _failure(self, route: Route, response: Response, attempt: int) -> tuple[LinktreeUnavailable, float]:
        """Return the error that this 429 or 5xx becomes when it is the last, and the wait before a next attempt."""
        code, message = _code_and_message(response)
        if response.status != 429:
            return ServerError(message, code=code, http_status=response.status), self._backoff_seconds(attempt)
        rate_limits.inc()
        asked = retry_after_seconds(response.headers, now=self._time.now())
        if asked is None:
            wait_seconds = self._backoff_seconds(attempt)
        else:
            wait_seconds = asked + self._time.uniform(0.0, RATE_LIMIT_JITTER_SECONDS)
        self.quota.pause(route.limit_class, asked or 0.0)
        known = math.ceil(asked) if asked is not None else math.ceil(wait_seconds)
        return RateLimited(message, code=code, http_status=429, retry_after_seconds=max(1, known)), wait_seconds

    def _renewed(self, token: str, response: Response) -> str:
        """Return a token that differs from the refused one. Raises AuthError."""
        renewed = self._credential()
        if renewed == token:
            raise AuthError(
                "Linktree does not accept the API key", code=_code_and_message(response)[0], http_status=401
            )
        return renewed

    def _backoff_seconds(self, attempt: int) -> float:
        """Full jitter below 1.5 s, 3 s, 6 s, at most 32 s."""
        ceiling = min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2 ** (attempt - 1))
        return self._time.uniform(0.0, ceiling)


def retry_after_seconds(headers: dict[str, str], *, now: float) -> float | None:
    """Return how long a 429 asks us to wait; None if it does not say. now: Unix seconds.

    `Retry-After` in seconds or as an HTTP date, else `X-RateLimit-Reset`. Garbage and negatives count as missing.
    Source: RFC 9110, section 10.2.3; the Linktree contract, section 6.3.
    """
    text = headers.get("retry-after", "").strip()
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        resets_at = _number(headers.get("x-ratelimit-reset"))
        return None if resets_at is None else max(0.0, resets_at - now)
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.fromtimestamp(now, UTC)).total_seconds())


def _number(text: str | None) -> float | None:
    """Return a non-negative whole number of at most 12 digits."""
    return float(text) if text and text.isascii() and text.isdigit() and len(text) <= 12 else None


def _may_repeat(request: Request) -> bool:
    return request.method in ALWAYS_RETRIED or "Idempotency-Key" in request.headers


def _document(response: Response) -> Any:
    if response.status == 204:
        return None
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError) as error:
        raise BadResponse("the answer is not JSON", http_status=response.status) from error


def _code_and_message(response: Response) -> tuple[str, str]:
    """Read an error in the contract's envelope, or in any of the shapes that other servers send."""
    error, _ = _error_object(response)
    code, message = error.get("code"), error.get("message")
    text = message if isinstance(message, str) else f"status {response.status}"
    return (code[:64] if isinstance(code, str) else "UNKNOWN"), text[:300]


def _error_object(response: Response) -> tuple[dict[str, Any], Any]:
    """Return the error's object ({} where there is none) and the whole document."""
    try:
        document = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}, None
    if not isinstance(document, dict):
        return {}, document
    error = document.get("error", document)
    return (error if isinstance(error, dict) else {"message": error}), document


def _rejection(response: Response) -> LinktreeError:
    """Return the typed error of a 3xx or 4xx."""
    status = response.status
    code, message = _code_and_message(response)
    error, document = _error_object(response)
    details = error.get("details")
    details = details if isinstance(details, dict) else {}
    if status == 404:
        return LinktreeNotFound(message, code=code, http_status=status)
    if status == 403:
        kind = {"PLAN_RESTRICTED": PlanRestricted, "INSUFFICIENT_SCOPE": InsufficientScope}.get(code, LinktreeRejected)
        return kind(message, code=code, http_status=status)
    if status == 409 and code == "DUPLICATE_LINK":
        existing = field(details, "existing_link_id")
        known = str(existing) if isinstance(existing, str | int) else None
        return DuplicateLink(message, existing_link_id=known, code=code, http_status=status)
    if status in {400, 422}:
        rejected = ValidationError(message, fields=_fields(details), code=code, http_status=status)
        rejected.facts = {"errors": document["errors"]} if isinstance(document, dict) and "errors" in document else {}
        return rejected
    return LinktreeRejected(message, code=code, http_status=status)


def _fields(details: dict[str, Any]) -> dict[str, list[str]]:
    fields = details.get("fields")
    if not isinstance(fields, dict):
        return {}
    return {
        str(name): [str(text) for text in (texts if isinstance(texts, list) else [texts])]
        for name, texts in fields.items()
    }
