"""What one request tells of its visitor, the same from the front door and from Django."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from linklayer.client_address import client_address


@dataclass(frozen=True, slots=True)
class VisitorFacts:
    """Raw header values as text (latin-1, uncropped); `query` without the question mark; address canonical."""

    address: str
    user_agent: str = ""
    referrer: str = ""
    accept_language: str = ""
    query: str = ""
    purpose: str = ""
    do_not_track: bool = False
    global_privacy_control: bool = False

    @classmethod
    def from_headers(cls, peer: str, headers: dict[str, str], query: str) -> "VisitorFacts":
        """headers: lower-case names."""
        get = headers.get
        return cls(
            address=client_address(peer, get("x-forwarded-for", "")),
            user_agent=get("user-agent", ""),
            referrer=get("referer", ""),
            accept_language=get("accept-language", ""),
            query=query,
            purpose=get("sec-purpose") or get("purpose") or get("x-moz") or "",
            do_not_track=get("dnt") == "1",
            global_privacy_control=get("sec-gpc") == "1",
        )

    @classmethod
    def from_scope(cls, scope: dict[str, Any]) -> "VisitorFacts":
        """scope: ASGI HTTP scope. Repeated headers are joined with "," as WSGI does."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        client = scope.get("client")
        return cls.from_headers(client[0] if client else "", headers, scope["query_string"].decode("latin-1"))

    @classmethod
    def from_request(cls, request: HttpRequest) -> "VisitorFacts":
        headers = {name.lower(): value for name, value in request.headers.items()}
        return cls.from_headers(request.META.get("PEER_ADDR", ""), headers, request.META.get("QUERY_STRING", ""))
