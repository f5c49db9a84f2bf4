"""Who a visitor is, as far as we may know: a number that cannot be traced back and that changes at midnight UTC.

The key is a random salt of the UTC day, one for all processes and hosts, shared through a row and destroyed after its
day. A request never asks for it: until the row is known the process uses the salt that it has itself proposed, and the
first proposal in the table is everybody's. Without a database two processes may so count one visitor twice, for a day
at most.
"""

import secrets
import threading
from datetime import date, timedelta
from hashlib import blake2b
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

SALT_BYTES = 32


class Salts:
    """The salts of today and of the days beside it. Days are UTC days as numbers since 1970-01-01."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._salts: dict[int, bytes] = {}
        self._agreed: set[int] = set()

    def salt(self, day: int) -> bytes:
        """Return the day's salt: the agreed one, else our proposal. Never waits."""
        found = self._salts.get(day)
        if found is None:
            with self._lock:
                found = self._salts.setdefault(day, secrets.token_bytes(SALT_BYTES))
        return found

    def is_agreed(self, day: int) -> bool:
        return day in self._agreed

    def agree(self, day: int, salt: bytes) -> None:
        """Take over the salt that the table holds for the day; forget all days before yesterday."""
        with self._lock:
            self._salts[day] = salt
            self._agreed.add(day)
            for old in [known for known in self._salts if known < day - 2]:
                del self._salts[old]
                self._agreed.discard(old)


def visitor_number(salt: bytes, address: str, user_agent: str) -> int:
    """Return the visitor's number of the day: keyed BLAKE2b (RFC 7693) of address and user agent, signed 64 bits."""
    visitor = f"{address}\0{user_agent}".encode("utf-8", "replace")
    return int.from_bytes(blake2b(visitor, digest_size=8, key=salt).digest(), "big", signed=True)


def truncated_address(address: str) -> str:
    """Return the /24 of an IPv4 address or the /48 of an IPv6 one (`192.0.2.0`, `2001:db8:1::`), "" for no address."""
    try:
        if ":" in address:
            return inet_ntop(AF_INET6, inet_pton(AF_INET6, address)[:6] + bytes(10))
        return inet_ntop(AF_INET, inet_pton(AF_INET, address)[:3] + b"\0")
    except (OSError, ValueError):  # ValueError: a NUL or a surrogate in the text
        return ""


def date_of(day: int) -> date:
    """Return the calendar date of a day number."""
    return date(1970, 1, 1) + timedelta(days=day)
