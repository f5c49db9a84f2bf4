"""What is recorded of a visitor does not depend on the lane: drawn headers, as front door and view see them."""

import ipaddress
from io import BytesIO
from typing import Any

import pytest
from a2wsgi.wsgi import build_environ
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from linklayer import lane
from linklayer.exchange import head_of
from linklayer.middleware import ClientAddressMiddleware
from linklayer.visitor import VisitorFacts

NAMES = [
    *(b"user-agent", b"referer", b"accept-language", b"sec-purpose", b"purpose", b"x-moz", b"dnt", b"sec-gpc"),
    *(b"x-forwarded-for", b"cookie", b"if-none-match", b"x-forwarded-proto"),
]
ADDRESSES = [
    *(b"203.0.113.7", b"127.0.0.1", b"10.0.0.1, 203.0.113.7", b"[2001:db8::1]:443", b"1.2.3.4:5", b"::1"),
    *(b"::ffff:9.9.9.9", b"x", b",", b" ", b""),
]
# What the parser lets through: visible ASCII, space, tab and all of latin-1.
FREE_VALUES = st.lists(st.sampled_from([9, *range(0x20, 0x7F), *range(0x80, 0x100)]), max_size=30).map(bytes)
VALUES = st.one_of(
    FREE_VALUES, st.sampled_from(ADDRESSES), st.sampled_from([b"1", b"0", b"", b"prefetch", b"x" * 5000, b"\xe9" * 300])
)


@pytest.fixture
def _trusting(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = [ipaddress.ip_network("127.0.0.1/32")]
    settings.ALLOWED_HOSTS = ["localhost"]


@pytest.mark.usefixtures("_trusting")
@hypothesis_settings(
    max_examples=2000,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    lines=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=8),
    peer=st.sampled_from(["127.0.0.1", "203.0.113.1", "::1", "::ffff:127.0.0.1", ""]),
    query=st.lists(st.integers(0x21, 0x7E), max_size=30).map(bytes),
)
def test_both_lanes_see_the_same_visitor(lines: list[tuple[bytes, bytes]], peer: str, query: bytes) -> None:
    headers = [(b"host", b"localhost"), *lines]
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/x",
        "raw_path": b"/x",
        "scheme": "http",
    }
    scope |= {"client": (peer, 1) if peer else None, "server": ("127.0.0.1", 1), "query_string": query}
    scope["headers"] = headers
    assert VisitorFacts.from_head(head_of(scope)) == facts_in_django(scope)


def facts_in_django(scope: dict[str, Any]) -> VisitorFacts:
    """Return what a view sees of the request: after the lane, a2wsgi and the middleware that decides the address."""
    seen: list[VisitorFacts] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(VisitorFacts.from_request(request))
        return HttpResponse()

    no_body: Any = None
    for_wsgi: Any = {**scope, "headers": lane._wsgi_headers(scope["headers"], b"")}
    environ = build_environ(for_wsgi, no_body)
    ClientAddressMiddleware(view)(WSGIRequest({**environ, "wsgi.input": BytesIO()}))
    return seen[0]
