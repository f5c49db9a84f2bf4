"""The Django lane: the ordinary synchronous stack behind the front door, in a bounded pool with a bounded queue.

When both are full the answer is 503 with Retry-After at once, never an unbounded wait. A request takes its place when
its body is complete: bodies that never end are bounded in bytes and seconds, and keep nobody out.
"""

import json
from typing import Any

from a2wsgi import WSGIMiddleware
from django.conf import settings

from linklayer import metrics
from linklayer.bodies import ClientGone, read_body
from linklayer.errors import LinkLayerError, Unavailable

WAITING_PER_THREAD = 10
ANSWER_CHUNKS = 512  # of 4 KiB for files: an answer of ours waits for a slow reader in memory, not in a thread
BODY_BYTES = 32 * 1024 * 1024  # of all requests together, from their first byte to their answer
ADMIN_BODY_BYTES = 1024 * 1024


class DjangoLane:
    """An ASGI application around a WSGI one."""

    def __init__(self, wsgi_application: Any, threads: int) -> None:
        self._wsgi: Any = WSGIMiddleware(wsgi_application, workers=threads, send_queue_size=ANSWER_CHUNKS)
        self._places = threads * (1 + WAITING_PER_THREAD)
        self._body_bytes = BODY_BYTES

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if size > self._body_bytes:
                metrics.lane_refused.inc()
                raise Unavailable("too many bodies are being sent", retry_after_seconds=1)
            self._body_bytes -= size
            held += size

        try:
            self._check_place()  # who will be refused need not send a body first
            body = await read_body(scope, receive, body_limit(scope["path"]), hold)
            await self._answer(scope, body, send)
        except LinkLayerError as error:
            await send_problem(send, error)
        except ClientGone:
            return
        finally:
            self._body_bytes += held

    async def _answer(self, scope: dict[str, Any], body: bytes, send: Any) -> None:
        self._check_place()
        self._places -= 1
        try:
            await self._wsgi({**scope, "headers": _wsgi_headers(scope["headers"], body)}, _receive_once(body), send)
        finally:
            self._places += 1

    def _check_place(self) -> None:
        if self._places <= 0:
            metrics.lane_refused.inc()
            raise Unavailable("too many requests are waiting", retry_after_seconds=1)


def body_limit(path: str) -> int:
    """Bytes that a body may have, by path."""
    if path.startswith("/webhooks/"):
        return settings.WEBHOOK_BODY_BYTES
    if path.startswith("/admin/"):
        return ADMIN_BODY_BYTES
    return settings.API_BODY_BYTES


async def send_problem(send: Any, error: LinkLayerError) -> None:
    """Answer with RFC 9457 problem+json and close the connection: what is left of the request is not read."""
    problem = {"type": f"urn:linklayer:{error.kind}", "title": error.title, "status": error.status}
    body = json.dumps({**problem, "detail": error.detail}).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _wsgi_headers(headers: list[tuple[bytes, bytes]], body: bytes) -> list[tuple[bytes, bytes]]:
    """Join Cookie lines with "; " (RFC 9113, section 8.2.3; a2wsgi would use a comma) and give a chunked body, which
    is complete by now, its length: WSGI knows no other."""
    cookies = [value for name, value in headers if name == b"cookie"]
    is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
    if len(cookies) < 2 and not is_chunked:
        return headers
    rest = [(name, value) for name, value in headers if name not in {b"cookie", b"transfer-encoding"}]
    if cookies:
        rest.append((b"cookie", b"; ".join(cookies)))
    if is_chunked:
        rest.append((b"content-length", str(len(body)).encode()))
    return rest


def _receive_once(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
