"""How long to wait before the next try."""

import random
from collections.abc import Callable


def equal_jitter_seconds(
    tries: int, *, base_seconds: float, cap_seconds: float, chance: Callable[[], float] = random.random
) -> float:
    """Return base · 2^(tries - 1) seconds, capped, half of it fixed and half drawn: never 0, seldom equal.

    tries: how many there were, from 1. chance: a number in [0, 1). Full jitter may draw 0 three times in a row and use
    up three tries within milliseconds (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    ceiling = min(cap_seconds, base_seconds * 2.0 ** min(tries - 1, 30))
    return ceiling / 2 + chance() * ceiling / 2
