"""The base's middleware: few, because each costs every request of the Django lane."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from linklayer.client_address import client_address, is_trusted_proxy
from linklayer.encodings import chosen_encoding, encode, is_encodable, varied
from linklayer.public_reads import SECURITY_HEADERS

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# Balancers and containers probe by address, whatever name the product has.
HOST_EXEMPT = ("/livez", "/readyz", "/health", "/health/live", "/health/ready", "/metrics")
UNENCODED = "/admin/"


class ClientAddressMiddleware:
    """Puts the client's address into REMOTE_ADDR and keeps the socket's peer in PEER_ADDR; believes a trusted proxy
    about https."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        peer = request.META.get("REMOTE_ADDR", "")
        request.META["PEER_ADDR"] = peer
        request.META["REMOTE_ADDR"] = client_address(peer, request.META.get("HTTP_X_FORWARDED_FOR", ""))
        if is_trusted_proxy(peer) and request.META.get("HTTP_X_FORWARDED_PROTO") == "https":
            request.META["wsgi.url_scheme"] = "https"
            request.environ["wsgi.url_scheme"] = "https"  # type: ignore[attr-defined] # WSGIRequest, the only kind here
        return self.get_response(request)


class AnswerHeadersMiddleware:
    """Gives every response the security headers and a length, as the front door does."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in SECURITY_HEADERS:
            response.headers.setdefault(name, value)
        if isinstance(response, HttpResponse) and response.status_code not in {204, 304}:
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response


class EncodingMiddleware:
    """Sends text in the encoding that the client prefers, as the front door does.

    Not the admin: its pages show what is secret beside what the address asks for (a search, a filter), and the length
    of the compressed page would tell one from the other (BREACH). Of the rest only the home page has a secret, its form
    token, which Django masks anew each time; the API's keys come in a header, which no foreign page can send.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if (
            not isinstance(response, HttpResponse)  # streamed
            or request.path.startswith(UNENCODED)
            or not is_encodable(response.headers.get, response.content)
        ):
            return response
        response.headers["Vary"] = varied(response.headers.get("Vary"))
        encoding = chosen_encoding(request.headers.get("Accept-Encoding", ""))
        if encoding is not None:
            response.content = encode(response.content, encoding)
            response.headers["Content-Encoding"] = encoding
        return response


class HostCheckMiddleware:
    """Refuses a Host outside of ALLOWED_HOSTS with 400 on every path but the probes."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path not in HOST_EXEMPT:
            request.get_host()  # raises DisallowedHost
        return self.get_response(request)
