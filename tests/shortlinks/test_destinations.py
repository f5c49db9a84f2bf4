"""The URL policy: what it refuses and why, and what it lets through in which form."""

import ada_url
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from shortlinks.destinations import InvalidDestination, canonical_destination

REFUSED = [
    ("", "Enter a URL"),
    ("https://example.org/" + "a" * 2048, "longer than 2048"),
    ("https://example.org/" + "ü" * 1000, "once it is encoded"),
    ("https://example.org/a b", "invisible character (U+0020)"),
    (" https://example.org/", "U+0020"),
    ("https://example.org/\r\nSet-Cookie:a=b", "U+000D"),
    ("https://exam\tple.org/", "U+0009"),
    ("https://example.org/\x00", "U+0000"),
    ("https://example.org/\x7f", "U+007F"),
    ("https://example.org/\xa0", "U+00A0"),
    ("https://example.org/\u202egpj", "U+202E"),
    ("https://exam\u200bple.org/", "U+200B"),
    ("https://example.org/\ud800", "U+D800"),
    ("https://example.org/\ue000", "U+E000"),
    ("https:\\\\evil.org", "backslash"),
    ("https://example.org\\@evil.org", "backslash"),
    ("javascript:alert(1)", "http:// or https://"),
    ("ftp://example.org/", "http:// or https://"),
    ("//example.org/", "http:// or https://"),
    ("example.org", "http:// or https://"),
    ("https:example.org", "names no host"),
    ("https:///example.org", "names no host"),
    ("https://paypal.com@evil.org/", "user name"),
    ("https://evil.org%2f.paypal.com/", "encoded host"),
    ("https://exa_mple.org/", "not a valid URL"),
    ("https://[::1", "host cannot be read"),
    ("https://example.org:0/", "port"),
    ("https://example.org:65536/", "port"),
    ("https://example.org:99999/", "port"),
    ("https://example.org:/", "not a valid URL"),
    ("https://xn--a.org/", "not a valid domain name"),
    ("https://example.b\xb2/", "not a valid URL"),
    ("https://example.\u2460\u2460/", "in disguise"),
    ("http://localhost/", "needs a domain"),
    ("http://2130706433/", "not a valid URL"),
    ("http://0x7f.1/", "not a valid URL"),
    ("http://017700000001/", "not a valid URL"),
    ("http://127.0.0.1/", "not public"),
    ("http://10.1.2.3/", "not public"),
    ("http://100.64.0.1/", "not public"),
    ("http://169.254.169.254/latest/meta-data", "not public"),
    ("http://0.0.0.0/", "not public"),
    ("http://224.0.0.1/", "not public"),
    ("http://240.0.0.1/", "not public"),
    ("http://[::1]/", "not public"),
    ("http://[::]/", "not public"),
    ("http://[::ffff:127.0.0.1]/", "not public"),
    ("http://[::127.0.0.1]/", "not public"),
    ("http://[64:ff9b::10.0.0.1]/", "not public"),
    ("http://[2002:7f00:1::]/", "not public"),
    ("http://[fe80::1]/", "not public"),
    ("http://[fec0::1]/", "not public"),
    ("http://[ff0e::1]/", "not public"),
    ("http://app.localhost/", "not public"),
    ("http://printer.local/", "not public"),
    ("http://db.internal/", "not public"),
    ("http://box.home.arpa/", "not public"),
    ("http://abcdefgh.onion/", "not public"),
    ("http://sub.domain.corp./", "not public"),
    ("https://short.brand.io/x", "back to this service"),
    ("https://any.SHORT.brand.io/x", "back to this service"),
    ("https://also.ours.org./", "back to this service"),
    ("https://p\u0430ypal.com/", "mixes letters"),
    ("https://xn--pypal-4ve.com/", "mixes letters"),
]

ACCEPTED = {
    "https://example.org": "https://example.org/",
    "HTTPS://Example.ORG:443/A?b=C#d": "https://example.org/A?b=C#d",
    "http://example.org:8080/": "http://example.org:8080/",
    "https://example.org./": "https://example.org/",
    "https://bücher.de/straße?q=ä#ö": "https://xn--bcher-kva.de/stra%C3%9Fe?q=%C3%A4#%C3%B6",
    "https://faß.de/": "https://xn--fa-hia.de/",
    "https://日本語.jp/": "https://xn--wgv71a119e.jp/",
    "https://a.b\u3002com/": "https://a.b.com/",
    "https://example.org/a/../b/%2e%2e/c": "https://example.org/c",
    'https://example.org/"<>`{}|': "https://example.org/%22%3C%3E%60%7B%7D|",
    "https://example.org/?next=https://user@evil.org": "https://example.org/?next=https://user@evil.org",
    "http://1.1.1.1/": "http://1.1.1.1/",
    "http://[2606:4700:0:0:0:0:0:1111]/": "http://[2606:4700::1111]/",
    "http://[::ffff:8.8.8.8]/": "http://[::ffff:808:808]/",
    "http://россия.рф/": "http://xn--h1alffa9f.xn--p1ai/",
    "https://notour.short.brand.io.evil.org/": "https://notour.short.brand.io.evil.org/",
}


@pytest.fixture(autouse=True)
def _our_domains(settings: Settings) -> None:
    settings.PUBLIC_URL = "https://short.brand.io"
    settings.ALLOWED_HOSTS = ["also.ours.org", "web_1", "*", "127.0.0.1"]


@pytest.mark.parametrize(("url", "reason"), REFUSED, ids=lambda text: ascii(text)[:60])
def test_a_refused_url_is_told_why(url: str, reason: str) -> None:
    with pytest.raises(InvalidDestination) as refusal:
        canonical_destination(url)
    assert reason in refusal.value.reason
    assert refusal.value.errors == {"url": [refusal.value.reason]}


@pytest.mark.parametrize(("url", "canonical"), ACCEPTED.items(), ids=lambda text: ascii(text)[:60])
def test_an_accepted_url_is_stored_as_browsers_read_it(url: str, canonical: str) -> None:
    assert canonical_destination(url) == canonical


_LABELS = st.text(st.sampled_from("abcxyz019-.ß。\uff0e\uff41日\u0430\u200d%@:[]\\_ "), min_size=1, max_size=20)
_URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP", "ftp", "javascript"]),
    st.one_of(_LABELS, st.ip_addresses().map(str), st.ip_addresses(v=6).map("[{}]".format), st.just("example.org")),
    st.sampled_from(["", ":80", ":443", ":8080", ":0", ":", ":99999"]),
    st.text(max_size=40).map(lambda rest: f"/{rest}"),
)


@hypothesis_settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), _URLS, _URLS.map(lambda url: url.replace("/", "\\", 1))))
@example("http://\uff41.com/")
@example("http://a.com/\x7f")
def test_whatever_is_typed_is_refused_or_leads_where_it_says(url: str) -> None:
    try:
        canonical = canonical_destination(url)
    except InvalidDestination:
        return
    assert canonical.isascii()
    assert min(map(ord, canonical)) > 0x20
    assert len(canonical) <= 2048
    assert canonical_destination(canonical) == canonical
    typed, stored = ada_url.URL(url), ada_url.URL(canonical)
    assert stored.protocol == typed.protocol
    assert stored.hostname == typed.hostname.removesuffix(".")
