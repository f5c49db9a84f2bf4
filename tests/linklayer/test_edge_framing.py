"""Where a request ends: what two parsers could read differently is refused, alike for the front door and for Django."""

import re
import socket
from collections.abc import Iterator

import pytest

from linklayer.embedded.processes import Keeper
from shortlinks import services
from tests.linklayer.attacked import SETTINGS, Web, get
from tests.product import Product
from tests.raw_http import CLOSING, Connection, answer
from tests.servers.addresses import ROOT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def web(keeper: Keeper, django_db_setup: None) -> Iterator[Web]:
    folder = ROOT / "framing"
    folder.mkdir()
    product = Product(keeper, folder, SETTINGS)
    _, server = product.web(processes=1)
    yield Web(product, server.pid)
    product.stop()


@pytest.fixture(autouse=True)
def _warm(web: Web) -> None:
    """`/warm-a` stands in tier 1."""
    services.create_short_link(url="https://example.com/warm-a", slug="warm-a")
    assert answer(web.port, get("/warm-a")).status == 302


ALIVE = b'{"status": "alive"}'
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


def framed(*lines: bytes, body: bytes = b"", target: bytes = b"%s", method: bytes = b"POST") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: localhost", *lines, b"", body])


REFUSED: dict[str, bytes] = {
    "a length and chunks": framed(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks and a length": framed(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n"),
    "two lengths": framed(b"Content-Length: 0", b"Content-Length: 5"),
    "two equal lengths": framed(b"Content-Length: 0", b"Content-Length: 0"),
    "a list of lengths": framed(b"Content-Length: 0, 0"),
    "a negative length": framed(b"Content-Length: -1"),
    "a signed length": framed(b"Content-Length: +0"),
    "a hexadecimal length": framed(b"Content-Length: 0x0"),
    "an empty length": framed(b"Content-Length:"),
    "a length past 64 bits": framed(b"Content-Length: 18446744073709551616"),
    "an unknown coding": framed(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "identity": framed(b"Transfer-Encoding: identity"),
    "chunked, then another": framed(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "chunked, another line": framed(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", body=b"0\r\n\r\n"),
    "an empty coding": framed(b"Transfer-Encoding:"),
    "a vertical tab before the coding": framed(b"Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n"),
    "a space before the colon": framed(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "a tab before the colon": framed(b"Content-Length\t: 0"),
    "a folded line": framed(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"),
    "a folded value": framed(b"X: a", b"\tb"),
    "a line without colon": framed(b"Content-Length"),
    "no name": framed(b": 5"),
    "a NUL in a value": framed(b"X: a\0b"),
    "a NUL in a name": framed(b"X\0: a"),
    "a lone CR": framed(b"X: a\rContent-Length: 5"),
    "a lone LF": framed(b"X: a\nContent-Length: 5"),
    "lines that end in LF": framed(b"Content-Length: 0").replace(b"\r\n", b"\n"),
    "two spaces in the first line": framed(target=b"%s HTTP/1.1 "),
    "an absolute URI": framed(target=b"http://localhost%s"),
    "an authority": framed(target=b"localhost:80", method=b"CONNECT"),
    "a negative chunk": framed(b"Transfer-Encoding: chunked", body=b"-1\r\n\r\n"),
    "a chunk past 64 bits": framed(b"Transfer-Encoding: chunked", body=b"10000000000000000\r\n"),
    "a chunk with 0x": framed(b"Transfer-Encoding: chunked", body=b"0x0\r\n\r\n"),
    "a space after the chunk size": framed(b"Transfer-Encoding: chunked", body=b"0 \r\n\r\n"),
    "a chunk that ends in LF": framed(b"Transfer-Encoding: chunked", body=b"0\n\n"),
    "a chunk longer than it says": framed(b"Transfer-Encoding: chunked", body=b"1\r\nab\r\n0\r\n\r\n"),
    "a LF in a chunk extension": framed(b"Transfer-Encoding: chunked", body=b"0;a\nb\r\n\r\n"),
    "an empty chunk size": framed(b"Transfer-Encoding: chunked", body=b"\r\n\r\n"),
    "a length in a trailer": framed(b"Transfer-Encoding: chunked", body=b"0\r\nContent-Length: 5\r\n\r\n"),
    "an upgrade with a body": framed(b"Upgrade: h2c", b"Connection: Upgrade", b"Content-Length: %d" % len(SMUGGLED)),
    "an upgrade with chunks": framed(b"Upgrade: h2c", b"Connection: Upgrade", b"Transfer-Encoding: chunked"),
    "no host": framed().replace(b"Host: localhost\r\n", b""),
    "two hosts": framed(b"Host: localhost"),
    "a lower-case version": framed().replace(b"HTTP/1.1", b"http/1.1"),
    "an unknown version": framed().replace(b"HTTP/1.1", b"HTTP/1.2"),
    "a later version's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}  # fmt: skip
READ: dict[str, bytes] = {
    "chunks": framed(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "chunks in capitals": framed(b"TRANSFER-ENCODING: CHUNKED", body=b"0\r\n\r\n"),
    "a chunk extension": framed(b"Transfer-Encoding: chunked", body=b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'),
    "leading zeros": framed(b"Transfer-Encoding: chunked", body=b"0005\r\nhello\r\n000\r\n\r\n"),
    "a trailer": framed(b"Transfer-Encoding: chunked", body=b"0\r\nX-Length: 500\r\n\r\n"),
    "a length": framed(b"Content-Length: 5", body=b"hello"),
    "a length with zeros": framed(b"Content-Length: 0005", body=b"hello"),
    "a request as a body": framed(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
    "a length under another name": framed(b"Content_Length: 500"),
    "a coding under another name": framed(b"Transfer_Encoding: chunked"),
    "an upgrade": framed(b"Upgrade: h2c", b"Connection: Upgrade", b"Content-Length: 0"),
    "a body of a GET": framed(b"Content-Length: 5", body=b"hello", method=b"GET"),
    "empty lines before it": b"\r\n\r\n" + framed(b"Content-Length: 5", body=b"hello"),
}


PATHS = {"cached": b"/warm-a", "Django's": b"/livez"}


def test_what_could_be_read_in_two_ways_is_refused(web: Web) -> None:
    """One answer, a 400, and the end: nothing that follows is taken for a request."""
    differing = {}
    for name, sent in REFUSED.items():
        for lane, path in PATHS.items():
            with Connection(web.port) as connection:
                connection.send(sent.replace(b"%s", path, 1) + SMUGGLED * 2)
                received = connection.rest()
            if not received.startswith(b"HTTP/1.1 400 ") or received.count(b"HTTP/1.1 ") > 1:
                differing[name, lane] = received
    assert differing == {}


def test_what_is_read_ends_where_it_says(web: Web) -> None:
    """The request after it is answered, and no other."""
    differing = {}
    for name, sent in READ.items():
        for lane, path in PATHS.items():
            with Connection(web.port) as connection:
                connection.send(sent.replace(b"%s", path, 1) + CLOSING)
                first, second = connection.reply(), connection.reply()
            if first.status not in {200, 302, 403, 405} or (second.status, second.body) != (200, ALIVE):
                differing[name, lane] = (first, second)
    assert differing == {}


def test_nothing_behind_a_request_that_closes_is_answered_or_counted(web: Web) -> None:
    before = front_door_answers(web)
    with Connection(web.port) as connection:
        connection.send(get("/warm-a", "Connection: close") + get("/warm-a") * 3000)
        assert connection.rest().count(b"HTTP/1.1 ") <= 1  # none, if the reset overtakes it
    assert front_door_answers(web) - before == 1


def front_door_answers(web: Web) -> float:
    text = answer(web.port, get("/metrics")).body.decode()
    return sum(map(float, re.findall(r"^linklayer_front_door_answers_total\{.*\} (.*)$", text, re.MULTILINE)))


def test_a_client_that_says_no_more_still_gets_its_answers(web: Web) -> None:
    """It closes its sending side behind its requests, as `nc` does."""
    for paths in (["/livez"], ["/livez"] * 3, ["/warm-a", "/livez", "/warm-a"], ["/livez", "/warm-a"] * 300):
        with Connection(web.port) as connection:
            connection.send(b"".join(get(path) for path in paths))
            connection.socket.shutdown(socket.SHUT_WR)
            expected = [302 if path == "/warm-a" else 200 for path in paths]
            assert [connection.reply().status for _ in paths] == expected
            assert connection.rest() == b""


@pytest.mark.parametrize(
    "sent", [get("/api/links", "Content-Length: 10", method="POST") + b"{", b"GET /warm-a HTTP/1.1\r\n"]
)
def test_a_client_that_leaves_in_the_middle_is_let_go(web: Web, sent: bytes) -> None:
    """At once, not after the time-out."""
    with Connection(web.port, timeout_seconds=5) as connection:
        connection.send(sent)
        connection.socket.shutdown(socket.SHUT_WR)
        connection.rest()
