"""The bulkhead in front of the loaders: so many loads of one kind at once per process, the others wait a moment.

A slow or frozen PostgreSQL then holds up some of Django's threads, never all; and a profile that waits for Linktree
takes no place from a short link, because each kind has places of its own.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from linklayer import metrics
from linklayer.errors import Unavailable

WAIT_SECONDS = 0.25


class Bulkhead:
    """places: loads at once; name: the kind, as the metric shows it."""

    def __init__(self, name: str, places: int) -> None:
        self._name = name
        self._places = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place. Raises Unavailable if none gets free within 250 ms."""
        if not self._places.acquire(timeout=WAIT_SECONDS):
            metrics.cache_loads_refused.labels(self._name).inc()
            raise Unavailable("too much is being loaded")
        try:
            yield
        finally:
            self._places.release()
