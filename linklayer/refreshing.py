"""Refreshing behind the visitor, who has been served already: a few threads, a bounded queue, each key once in it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog
from django.db import close_old_connections, connection

logger = structlog.get_logger(__name__)

AT_ONCE = 2
WAITING = 1000  # keys; who comes when it is full leaves the key to the next reader

_refreshers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="cache-refresh")
_refreshing: set[str] = set()


def refresh_behind(full_key: str, refresh: Callable[[], None]) -> None:
    """Call `refresh` soon in another thread, unless the key is waiting for that already."""
    if full_key in _refreshing or len(_refreshing) >= WAITING:
        return
    _refreshing.add(full_key)

    def run() -> None:
        try:
            close_old_connections()
            refresh()
        except Exception:
            logger.exception("cache_refresh_crashed", key=full_key)
        finally:
            connection.close()
            _refreshing.discard(full_key)

    _refreshers.submit(run)
