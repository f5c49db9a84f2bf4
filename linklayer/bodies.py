"""Bodies of requests, read whole before a thread is spent on them, bounded in bytes and seconds."""

import asyncio
from collections.abc import Callable
from typing import Any

from linklayer.errors import LinkLayerError, TooLarge

BODY_SECONDS = 10.0


class RequestTimeout(LinkLayerError):
    status, kind, title = 408, "request-timeout", "The body came too slowly"


async def read_body(scope: dict[str, Any], receive: Any, limit: int, hold: Callable[[int], None]) -> bytes:
    """Read the whole body before a thread is spent on it.

    limit: bytes. hold: told the size of each piece before it is kept; what it raises ends the reading. Raises TooLarge
    (before reading, if Content-Length says so) and RequestTimeout after 10 s.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise TooLarge(f"at most {limit} bytes are accepted here")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(receive, limit, hold)
    except TimeoutError:
        raise RequestTimeout from None


async def _read(receive: Any, limit: int, hold: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message["body"])
        if size > limit:
            raise TooLarge(f"at most {limit} bytes are accepted here")
        hold(len(message["body"]))
        chunks.append(message["body"])
        if not message.get("more_body", False):
            return b"".join(chunks)


class ClientGone(Exception):
    """The client closed the connection before its body was complete."""
