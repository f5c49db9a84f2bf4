"""The circuit breaker (contract section 7.2): after 5 failures in a row nothing is sent for 30 s, then one probe.

Failures are 5xx, time-outs and broken connections. A 4xx says that the other side lives.
"""

import threading
from collections.abc import Callable

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 30.0


class CircuitBreaker:
    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: seconds that never go back."""
        self._clock = clock
        self._failures = 0
        self._closed_from = 0.0
        self._lock = threading.Lock()

    def seconds_until_allowed(self) -> float:
        """Return 0 if a call may go out, else the seconds to wait.

        While open, each 30 s one call is let through as the probe; its outcome closes the breaker or keeps it open.
        """
        with self._lock:
            if self._failures < FAILURES_TO_OPEN:
                return 0.0
            now = self._clock()
            if now < self._closed_from:
                return self._closed_from - now
            self._closed_from = now + OPEN_SECONDS
            return 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_TO_OPEN

    def succeeded(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES_TO_OPEN:
                self._closed_from = self._clock() + OPEN_SECONDS
