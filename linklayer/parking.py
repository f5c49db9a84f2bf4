"""Parking: of equal cold reads one enters Django; the others wait for its answer in the event loop and take no thread.

Bounded: each who waits is a connection, which the edge counts; each who loads has a place in the lane.
"""

import asyncio
from typing import Any

NOT_ANSWERED = 0  # the visitor left before Django began


class Parking:
    """One per event loop. lane: the ASGI application that loads."""

    def __init__(self, lane: Any) -> None:
        self._lane = lane
        self._loading: dict[str, asyncio.Future[int]] = {}

    async def ended(self, key: str, until: float) -> int | None:
        """Wait until the request that loads the key is answered; None at once if there is none.

        until: in the loop's time. Returns the status of its answer, NOT_ANSWERED if it got none, 503 if it took longer.
        """
        loading = self._loading.get(key)
        if loading is None:
            return None
        loop = asyncio.get_running_loop()
        await asyncio.wait([loading], timeout=max(0.0, until - loop.time()))  # who leaves ends nobody else's wait
        return loading.result() if loading.done() else 503

    async def load(self, key: str, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Let Django answer the request; nobody else may be loading the key."""
        loading = self._loading[key] = asyncio.get_running_loop().create_future()

        def end(status: int) -> None:
            if not loading.done():
                del self._loading[key]
                loading.set_result(status)

        async def noted(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":  # loaded; how fast it is read is no affair of the others
                end(message["status"])
            await send(message)

        try:
            await self._lane(scope, receive, noted)
        finally:
            end(NOT_ANSWERED)
