"""One request at a time: is a contender up, and does it answer what it must?"""

import http.client
import time

from linklayer.embedded.processes import EmbeddedError
from tests.bench.contenders import Contender, Server
from tests.bench.rows import DESTINATION

_START_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_CHECKED = 20


def wait_for(name: str, server: Server, path: str) -> None:
    """Wait until a server answers at all; a HEAD is never a click. Raises EmbeddedError after 30 s."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            status = ask(server, "HEAD", path)[0]
        except OSError as error:
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{name} does not answer on port {server.port}: {error}") from error
            time.sleep(0.1)
        else:
            if status < 500 or time.monotonic() > deadline:
                return


def check(contender: Contender) -> tuple[int, int]:
    """Ask a contender for its first paths and compare with what it must answer.

    Returns how many were asked and the bytes of the first body. Raises EmbeddedError.
    """
    requests = contender.requests
    paths = requests.draw()[:_CHECKED]
    sizes = []
    for path in paths:
        status, location, body = ask(
            contender.server, requests.method, path, dict(requests.headers), requests.body.encode()
        )
        leads_right = requests.status != 302 or location.startswith(DESTINATION)
        if status != requests.status or not leads_right:
            raise EmbeddedError(f"{contender.name} answers {path} with {status} {location!r}, not {requests.status}")
        sizes.append(len(body))
    return len(paths), sizes[0]


def ask(
    server: Server, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, str, bytes]:
    """Return status, Location and body of one answer, on a connection of its own. Raises OSError."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request(method, path, body=body or None, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Location", ""), answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(repr(error)) from error
    finally:
        connection.close()
