"""Who is asking: one place decides, from the socket peer and what trusted proxies say."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from django.conf import settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
UNKNOWN = "0.0.0.0"


REMEMBERED_LENGTH = 256  # characters: strangers choose the header, and 4096 long ones are much memory


def client_address(peer: str, forwarded_for: str = "") -> str:
    """Return the client's address in its canonical text form.

    peer: the socket's other end ("" on a Unix socket, then `0.0.0.0`). forwarded_for: the X-Forwarded-For header's
    lines joined with ",", believed only as far as TRUSTED_PROXIES reach, from the right. Garbage in it ends the walk.
    """
    walk = _remembered_walk if len(forwarded_for) <= REMEMBERED_LENGTH else _walk
    return walk(peer, forwarded_for)


def _walk(peer: str, forwarded_for: str) -> str:
    networks: Sequence[Network] = settings.TRUSTED_PROXIES
    address = _parsed(peer)
    for part in reversed(forwarded_for.split(",")):
        if address is None or not any(address in network for network in networks):
            break
        claimed = _parsed(part.strip())
        if claimed is None:
            break
        address = claimed
    return str(address) if address is not None else UNKNOWN


_remembered_walk = lru_cache(maxsize=4096)(_walk)


def is_trusted_proxy(peer: str) -> bool:
    address = _parsed(peer)
    return address is not None and any(address in network for network in settings.TRUSTED_PROXIES)


def is_loopback(address: str) -> bool:
    parsed = _parsed(address)
    return parsed is not None and parsed.is_loopback


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
