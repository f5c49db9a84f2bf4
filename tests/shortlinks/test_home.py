"""The home page: a link in, a short link out, with and without JavaScript."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from shortlinks import services
from shortlinks.models import ShortLink

URL = "https://www.python.org/"

pytestmark = pytest.mark.django_db


class Page(HTMLParser):
    """The elements of a page by id, and what it would load or run."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.by_id: dict[str, dict[str, str | None]] = {}
        self.inline: list[str] = []
        self.loads: list[str] = []
        self.labels: set[str | None] = set()
        self.feed(html.decode())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.by_id[given.get("id") or ""] = given
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        if tag in {"script", "link", "img"}:
            self.loads.append(given.get("src") or given.get("href") or "")
        if tag == "label":
            self.labels.add(given.get("for"))


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(client: Client) -> None:
    response = client.get("/")
    page = Page(response.content)
    assert response.status_code == 200
    assert {"url", "slug"} <= page.labels
    assert "hidden" in page.by_id["made"]
    assert not page.inline
    assert all(source.startswith("/static/shortlinks/") for source in page.loads)
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]
    assert client.head("/").status_code == 200


def test_every_file_the_page_loads_is_there(client: Client) -> None:
    static = Path(services.__file__).parent / "static"
    for source in Page(client.get("/").content).loads:
        assert (static / source.removeprefix("/static/")).is_file()


def test_the_form_works_without_javascript(client: Client) -> None:
    response = client.post("/", {"url": f"  {URL} ", "slug": "by-form"}, follow=True)
    assert response.redirect_chain == [("/?made=by-form#made", 303)]
    page = Page(response.content)
    assert page.by_id["short-url"]["value"] == "http://testserver/by-form"
    assert page.by_id["made"]["data-slug"] == "by-form"
    assert {"copy", "clicks"} <= set(page.by_id)
    assert ShortLink.objects.get().is_anonymous


def test_a_form_of_another_site_is_refused() -> None:
    assert Client(enforce_csrf_checks=True).post("/", {"url": URL}).status_code == 403
    assert not ShortLink.objects.exists()


@pytest.mark.parametrize(
    ("given", "field", "sentence"),
    [
        ({}, "url", "Enter a URL"),
        ({"url": "ftp://a.org"}, "url", "http:// or https://"),
        ({"url": "https://a.org/\x00"}, "url", "U+0000"),
        ({"url": '"><script>alert(1)</script>'}, "url", "http:// or https://"),
        ({"url": URL, "slug": "a/b"}, "slug", "letters a to z"),
        ({"url": URL, "slug": "a" * 5000}, "slug", "3 to 50"),
        ({"url": URL, "slug": "Taken"}, "slug", "taken"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    client: Client, given: dict[str, str], field: str, sentence: str
) -> None:
    services.create_short_link(url=URL, slug="taken")
    response = client.post("/", given)
    page = Page(response.content)
    assert response.status_code in {400, 409}
    assert page.by_id[field]["aria-invalid"] == "true"
    assert "hidden" not in page.by_id[f"{field}-problem"]
    assert sentence in response.content.decode()
    assert page.by_id["url"]["value"] == given.get("url", "")
    assert not page.inline
    assert ShortLink.objects.count() == 1


def test_the_form_and_the_api_share_one_limit(client: Client) -> None:
    for _ in range(5):
        assert client.post("/", {"url": URL}).status_code == 303
        assert client.post("/api/links", {"url": URL}, content_type="application/json").status_code == 201
    response = client.post("/", {"url": URL})
    assert response.status_code == 429
    assert int(response["Retry-After"]) >= 1
    assert Page(response.content).by_id["url"]["value"] == URL


@pytest.mark.parametrize("slug", ["private", "gone", "unknown", "..", "a" * 5000, "%00"])
def test_only_open_links_are_shown_as_made(client: Client, slug: str) -> None:
    services.create_short_link(url=URL, slug="private")
    services.disable_short_link(services.create_short_link(url=URL, slug="gone", is_anonymous=True).id)
    response = client.get(f"/?made={slug}")
    assert response.status_code == 200
    assert "hidden" in Page(response.content).by_id["made"]


def test_other_methods_are_not_allowed(client: Client) -> None:
    assert client.delete("/").status_code == 405


def test_the_demo_links_can_be_made_again(django_assert_num_queries: Any) -> None:
    from shortlinks.demo import DEMO_LINKS, create_demo_links

    assert create_demo_links() == create_demo_links()
    assert ShortLink.objects.count() == len(DEMO_LINKS)
