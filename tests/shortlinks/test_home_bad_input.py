"""The form of the home page under nonsense: an answer to the visitor, never a server error, nothing stored."""

import pytest
from django.test import Client

from shortlinks.models import ShortLink

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"
BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", FORM),
    "NUL": (b"url=https%3A%2F%2Fexample.com%2F%00", FORM),
    "NUL in the slug": (b"url=https%3A%2F%2Fexample.com%2F&slug=ab%00cd", FORM),
    "lone surrogate": (b"url=https%3A%2F%2Fexample.com%2F&slug=%ED%A0%80abc", FORM),
    "no UTF-8": (b"url=%ff%fe&slug=%ff", FORM),
    "script": (b"url=javascript%3Aalert(1)", FORM),
    "traversal": (b"url=https%3A%2F%2Fexample.com%2F&slug=..%2F..%2Fx", FORM),
    "long": (b"url=https%3A%2F%2Fexample.com%2F" + b"x" * 70_000, FORM),
    "longer than a body may be": (b"url=https%3A%2F%2Fexample.com%2F" + b"x" * (2 << 20), FORM),
    "five thousand fields": (b"&".join(b"a%d=1" % number for number in range(5000)), FORM),
    "JSON": (b'{"url": "https://example.com/"}', "application/json"),
    "torn multipart": (b"--x\r\nContent-Disposition: form-data; name=", "multipart/form-data; boundary=x"),
    "multipart without boundary": (b"--x", "multipart/form-data"),
}


@pytest.mark.parametrize(("body", "content_type"), BODIES.values(), ids=BODIES)
def test_nonsense_in_the_form_is_answered_and_stores_nothing(body: bytes, content_type: str) -> None:
    client = Client(raise_request_exception=False)
    answer = client.post("/", body, content_type=content_type)
    assert 400 <= answer.status_code < 500
    assert b"Traceback" not in answer.content
    assert not ShortLink.objects.exists()
