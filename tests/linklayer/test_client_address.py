"""Who is asking, behind proxies that are trusted or not."""

import ipaddress
from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from linklayer import client_address as module
from linklayer.client_address import client_address


@pytest.fixture(autouse=True)
def trusted(settings: Settings) -> Iterator[None]:
    settings.TRUSTED_PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]
    module._remembered_walk.cache_clear()
    yield
    module._remembered_walk.cache_clear()


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "6.6.6.6", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6,unknown", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4:5555", "1.2.3.4"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("", "6.6.6.6", "0.0.0.0"),
        ("nonsense", "6.6.6.6", "0.0.0.0"),
        ("10.0.0.1", "\x00, é", "10.0.0.1"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded_for: str, expected: str) -> None:
    assert client_address(peer, forwarded_for) == expected


def test_a_long_header_is_read_and_not_remembered() -> None:
    padding = "6.6.6.6," * 4000
    assert client_address("10.0.0.1", f"{padding}203.0.113.7") == "203.0.113.7"
    assert module._remembered_walk.cache_info().currsize == 0
