"""Public reads: what the front door and Django's views both answer, from one prepared `Answer`.

An app offers a `PublicRead` by dotted name (settings.PUBLIC_READS). Whatever decides status, headers and body stands
here or in the app's `answer`, so that both lanes give the same response (the parity test).
"""

from dataclasses import dataclass, replace
from typing import Protocol

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from linklayer.cache import CachedReads, Found
from linklayer.encodings import Encoding, encode, is_encodable, varied
from linklayer.tier1 import Entry
from linklayer.visitor import VisitorFacts

Headers = tuple[tuple[str, str], ...]

# Every response of the product carries these, from either lane; a view may say something stricter.
SECURITY_HEADERS: Headers = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    *((("Strict-Transport-Security", "max-age=31536000"),) if settings.HTTPS_ONLY else ()),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as data. headers: in order, without Content-Length and the security headers."""

    status: int
    headers: Headers
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class PublicRead(Protocol):
    """One kind of public page, found by path."""

    reads: CachedReads
    shows_cache: bool  # adds Age and X-Cache

    def peek(self, path: str) -> Entry | None:
        """Return what tier 1 holds for the path: the front door's first look. No I/O."""

    def key(self, path: str) -> str | None:
        """Return the cache key that the path means ("/abc" -> "abc"), or None if it is not this read's, or its name is
        not in tier 1.

        Called in the event loop: no I/O.
        """

    def name(self, path: str) -> tuple[CachedReads, str] | None:
        """Return the name that the path shows in place of a key ("/@Ann" -> "ann"), and the read that knows the key.

        None if it shows none. No I/O either.
        """

    def answer(self, found: Found) -> Answer:
        """Return the answer to a GET without conditions. Called once per cached entry and kept beside it."""

    def expires_at(self, found: Found) -> float | None:
        """Return the moment (Unix seconds) after which the answer changes by itself, or None."""

    def absent(self, path: str) -> Answer | None:
        """Return the answer to a path of which this process knows that nothing is there, else None.

        Called in the event loop: no I/O.
        """

    def record(self, found: Found, answer: Answer, facts: VisitorFacts) -> None:
        """Capture the click or view of an answered GET. Never waits, never raises."""


def cache_headers(found: Found) -> Headers:
    return (("Age", str(max(0, int(found.age_seconds)))), ("X-Cache", found.source))


def is_negotiable(answer: Answer) -> bool:
    """Tell whether an answer is sent in the encoding that the client prefers."""
    return is_encodable(answer.header, answer.body)


def negotiable(answer: Answer) -> Answer:
    """Return the answer that says so in Vary, if it is sent in the encoding that the client prefers: its 304 too."""
    if not is_negotiable(answer):
        return answer
    others = tuple(pair for pair in answer.headers if pair[0].lower() != "vary")
    return replace(answer, headers=(*others, ("Vary", varied(answer.header("Vary")))))


def encoded(answer: Answer, encoding: Encoding) -> Answer:
    headers = (*answer.headers, ("Content-Encoding", encoding))
    return replace(answer, headers=headers, body=encode(answer.body, encoding))


def conditional(answer: Answer, if_none_match: str) -> Answer:
    """Return 304 in place of a 200 whose ETag the client already has (RFC 9110, section 13.1.2, weak comparison)."""
    etag = answer.header("ETag")
    if answer.status != 200 or not etag or not if_none_match:
        return answer
    given = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    if "*" not in given and etag.removeprefix("W/") not in given:
        return answer
    kept = tuple((name, value) for name, value in answer.headers if name.lower() != "content-type")
    return replace(answer, status=304, headers=kept, body=b"")


def django_response(request: HttpRequest, read: PublicRead, found: Found) -> HttpResponse:
    """Return the answer through Django and record it: the slow twin of the front door.

    EncodingMiddleware encodes it, as all that Django answers.
    """
    answer = conditional(negotiable(read.answer(found)), request.headers.get("If-None-Match", ""))
    if request.method == "GET":
        read.record(found, answer, VisitorFacts.from_request(request))
    response = as_django(request, answer)
    for name, value in cache_headers(found) if read.shows_cache else ():
        response.headers[name] = value
    return response


def as_django(request: HttpRequest, answer: Answer) -> HttpResponse:
    """Return the answer through Django.

    A public read sets no cookie: the middleware would delete a malformed session's and replace a malformed token's.
    """
    request.COOKIES.clear()
    request.META.pop("CSRF_COOKIE_NEEDS_UPDATE", None)
    response = HttpResponse(answer.body, status=answer.status)
    del response.headers["Content-Type"]
    for name, value in answer.headers:
        response.headers[name] = value
    return response
