"""What edge and front door exchange: the head of one request, and a whole answer to it."""

from typing import Any

import msgspec


class Head(msgspec.Struct, gc=False):
    """What a request without a body says. path: as sent, without the query; headers: by lower-case name, the values of
    repeated ones joined with ","; peer: the socket's other end, "" on a Unix socket.

    A msgspec struct: one is made for every redirect, and a dataclass takes several times as long to make.
    """

    method: bytes
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    peer: str


class Ready(msgspec.Struct, gc=False):
    """An answer ready to be sent. own_head: its own header lines; shared_head: those that many answers have, and the
    empty line after them; each with CRLF (RFC 9112)."""

    status: int
    own_head: bytes
    shared_head: bytes
    body: bytes

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers as ASGI wants them."""
        lines = (line.partition(b": ") for line in (self.own_head + self.shared_head).split(b"\r\n") if line)
        return [(name, value) for name, _, value in lines]


def head_of(scope: dict[str, Any]) -> Head:
    """Return the head of a request that came by ASGI."""
    client = scope["client"]
    headers = _joined(scope["headers"])
    peer = client[0] if client else ""
    return Head(scope["method"].encode("ascii"), scope["raw_path"], scope["query_string"], headers, peer)


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name, repeated ones joined (RFC 9110, section 5.3) as the WSGI lane joins them."""
    by_name: dict[bytes, bytes] = {}
    for name, value in headers:
        by_name[name] = b"%s,%s" % (by_name[name], value) if name in by_name else value
    return by_name
