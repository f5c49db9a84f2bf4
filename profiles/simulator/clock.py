"""The simulator's clock: the machine's, plus an offset that a test may move forward."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(slots=True)
class SimulatorClock:
    """offset_seconds: what `POST /__sim__/clock` and the fault `clock-skew` have added so far."""

    offset_seconds: float = 0.0

    def __call__(self) -> float:
        """Unix seconds."""
        return time.time() + self.offset_seconds

    def advance(self, seconds: float) -> None:
        self.offset_seconds += seconds


def iso(moment: float) -> str:
    """Return Unix seconds as ISO-8601 UTC with `Z` and milliseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
