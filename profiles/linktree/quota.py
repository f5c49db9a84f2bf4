"""Our own limits on calls to Linktree: a token bucket per class and one over all (contract sections 6.1 and 6.2).

A bucket of capacity B refilled at r per minute can send B + r in a minute, so B + r never exceeds the other side's
limit. State is of this process; whoever shares one account over many processes needs a shared store behind `Quota`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 60.0
GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Rate:
    """capacity: calls at once from a full bucket. per_minute: refill."""

    capacity: int
    per_minute: float


# Global: 90 of Linktree's 100 in any minute, as the contract recommends for deployments.
RATES: dict[str, Rate] = {
    GLOBAL: Rate(10, 80),
    "profile": Rate(10, 50),
    "link-write": Rate(5, 25),
    "analytics-summary": Rate(4, 16),
    "analytics-detail": Rate(2, 8),
    "webhook-mgmt": Rate(2, 8),
}


class Quota:
    """Tells each call how long it must wait, in the order of asking."""

    def __init__(self, clock: Callable[[], float], rates: dict[str, Rate] | None = None) -> None:
        """clock: seconds that never go back."""
        self._clock = clock
        self._rates = rates or RATES
        now = clock()
        self._tokens = {name: float(rate.capacity) for name, rate in self._rates.items()}
        self._counted_at = dict.fromkeys(self._rates, now)
        self._paused_until = dict.fromkeys(self._rates, 0.0)
        self._lock = threading.Lock()

    def take(self, limit_class: str, *, wait_at_most_seconds: float) -> float:
        """Take one call of the class and of the global bucket; return the seconds to wait before it, or -1.

        -1: the wait would be longer than allowed; nothing was taken.
        """
        names = (GLOBAL, limit_class)
        with self._lock:
            wait_seconds = max(self._wait_seconds(name) for name in names)
            if wait_seconds > wait_at_most_seconds:
                return -1.0
            for name in names:
                self._tokens[name] -= 1
            return wait_seconds

    def wait_seconds(self, limit_class: str) -> float:
        """Return how long a call of the class would wait now."""
        with self._lock:
            return max(self._wait_seconds(GLOBAL), self._wait_seconds(limit_class))

    def pause(self, limit_class: str, seconds: float) -> None:
        """Send nothing of the class for so long: the other side said so, and it wins."""
        with self._lock:
            self._paused_until[limit_class] = max(self._paused_until[limit_class], self._clock() + seconds)

    def _wait_seconds(self, name: str) -> float:
        """Refill the bucket and return when it has a token. Tokens below zero are calls that wait already."""
        rate = self._rates[name]
        now = self._clock()
        per_second = rate.per_minute / WINDOW_SECONDS
        gained = (now - self._counted_at[name]) * per_second
        self._tokens[name] = min(float(rate.capacity), self._tokens[name] + gained)
        self._counted_at[name] = now
        for_token = max(0.0, (1 - self._tokens[name]) / per_second)
        return max(for_token, self._paused_until[name] - now)
