"""In production the proxy sends public reads to web, what writes or is heavy to desk, and no address is forgotten."""

import pytest
from django.urls import resolve

from tests.deploy.routes import NOBODY, process_for, routes

# Which process a GET of each address belongs to. A new address has to be entered here, and so decided about.
READS = {
    "livez": "web",
    "readyz": "web",
    "health/live": "web",
    "health/ready": "web",
    "health": "web",
    "metrics": NOBODY,
    "admin": "desk",
    "admin/login/": "desk",
    "admin/": "desk",
    "api/schema": "desk",
    "api/docs": "desk",
    "webhooks/linktree": "web",  # nothing is read there: a probe of the sender, answered without a look at anything
    "@<str:username>": "web",
    "api/profiles/<str:username>": "web",
    "api/profiles/<str:username>/links": "web",
    "api/profiles/<str:username>/stats": "desk",
    "api/cache/invalidate/<str:username>": "web",  # only its POST exists
    "": "desk",
    "api/links": "desk",
    "api/links/<str:slug>": "desk",
    "api/links/<str:slug>/stats": "desk",
    r"^(?P<slug>[^/]+)\Z": "web",
}


def test_every_address_is_decided_about() -> None:
    assert set(routes()) == set(READS)
    for path in routes().values():
        resolve(path)  # raises Resolver404 where the example is none


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reads_go_where_they_belong(method: str) -> None:
    assert {route: process_for(method, path) for route, path in routes().items()} == READS


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_writes_go_to_the_desk(method: str) -> None:
    found = {route: process_for(method, path) for route, path in routes().items()}
    assert found == {route: NOBODY if process == NOBODY else "desk" for route, process in READS.items()}


@pytest.mark.parametrize("path", ["/static/unfold/css/styles.css", "/admin/shortlinks/shortlink/", "/api/links/a/b"])
def test_what_lies_below_an_address_of_the_desk_goes_there_too(path: str) -> None:
    assert process_for("GET", path) == "desk"


@pytest.mark.parametrize("path", ["/@ada", "/administration", "/api", "/staticpage", "/api-docs", "/metrics-of-mine"])
def test_a_slug_that_looks_like_an_address_of_the_desk_goes_to_web(path: str) -> None:
    assert process_for("GET", path) == "web"
