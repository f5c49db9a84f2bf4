"""Requests as hypothesis draws them for the parity of front door and Django, as bytes: sound ones and odd ones.

CACHED names what the tests store before they ask.
"""

from hypothesis import strategies as st

REDIRECTS = {"way-301": 301, "way-302": 302, "way-307": 307, "way-308": 308}
ENDED = ["was-disabled", "was-expired", "was-retired", "was-refused"]
CACHED = [
    *(f"/{slug}" for slug in (*REDIRECTS, *ENDED, "never-was")),
    *("/@parity", "/@PariTy", "/@hidden", "/@nobody"),
    *("/api/profiles/parity", "/api/profiles/PARITY", "/api/profiles/hidden", "/api/profiles/nobody"),
]

METHODS = (
    ["GET"] * 8 + ["HEAD"] * 3 + ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "QUERY", "M-SEARCH"]
)
ODD_METHODS = ["get", "Get", "G", "GETT", "", "GET,", "CONNECT"]
VERSIONS = ["HTTP/1.1"] * 12 + ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/0.9", ""]
ODD_TARGETS = [
    "*", "/", "//", "/%", "/%zz", "/%00", "/..", "/%2e%2e/way-302", "/./way-302", "way-302", "?", "#", "",
    "http://localhost/way-302", "HTTP://localhost/way-302", "http://evil.example/way-302", "localhost:80", "/@",
    "/@@", "//way-302", "//localhost/way-302", "/way-302//", "/way-302/.", "/way-302/../way-301", "/api/profiles/",
    "/api//profiles/parity", "/way-302#part", "/way-302#?a=b", "/way-302;a=b", "/way-302?a#b", "/way%2D302",
    "/%77ay-302", "/way-302%20", "/way-302%0A", "/@parity/", "/@parity%20", "/@par%69ty", "/@parity+", "/@parity.",
    "/@parity?x=1", "/api/profiles/parity/", "/api/profiles/parity/links", "/" + "x" * 50, "/" + "x" * 51,
    "/" + "x" * 5000, "/@" + "x" * 64, "/@" + "x" * 65, "/favicon.ico", "/robots.txt", "/admin",
]  # fmt: skip
ANY_BYTE = st.integers(0, 255).map(lambda number: bytes([number]))
QUERY_PARTS = st.sampled_from([b"a", b"=", b"&", b"+", b"%20", b"%", b"%00", b"?", b"/", b";", b"'", b"<", b'"'])
QUERY_BYTES = st.lists(st.one_of(QUERY_PARTS, ANY_BYTE), max_size=12).map(b"".join)


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A cached path with one byte put in, taken out or percent-encoded, or in another case."""
    path = draw(st.sampled_from(CACHED)).encode()
    place = draw(st.integers(1, len(path)))
    return draw(
        st.sampled_from(
            [
                path[:place] + draw(ANY_BYTE) + path[place:],
                path[: place - 1] + path[place:],
                path[: place - 1] + b"%%%02X" % path[place - 1] + path[place:],
                path.swapcase(),
                path.upper(),
            ]
        )
    )


SOUND_PATHS = st.sampled_from(CACHED).map(str.encode)
PATHS = st.one_of(SOUND_PATHS, SOUND_PATHS, edited(), st.sampled_from(ODD_TARGETS).map(str.encode))
QUERIES = st.one_of(st.just(b""), QUERY_BYTES.map(lambda query: b"?" + query))
TARGETS = st.tuples(PATHS, QUERIES).map(b"".join)

HOSTS = [
    "localhost", "LOCALHOST", "localhost:80", "localhost:", "localhost:x", "localhost.", "localhost:1:2",
    " localhost ", "localhost\t", "links.example", "a.links.example", "A.LINKS.EXAMPLE.", "links.example:65536",
    "notlinks.example", "evil.example", "links.example.evil", "[::1]", "[::1]:80", "::1", "[::2]", "[::1",
    "127.0.0.1", "user@localhost", "localhost@evil.example", "localhost/", "localhost,evil", "localhost evil", "",
    " ", "-", ".", "*", "xn--bcher-kva.example", "b\xfccher.example", "b\xc3\xbccher.example", "localhost#",
    "%6cocalhost", "x" * 256, "a." * 128 + "links.example",
]  # fmt: skip
CONDITIONS = [  # ETAG stands for the tag of the page that is asked for
    "*", "ETAG", "W/ETAG", 'W/"x"', '"x"', '"x", ETAG', 'ETAG,"x"', '"x" ,\tETAG ', '"x", *', "", " ", ",", ",,ETAG,",
    "W/", "w/ETAG", "x", '"', "*, *", '"a,b"', "\xff", "ETAG ETAG", "W/W/ETAG",
]  # fmt: skip
FREE_VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
NAMED: dict[str, list[str]] = {
    "If-None-Match": CONDITIONS,
    "If-Modified-Since": ["Sat, 29 Oct 1994 19:43:31 GMT", "garbage", ""],
    "If-Match": ["*", '"x"'],
    "Accept": ["*/*", "image/png", "text/html;q=0.5", "application/json", ""],
    "Accept-Encoding": ["gzip, br", "gzip;q=0", "identity;q=0", "*;q=0", "", "br", "zstd"],
    "Accept-Language": ["de", "de-AT, de;q=0.5", "\xe4", ""],
    "Range": ["bytes=0-1", "bytes=5-2", "x"],
    "Connection": ["keep-alive", "close", "Close", "upgrade", "keep-alive, close", "x", "", "TE"],
    "Keep-Alive": ["timeout=5"],
    "Upgrade": ["websocket", "h2c", ""],
    "HTTP2-Settings": ["AAMAAABkAAQAAP__"],
    "Cookie": ["a=1", "a=1; b=2", "sessionid=x; csrftoken=y", "\xff=\xff", "", "="],
    "User-Agent": ["Firefox", "curl/8", "", "\xe9"],
    "Referer": ["https://example.com/\xe9", "x", ""],
    "Sec-Purpose": ["prefetch", ""],
    "Purpose": ["preview"],
    "DNT": ["1", "0", "1 ", ""],
    "Sec-GPC": ["1", "true"],
    "X-Forwarded-For": ["203.0.113.7", "203.0.113.7, 127.0.0.1", "[2001:db8::1]:80", "::ffff:9.9.9.9", "x", "", ","],
    "X_Forwarded_For": ["6.6.6.6"],
    "X-Forwarded-Proto": ["https", "http", "HTTPS", "https,http", ""],
    "X-Forwarded-Host": ["evil.example"],
    "Forwarded": ["for=203.0.113.9;proto=https"],
    "Authorization": ["Bearer nonsense", "Basic eDp5", "", "Bearer", "\xff"],
    "X-HTTP-Method-Override": ["DELETE"],
    "Content-Type": ["application/json", ""],
    "Origin": ["null", "https://evil.example"],
    "TE": ["trailers"],
    "Via": ["1.1 x"],
    "Max-Forwards": ["0"],
}  # fmt: skip
SPACES = ["", " ", " ", " ", "  ", "\t"]
BODIES: list[tuple[tuple[str, ...], bytes]] = [
    (("Content-Length: 0",), b""),
    (("Content-Length: 5",), b"hello"),
    (("Content-Length: 5",), b"a=b&c"),
    (("Content-Length: 5 ",), b"hello"),
    (("Content-Length: 5", "Expect: 100-continue"), b"hello"),
    (("Expect: 100-continue",), b""),
    (("Expect: 200-ok",), b""),
    (("Transfer-Encoding: chunked",), b"5\r\nhello\r\n0\r\n\r\n"),
    (("Transfer-Encoding: chunked",), b"5;a=b\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"),
    (("Transfer-Encoding: Chunked", "Trailer: Host"), b"0\r\nHost: evil.example\r\n\r\n"),
    (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n"),
    (("Transfer-Encoding: identity",), b""),
    (("Transfer-Encoding: xchunked",), b"0\r\n\r\n"),
    (("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n"),
    (("Transfer-Encoding: chunked",), b"FFFFFFFFFFFFFFFFF\r\n"),
    (("Transfer-Encoding: chunked",), b"-1\r\n"),
    (("Transfer-Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\n"),
    (("Content-Length: 5", "Content-Length: 5"), b"hello"),
    (("Content-Length: 5, 5",), b"hello"),
    (("Content-Length: -1",), b""),
    (("Content-Length: +0",), b""),
    (("Content-Length: 99999999999999999999",), b""),
    (("Content-Length: 70000",), b""),
    (("Content-Length:",), b""),
]  # fmt: skip
ODD_LINES = [
    " folded", "\tfolded", "no colon", ": no name", "X Y: z", "X : y", "X\x00: y", "X: \x00", "X: \x0b", "X: \x7f",
    "X: a\rb", "X: a\nHost: evil", "\xff: x",
]  # fmt: skip


@st.composite
def header_line(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(NAMED)))
    value = draw(st.one_of(st.sampled_from(NAMED[name]), st.sampled_from(NAMED[name]), FREE_VALUE))
    shown = draw(st.sampled_from([name, name, name.lower(), name.upper()]))
    return f"{shown}:{draw(st.sampled_from(SPACES))}{value}{draw(st.sampled_from(['', '', '', ' ']))}"


SOUND_LINES = st.lists(header_line(), max_size=5)
ODD_HOST_LINES: list[list[str]] = [
    [],
    ["Host: localhost", "host: localhost"],
    ["Host: localhost", "Host: evil.example"],
    ["hOST:localhost"],
]
HOST_LINES = st.one_of(
    st.just(["Host: localhost"]),
    st.just(["Host: localhost"]),
    st.sampled_from(HOSTS).map(lambda host: [f"Host: {host}"]),
    st.sampled_from(ODD_HOST_LINES),
)


@st.composite
def drawn_request(draw: st.DrawFn) -> bytes:
    """Any request: mostly sound in most of its parts."""
    method = draw(st.sampled_from([*METHODS * 3, *ODD_METHODS]))
    lines = [*draw(HOST_LINES), *draw(SOUND_LINES)]
    body = b""
    if draw(st.integers(0, 5)) == 0:
        more, body = draw(st.sampled_from(BODIES))
        lines += more
    if draw(st.integers(0, 11)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(ODD_LINES)))
    start = method.encode() + b" " + draw(TARGETS) + b" " + draw(st.sampled_from(VERSIONS)).encode()
    return b"\r\n".join([start, *(line.encode("latin-1") for line in lines), b"", body])


@st.composite
def readable_request(draw: st.DrawFn) -> bytes:
    """A request that the front door can answer: a cached path, its host right, its headers as they come."""
    method = draw(st.sampled_from([b"GET", b"GET", b"HEAD"]))
    query = draw(
        st.one_of(
            st.just(b""),
            st.text("abc=&+%20?/;'\"<>{}|\\^`!$()*,:@[]~", max_size=12).map(lambda text: b"?" + text.encode()),
        )
    )
    host = draw(st.sampled_from(["localhost", "localhost", "LOCALHOST:8000", "a.links.example", "[::1]:80"]))
    repeated = draw(st.sampled_from(["If-None-Match", "User-Agent", "X-Forwarded-For", "Cookie", "DNT"]))
    lines = [f"Host: {host}", *draw(SOUND_LINES)]
    lines += [f"{repeated}: {value}" for value in draw(st.lists(st.sampled_from(NAMED[repeated]), max_size=3))]
    start = method + b" " + draw(SOUND_PATHS) + query + b" HTTP/1.1"
    return b"\r\n".join([start, *(line.encode("latin-1") for line in lines), b"", b""])
