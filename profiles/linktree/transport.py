"""One HTTP exchange with Linktree: a pooled session, hard bounds on seconds and bytes, no retry and no meaning.

Never logs headers or bodies: the token is in one, personal data in the other.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import requests
import requests.adapters
import urllib3.exceptions

CONNECT_TIMEOUT_SECONDS = 5.0
POOL_CONNECTIONS = 10
ANSWER_MAX_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
USER_AGENT = "LinkLayer/0.1 (Linktree integration)"


@dataclass(frozen=True, slots=True)
class Request:
    """path: below the base URL, encoded. body: JSON bytes or None."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class NoAnswer(Exception):
    """The exchange broke. was_sent: False if the other side cannot have seen the request."""

    def __init__(self, reason: str, *, was_sent: bool) -> None:
        super().__init__(reason)
        self.was_sent = was_sent


class HttpTransport:
    """A requests session that believes no proxy or netrc of the environment and follows no redirect."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._session = requests.Session()
        self._session.trust_env = False
        adapter = requests.adapters.HTTPAdapter(
            pool_connections=1, pool_maxsize=POOL_CONNECTIONS, max_retries=0, pool_block=False
        )
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def exchange(self, request: Request, token: str, *, timeout_seconds: float) -> Response:
        """Send once and read the whole answer within timeout_seconds. Raises NoAnswer."""
        give_up_at = time.monotonic() + timeout_seconds
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
            "Authorization": f"Bearer {token}",
            **request.headers,
        }
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._session.request(
                request.method,
                self.base_url + request.path,
                data=request.body,
                headers=headers,
                timeout=(min(CONNECT_TIMEOUT_SECONDS, timeout_seconds), timeout_seconds),
                allow_redirects=False,
                stream=True,
            )
        except requests.exceptions.ConnectTimeout as error:
            raise NoAnswer("no connection in time", was_sent=False) from error
        except requests.RequestException as error:
            raise NoAnswer(type(error).__name__, was_sent=not _never_connected(error)) from error
        with answer:
            body = _read(answer, give_up_at)
        return Response(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, body)

    def close(self) -> None:
        self._session.close()


def _read(answer: requests.Response, give_up_at: float) -> bytes:
    """Read piece by piece, so that an answer that drips in cannot outlast the deadline."""
    pieces: list[bytes] = []
    size = 0
    raw: Any = answer.raw
    try:
        while piece := raw.read1(CHUNK_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > ANSWER_MAX_BYTES:
                raise NoAnswer("the answer is too large", was_sent=True)
            if time.monotonic() > give_up_at:
                raise NoAnswer("the answer came too slowly", was_sent=True)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NoAnswer(type(error).__name__, was_sent=True) from error
    if not _is_whole(answer, size):
        raise NoAnswer("the answer was cut off", was_sent=True)
    return b"".join(pieces)


def _is_whole(answer: requests.Response, size: int) -> bool:
    """Whether the body has the promised length. Without any promise it cannot be told from one whose headers were
    cut off, so it counts as that; chunked bodies are checked by urllib3."""
    if answer.status_code in {204, 304} or "Transfer-Encoding" in answer.headers:
        return True
    return answer.headers.get("Content-Length") == str(size)


def _never_connected(error: BaseException | None) -> bool:
    """Whether the connection was refused or could not be made, however deep that is in the chain."""
    while error is not None:
        reason = getattr(error, "reason", None)
        if isinstance(error, urllib3.exceptions.NewConnectionError) or isinstance(
            reason, urllib3.exceptions.NewConnectionError
        ):
            return True
        error = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error.__context__
    return False
