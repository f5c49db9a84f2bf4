"""The profile page: themed by data, safe with hostile text, complete without JavaScript."""

import base64
import hashlib
import re
from typing import Any

import pytest

from profiles.page import page_answer
from profiles.themes import page_style, theme_json

HOSTILE = '</style><script>alert(1)</script>"onmouseover="x'


def _profile(**changes: Any) -> dict[str, Any]:
    link = {"id": "1", "title": "Shop", "url": "https://example.com", "shortUrl": "/abc1234", "type": "classic"}
    return {
        "username": "jane", "displayName": "Jane", "bio": "Hello", "avatarUrl": "", "theme": {}, "links": [link],
        **changes,
    }  # fmt: skip


def _html(**changes: Any) -> str:
    return page_answer(_profile(**changes), etag='W/"x"').body.decode()


def test_links_go_through_their_short_links_and_pass_nothing_on() -> None:
    assert '<a class="link" href="/abc1234" rel="nofollow noopener ugc">Shop</a>' in _html()
    assert "https://example.com" not in _html()


def test_a_header_is_a_heading_and_an_empty_page_says_so() -> None:
    header = {"id": "2", "title": "Elsewhere", "url": "", "shortUrl": None, "type": "header"}
    assert "<h2>Elsewhere</h2>" in _html(links=[header])
    assert "No links yet." in _html(links=[])


@pytest.mark.parametrize("name", ["displayName", "bio", "username", "avatarUrl"])
def test_hostile_text_is_shown_as_text(name: str) -> None:
    html = _html(**{name: HOSTILE})
    assert "<script" not in html
    assert '"onmouseover="' not in html


@pytest.mark.parametrize("value", [HOSTILE, "red", "#12345", "#1234567", "url(https://evil.com)", 7, None, ["#112233"]])
def test_a_theme_cannot_write_css(value: Any) -> None:
    theme = {"background_color": value, "button_style": value, "mode": value, "background_style": value}
    assert re.fullmatch(r":root\{--ground:#[0-9A-F]{6}\}", page_style(theme).css)
    assert re.fullmatch(r"[a-z \-]+", page_style(theme).classes)


def test_a_theme_is_shown_with_readable_text() -> None:
    style = page_style({"background_color": "#1b2140", "button_style": "GLASS", "button_corner_style": "ROUND"})
    assert (style.ground, style.is_dark) == ("#1b2140", True)
    assert {"dark", "button-glass", "corner-round"} <= set(style.classes.split())
    assert not page_style({"background_color": "#F7F4EF", "mode": "dark"}).is_dark


def test_the_policy_allows_the_one_style_of_the_page_and_no_script() -> None:
    answer = page_answer(_profile(theme={"backgroundColor": "#112233"}), etag='W/"x"')
    css = re.search(r"<style>(.*?)</style>", answer.body.decode())
    assert css is not None
    digest = base64.b64encode(hashlib.sha256(css[1].encode()).digest()).decode()
    policy = answer.header("Content-Security-Policy") or ""
    assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_theme_is_camel_case_in_json_and_keeps_what_it_does_not_know() -> None:
    assert theme_json({"background_color": "#112233", "x_new": 1}) == {"backgroundColor": "#112233", "x_new": 1}
