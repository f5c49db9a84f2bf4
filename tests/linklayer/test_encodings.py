"""Which encoding a client gets, and that both lanes send the same bytes."""

import gzip

import brotli
import pytest
import time_machine
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from linklayer.encodings import MIN_BYTES, Encoding, _remembered_choice, chosen_encoding, encode, is_encodable, varied
from linklayer.middleware import EncodingMiddleware

TEXT = b'{"title": "A link", "url": "https://example.com/"}' * 40
OURS: tuple[Encoding, ...] = ("br", "gzip")


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("br", "br"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("br;q=0.001", "br"),
        ("br;q=0, gzip", "gzip"),
        ("br ; Q=0 , gzip ; q=0", None),
        ("*", "br"),
        ("*;q=0", None),
        ("br;q=0, *", "gzip"),
        ("identity", None),
        ("identity, gzip", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0", None),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("*;q=0.5, gzip;q=0.2, br;q=0.1", None),
        ("deflate, zstd", None),
        ("gzip;q=2", None),
        ("gzip;q=0.1234", None),
        ("gzip;level=9", None),
        ("gzip;q=abc, br", "br"),
        (";;;,,,=,q=1;", None),
        ("gzip\x00", None),
        ("gzip, " + "x" * 300, None),
    ],
)
def test_the_client_gets_what_it_prefers(header: str, chosen: Encoding | None) -> None:
    assert chosen_encoding(header) == chosen


WEIGHTS = st.integers(0, 1000)
CODINGS = st.sampled_from(["br", "gzip", "identity", "*", "deflate", "x-other"])


@given(st.dictionaries(CODINGS, WEIGHTS))
def test_what_is_chosen_is_acceptable_and_nothing_of_ours_is_preferred_to_it(weights: dict[str, int]) -> None:
    def weight(coding: str) -> int:
        return weights.get(coding, weights.get("*", 0))

    chosen = chosen_encoding(", ".join(f"{coding};q={value / 1000:.3f}" for coding, value in weights.items()))
    if chosen is None:
        assert all(weight(coding) == 0 or weight(coding) < weight("identity") for coding in OURS)
    else:
        assert weight(chosen) > 0
        assert weight(chosen) == max(map(weight, ("identity", *OURS)))


@given(st.text() | st.text("brgzip;q=01.*, \t", max_size=60))
def test_whatever_is_sent_nothing_is_chosen_that_it_does_not_name(header: str) -> None:
    chosen = chosen_encoding(header)
    assert chosen is None or chosen in header.lower() or "*" in header


def test_what_strangers_send_takes_no_memory() -> None:
    _remembered_choice.cache_clear()
    for number in range(2000):
        chosen_encoding(f"gzip, x{number}")
        chosen_encoding(f"gzip, {number}" + "x" * 30_000)
    assert _remembered_choice.cache_info().currsize <= 512
    assert _remembered_choice.cache_info().misses == 2000  # the long ones were not even read


@pytest.mark.parametrize("size", [MIN_BYTES, 30_000, 400_000])
def test_the_bytes_are_the_body_and_always_the_same(size: int) -> None:
    body = (TEXT * (size // len(TEXT) + 1))[:size]
    assert brotli.decompress(encode(body, "br")) == gzip.decompress(encode(body, "gzip")) == body
    for encoding in OURS:
        with time_machine.travel(0.0, tick=False):
            long_ago = encode(body, encoding)
        assert encode(body, encoding) == long_ago
        assert len(long_ago) < size / 2


@pytest.mark.parametrize(
    ("headers", "body", "is_worth_it"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, TEXT, True),
        ({"Content-Type": "application/problem+json"}, TEXT, True),
        ({"Content-Type": "image/svg+xml"}, TEXT, True),
        ({"Content-Type": "application/vnd.oai.openapi; charset=utf-8"}, TEXT, True),
        ({"Content-Type": "image/png"}, TEXT, False),
        ({"Content-Type": "application/zip"}, TEXT, False),
        ({}, TEXT, False),
        ({"Content-Type": "text/html"}, TEXT[: MIN_BYTES - 1], False),
        ({"Content-Type": "text/html", "Content-Encoding": "gzip"}, TEXT, False),
        ({"Content-Type": "text/html", "Cache-Control": "public, No-Transform"}, TEXT, False),
    ],
)
def test_only_text_that_is_worth_it_is_encoded(headers: dict[str, str], body: bytes, is_worth_it: bool) -> None:
    assert is_encodable(headers.get, body) is is_worth_it


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "Accept-Encoding"),
        ("Authorization", "Authorization, Accept-Encoding"),
        ("Cookie,accept-encoding", "Cookie, accept-encoding"),
        ("*", "*"),
    ],
)
def test_vary_is_joined(before: str | None, after: str) -> None:
    assert varied(before) == after


def through_django(path: str, response: HttpResponse, **headers: str) -> HttpResponse:
    def view(_request: HttpRequest) -> HttpResponse:
        return response

    answer = EncodingMiddleware(view)(RequestFactory().get(path, headers=headers))
    assert isinstance(answer, HttpResponse)
    return answer


def test_django_encodes_what_its_views_answer() -> None:
    answer = through_django("/api/x", HttpResponse(TEXT, headers={"Vary": "Cookie"}), accept_encoding="gzip")
    assert gzip.decompress(answer.content) == TEXT
    assert (answer["Content-Encoding"], answer["Vary"]) == ("gzip", "Cookie, Accept-Encoding")


def test_who_asks_for_no_encoding_learns_that_there_are_some() -> None:
    answer = through_django("/api/x", HttpResponse(TEXT))
    assert (answer.content, answer["Vary"], answer.has_header("Content-Encoding")) == (TEXT, "Accept-Encoding", False)


def test_the_admin_is_not_encoded_and_nothing_is_encoded_twice() -> None:
    admin = through_django("/admin/x/?q=guess", HttpResponse(TEXT), accept_encoding="gzip")
    assert (admin.content, admin.has_header("Vary")) == (TEXT, False)
    once = HttpResponse(encode(TEXT, "gzip") + TEXT, headers={"Content-Encoding": "gzip"})
    assert through_django("/x", once, accept_encoding="br")["Content-Encoding"] == "gzip"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/api/schema", "/api/docs"])
def test_pages_and_documents_come_encoded(client: Client, path: str) -> None:
    encoded, plain = client.get(path, headers={"Accept-Encoding": "br"}), client.get(path)
    assert (encoded["Content-Encoding"], encoded["Content-Length"]) == ("br", str(len(encoded.content)))
    assert len(brotli.decompress(encoded.content)) == len(plain.content)
    assert "Accept-Encoding" in encoded["Vary"]
    assert "Accept-Encoding" in plain["Vary"]
