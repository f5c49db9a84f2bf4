"""Which URLs a short link may lead to, and the one form in which they are stored and served.

Every rule refuses; none repairs. What passes is parsed once more the way browsers do (WHATWG) and must name the same
host there. Nothing here asks the network.
Source: RFC 3986; UTS #46; the WHATWG URL standard.
"""

import functools
import ipaddress
import unicodedata
from urllib.parse import SplitResult, urlsplit

import ada_url
import idna
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator

from linklayer.errors import InvalidInput

# Raised with every tightening of the rules: rows checked under an older version are checked again when they are read.
POLICY_VERSION = 1
MAX_LENGTH = 2048

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Networks = tuple[ipaddress.IPv6Network, ...]

# Controls, format characters (bidi overrides, zero-width), surrogates, private use, unassigned, and every space.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})
_REFUSED_SUFFIXES = frozenset(
    {"localhost", "local", "internal", "home.arpa", "onion", "test", "invalid", "example", "lan", "corp"}
)
# NAT64 (RFC 6052) and the old IPv4-compatible form carry an IPv4 address in their last 32 bits.
_IPV4_CARRIERS: _Networks = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
# Scripts that one label may mix: UTS #39, section 5.2, "highly restrictive", by the first word of a letter's name.
_SCRIPT_MIXTURES = (
    frozenset({"LATIN", "CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "IDEOGRAPHIC", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "IDEOGRAPHIC", "HANGUL"}),
)
_is_url = URLValidator(schemes=["http", "https"])


class InvalidDestination(InvalidInput):
    """A URL that the policy refuses. reason: one sentence for the person who typed it."""

    def __init__(self, reason: str) -> None:
        super().__init__({"url": [reason]})
        self.reason = reason


def canonical_destination(url: str) -> str:
    """Return the one form in which a destination is stored and sent as Location: ASCII, at most 2048 characters.

    The form is stable: a canonical destination is its own canonical form.
    Raises InvalidDestination, naming the first rule that refuses.
    """
    _check_characters(url)
    parts = _split(url)
    port = _port(parts)
    host = _host(parts)
    netloc = host if port is None else f"{host}:{port}"
    return _as_browsers_read_it(parts._replace(netloc=netloc).geturl(), scheme=parts.scheme, host=host)


def is_current_destination(url: str) -> bool:
    """Return whether today's rules would store exactly this text."""
    try:
        return canonical_destination(url) == url
    except InvalidDestination:
        return False


def _check_characters(url: str) -> None:
    if not url:
        raise InvalidDestination("Enter a URL.")
    if len(url) > MAX_LENGTH:
        raise InvalidDestination(f"The URL is longer than {MAX_LENGTH} characters.")
    for character in url:
        # Refused, never stripped: browsers and Python strip different ones.
        if character <= " " or unicodedata.category(character) in _REFUSED_CATEGORIES:
            raise InvalidDestination(f"The URL contains a space or an invisible character (U+{ord(character):04X}).")
    if "\\" in url:
        raise InvalidDestination("The URL contains a backslash.")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidDestination("This is not a URL: its host cannot be read.") from error
    if parts.scheme not in {"http", "https"}:
        raise InvalidDestination("The URL must start with http:// or https://.")
    if not parts.netloc:
        raise InvalidDestination("The URL names no host.")
    if "@" in parts.netloc or "%" in parts.netloc:
        raise InvalidDestination("The URL must not carry a user name, a password or an encoded host.")
    _check_shape(url)
    return parts


def _check_shape(url: str) -> None:
    try:
        _is_url(url)
    except ValidationError as error:
        raise InvalidDestination("This is not a valid URL.") from error


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError as error:
        raise InvalidDestination("The port must be between 1 and 65535.") from error
    if port == 0:
        raise InvalidDestination("The port must be between 1 and 65535.")
    return port


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    address = _ip_address(host)
    if address is not None:
        return _public_address(address)
    name = _ascii_name(host)
    _check_name(name)
    return name


def _ip_address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _public_address(address: _Address) -> str:
    carried = _carried_ipv4(address) if isinstance(address, ipaddress.IPv6Address) else None
    judged = carried or address
    site_local = isinstance(judged, ipaddress.IPv6Address) and judged.is_site_local
    if not judged.is_global or judged.is_multicast or judged.is_reserved or site_local:
        raise InvalidDestination("The URL leads to an address that is not public.")
    if address in _own_addresses(settings.PUBLIC_URL, tuple(settings.ALLOWED_HOSTS)):
        raise InvalidDestination("The URL leads back to this service.")
    return str(address) if isinstance(address, ipaddress.IPv4Address) else f"[{address}]"


def _carried_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside a mapped, 6to4, Teredo, NAT64 or IPv4-compatible one."""
    if any(address in network for network in _IPV4_CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _ascii_name(host: str) -> str:
    try:
        name = idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise InvalidDestination("The host is not a valid domain name.") from error
    return name.removesuffix(".")


def _check_name(name: str) -> None:
    labels = name.split(".")
    if len(labels) == 1:
        raise InvalidDestination("The host needs a domain, as in example.com.")
    if _is_number(labels[-1]):
        raise InvalidDestination("The host looks like an IP address in disguise.")
    if any(_is_below(name, suffix) for suffix in _REFUSED_SUFFIXES):
        raise InvalidDestination("The URL leads to a name that is not public.")
    if any(_is_below(name, own) for own in _own_names(settings.PUBLIC_URL, tuple(settings.ALLOWED_HOSTS))):
        raise InvalidDestination("The URL leads back to this service.")
    if any(_mixes_scripts(idna.ulabel(label)) for label in labels if label.startswith("xn--")):
        raise InvalidDestination("The host mixes letters of several scripts and could be mistaken for another.")


def _is_number(label: str) -> bool:
    """Return whether browsers read a host with this last label as an IPv4 address (WHATWG, "ends in a number")."""
    return label.isdigit() or (label.startswith("0x") and all(digit in "0123456789abcdef" for digit in label[2:]))


def _is_below(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def _mixes_scripts(label: str) -> bool:
    letters = [character for character in label if unicodedata.category(character) in {"Ll", "Lo"}]
    scripts = {unicodedata.name(letter, "?").replace("-", " ").split()[0] for letter in letters}
    return len(scripts) > 1 and not any(scripts <= mixture for mixture in _SCRIPT_MIXTURES)


@functools.cache
def _own_hosts(public_url: str, allowed_hosts: tuple[str, ...]) -> frozenset[str]:
    hosts = {urlsplit(public_url).hostname or "", *(host.strip("[]").lstrip(".").lower() for host in allowed_hosts)}
    return frozenset(hosts - {"", "*"})


@functools.cache
def _own_addresses(public_url: str, allowed_hosts: tuple[str, ...]) -> frozenset[_Address]:
    addresses = (_ip_address(host) for host in _own_hosts(public_url, allowed_hosts))
    return frozenset(address for address in addresses if address is not None)


@functools.cache
def _own_names(public_url: str, allowed_hosts: tuple[str, ...]) -> frozenset[str]:
    # A host that is no domain name (web_1) is the name of no URL that passes the rules before this one.
    names = (host for host in _own_hosts(public_url, allowed_hosts) if _ip_address(host) is None)
    return frozenset(_ascii_name(name) for name in names if _is_domain_name(name))


def _is_domain_name(name: str) -> bool:
    try:
        return bool(_ascii_name(name))
    except InvalidDestination:
        return False


def _as_browsers_read_it(url: str, *, scheme: str, host: str) -> str:
    try:
        read = ada_url.URL(url)
    except ValueError as error:
        raise InvalidDestination("Browsers cannot read this URL.") from error
    if read.protocol != f"{scheme}:" or not _same_host(read.hostname, host):
        raise InvalidDestination("Browsers would read another host in this URL.")
    if len(read.href) > MAX_LENGTH:
        raise InvalidDestination(f"The URL is longer than {MAX_LENGTH} characters once it is encoded.")
    _check_shape(read.href)  # the mapping of odd letters may have made another shape
    return str(read.href)


def _same_host(left: str, right: str) -> bool:
    """Return whether two hosts are one; IPv6 has several texts for one address."""
    return left == right or (left.startswith("[") and _ip_address(left.strip("[]")) == _ip_address(right.strip("[]")))
