"""Slugs: their form, and the words that are kept free."""

from collections.abc import Iterator

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from linklayer.errors import InvalidInput
from shortlinks.slugs import RESERVED, check_slug, is_slug, random_slug

BAD_FORMS = [
    "",
    "ab",
    "a" * 51,
    "a" * 5000,
    "a/b",
    "a%2Fb",
    "..",
    "a.b",
    "a b",
    "äöü",
    "abc\n",
    "\uff41bc",
    "abc\u200d",
    "\x00\x00\x00",
]


def test_a_random_slug_is_seven_unmistakable_characters() -> None:
    slugs = {random_slug() for _ in range(200)}
    assert len(slugs) == 200
    assert all(len(slug) == 7 and not set(slug) & set("0OIl") and is_slug(slug) for slug in slugs)


@pytest.mark.parametrize("slug", BAD_FORMS, ids=lambda text: ascii(text)[:20])
def test_a_slug_of_another_form_is_refused_by_name(slug: str) -> None:
    assert not is_slug(slug)
    with pytest.raises(InvalidInput) as refusal:
        check_slug(slug)
    assert list(refusal.value.errors) == ["slug"]


def test_a_lookalike_is_told_that_it_is_one() -> None:
    with pytest.raises(InvalidInput, match="looks like another"):
        check_slug("\uff41bc")


@pytest.mark.parametrize("slug", ["admin", "API", "Static", "login", "healthz"])
def test_a_reserved_word_is_refused_in_any_case(slug: str) -> None:
    assert not is_slug(slug)
    with pytest.raises(InvalidInput, match="reserved"):
        check_slug(slug)


def test_every_address_of_ours_is_reserved() -> None:
    first_segments = {str(route).strip("^/").split("/")[0] for route in _routes(get_resolver())}
    words = {segment for segment in first_segments if segment and not set(segment) & set("<>()[]@?\\")}
    assert {"admin", "api", "livez", "readyz", "webhooks"} <= words
    assert words <= RESERVED
    assert {
        "admin",
        "api",
        "static",
        "media",
        "healthz",
        "metrics",
        "robots.txt",
        "favicon.ico",
        ".well-known",
    } <= RESERVED
    assert {"login", "logout"} <= RESERVED


def _routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        route = f"{before}{entry.pattern}"
        if isinstance(entry, URLPattern) or str(entry.pattern):
            yield route
        else:
            yield from _routes(entry, route)
