"""The profile page as an answer: themed by checked values, no JavaScript, links through their short links."""

import base64
import hashlib
from functools import cache
from typing import Any

from django.template.loader import render_to_string

from linklayer.public_reads import Answer
from profiles.themes import CAMEL_NAMES, page_style

Json = dict[str, Any]

_SNAKE_NAMES = {camel: snake for snake, camel in CAMEL_NAMES.items()}


def page_answer(profile: Json, *, etag: str) -> Answer:
    """Return the page of a public profile. Its one inline style is allowed by hash, nothing else inline is."""
    style = page_style({_SNAKE_NAMES.get(name, name): value for name, value in profile["theme"].items()})
    context = {
        "profile": profile,
        "name": profile["displayName"] or f"@{profile['username']}",
        "initial": (profile["displayName"] or profile["username"])[:1].upper(),
        "avatar": profile["avatarUrl"] if profile["avatarUrl"].startswith("https://") else "",
        "style": style,
    }
    body = render_to_string("profiles/page.html", context).encode("utf-8", "replace")
    headers = (
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-cache"),
        ("ETag", f'W/"page-{etag[3:]}'),
        ("Content-Security-Policy", _policy(style.css)),
    )
    return Answer(200, headers, body)


@cache
def no_page_answer() -> Answer:
    """Return the page that stands where no profile is."""
    return Answer(404, (("Content-Type", "text/html; charset=utf-8"),), render_to_string("404.html").encode())


def _policy(css: str) -> str:
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src 'self' https:; style-src 'self' 'sha256-{digest}';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
