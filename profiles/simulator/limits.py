"""Rate limits of section 6.1: fixed windows of 60 s, opened by the first request, on an injectable clock."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from profiles.simulator.answers import ApiError

WINDOW_SECONDS = 60.0
CLASS_LIMITS = {"profile": 60, "link-write": 30, "analytics-summary": 20, "analytics-detail": 10, "webhook-mgmt": 10}
GLOBAL_LIMIT = 100
ADDRESS_LIMIT = 300


@dataclass(slots=True)
class Window:
    limit: int
    used: int
    resets_at: float

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


class RateLimits:
    """Counts requests per token and class, per token over all classes, and per address."""

    def __init__(self, clock: Callable[[], float], *, scale: float = 1.0) -> None:
        """scale: multiplies every limit, for demonstrations that must not run into them."""
        self._clock = clock
        self._scale = scale
        self._windows: dict[tuple[str, str], Window] = {}

    def take_address(self, address: str) -> None:
        """Spend one request of the address; raises the 429 of the contract."""
        window = self._window(address, "ip", ADDRESS_LIMIT)
        self._refuse_when_spent(window, "ip")
        window.used += 1

    def take(self, token: str, limit_class: str | None) -> dict[str, str]:
        """Spend one slot of the class and of the global limit, or none; return the rate headers.

        limit_class: None for a path that has no class (only the global limit counts).
        """
        windows = {"global": self._window(token, "global", GLOBAL_LIMIT)}
        if limit_class is not None:
            windows[limit_class] = self._window(token, limit_class, CLASS_LIMITS[limit_class])
        for name, window in windows.items():
            self._refuse_when_spent(window, name)
        for window in windows.values():
            window.used += 1
        tightest = min(windows, key=lambda name: windows[name].remaining)
        return _headers(windows[tightest], limit_class or "global")

    def _window(self, owner: str, name: str, limit: int) -> Window:
        now = self._clock()
        window = self._windows.get((owner, name))
        if window is None or now >= window.resets_at:
            window = Window(max(1, int(limit * self._scale)), 0, now + WINDOW_SECONDS)
            self._windows[owner, name] = window
        return window

    def _refuse_when_spent(self, window: Window, name: str) -> None:
        if window.remaining > 0:
            return
        retry_after = max(1, math.ceil(window.resets_at - self._clock()))
        raise rate_limited(headers={**_headers(window, name), "Retry-After": str(retry_after)})


def rate_limited(headers: dict[str, str]) -> ApiError:
    return ApiError(429, "RATE_LIMITED", "Too many requests", headers=headers)


def _headers(window: Window, name: str) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(window.limit),
        "X-RateLimit-Remaining": str(window.remaining),
        "X-RateLimit-Reset": str(math.ceil(window.resets_at)),
        "X-RateLimit-Class": name,
    }
