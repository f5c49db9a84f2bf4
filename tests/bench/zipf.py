"""Traffic of the usual shape: few links get most of it (Zipf's law); the popular ones lie anywhere among the ids."""

import random
from itertools import accumulate

EXPONENT = 1.1
# Coprime to every power of ten: going by it from rank to rank visits each number once.
_STRIDE = 611_953


class Zipf:
    """Draws the numbers of links, 1 to `links`, the one of rank r with a probability in proportion to r to the -1.1.

    The same seed gives the same draws. links: not a multiple of 611,953.
    """

    def __init__(self, links: int, *, seed: int = 1) -> None:
        self._links = links
        self._random = random.Random(seed)
        self._cumulated = list(accumulate(rank**-EXPONENT for rank in range(1, links + 1)))

    def numbers(self, count: int) -> list[int]:
        """Draw so many numbers, independent of each other."""
        ranks = self._random.choices(range(self._links), cum_weights=self._cumulated, k=count)
        return [self.number(rank) for rank in ranks]

    def number(self, rank: int) -> int:
        """Return the number of the link of a rank, from 0."""
        return rank * _STRIDE % self._links + 1
