"""What one request tells of its visitor, the same from the front door and from Django."""

import msgspec
from django.http import HttpRequest

from linklayer.client_address import client_address
from linklayer.exchange import Head


class VisitorFacts(msgspec.Struct, frozen=True):
    """Raw header values as text (latin-1, uncropped); `query` without the question mark; address canonical.

    A msgspec struct: one is made for every redirect, and a frozen dataclass takes several times as long to make.
    """

    address: str
    user_agent: str = ""
    referrer: str = ""
    accept_language: str = ""
    query: str = ""
    purpose: str = ""
    do_not_track: bool = False
    global_privacy_control: bool = False

    @classmethod
    def from_head(cls, head: Head) -> "VisitorFacts":
        get = head.headers.get
        return cls(
            client_address(head.peer, get(b"x-forwarded-for", b"").decode("latin-1")),
            get(b"user-agent", b"").decode("latin-1"),
            get(b"referer", b"").decode("latin-1"),
            get(b"accept-language", b"").decode("latin-1"),
            head.query.decode("latin-1"),
            (get(b"sec-purpose") or get(b"purpose") or get(b"x-moz") or b"").decode("latin-1"),
            get(b"dnt") == b"1",
            get(b"sec-gpc") == b"1",
        )

    @classmethod
    def from_request(cls, request: HttpRequest) -> "VisitorFacts":
        get = request.headers.get
        return cls(
            address=request.META["REMOTE_ADDR"],  # decided by ClientAddressMiddleware
            user_agent=get("User-Agent", ""),
            referrer=get("Referer", ""),
            accept_language=get("Accept-Language", ""),
            query=request.META.get("QUERY_STRING", ""),
            purpose=get("Sec-Purpose") or get("Purpose") or get("X-Moz") or "",
            do_not_track=get("DNT") == "1",
            global_privacy_control=get("Sec-GPC") == "1",
        )
