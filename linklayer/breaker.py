"""The circuit breaker in front of Redis: a dead cache costs a few calls, never every visitor 100 ms.

Opens after 3 failures within 5 s, or when told to; while open no call is made. A background thread probes each second,
never a visitor's request, and no more seldom during a long outage: the first to come back is
the one who tells the cache what it missed. `before_close` does that; until then the cache is not trusted. What follows
once it is, `after_close` begins.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

logger = structlog.get_logger(__name__)


class Open(Exception):
    """The breaker is open: the call was not made."""


class Breaker:
    """failures within window_seconds open it; probe: a call that raises while the other side is gone; on_change is
    told whether it is open now."""

    def __init__(
        self,
        probe: Callable[[], object],
        before_close: Callable[[], object],
        after_close: Callable[[], object],
        on_change: Callable[[bool], object],
        *,
        failures: int = 3,
        window_seconds: float = 5.0,
        probe_seconds: float = 1.0,
    ) -> None:
        self._probe = probe
        self._before_close = before_close
        self._after_close = after_close
        self._on_change = on_change
        self._failures: deque[float] = deque(maxlen=failures)
        self._window_seconds = window_seconds
        self._probe_seconds = probe_seconds
        self._lock = threading.Lock()
        self._prober: int | None = None
        self.is_open = False

    def failed(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._failures.append(now)
            recent = [moment for moment in self._failures if now - moment <= self._window_seconds]
        if len(recent) == self._failures.maxlen:
            self.open()

    def open(self) -> None:
        with self._lock:
            if self.is_open:
                return
            self.is_open = True
        self._on_change(True)
        logger.warning("cache_breaker_opened")
        threading.Thread(target=self._probe_until_back, name="cache-probe", daemon=True).start()

    def check(self) -> None:
        """Raise Open, but for the probing thread, which must reach the other side."""
        if self.is_open and threading.get_ident() != self._prober:
            raise Open

    def _probe_until_back(self) -> None:
        self._prober = threading.get_ident()
        while True:
            time.sleep(self._probe_seconds)
            try:
                self._probe()
                self._before_close()
            except Exception as error:  # noqa: BLE001 - whatever fails, the answer is the same: not back yet
                logger.info("cache_probe_failed", error=type(error).__name__)
                continue
            with self._lock:
                self._failures.clear()
                self.is_open = False
            self._on_change(False)
            logger.warning("cache_breaker_closed")
            self._after_close()
            return
