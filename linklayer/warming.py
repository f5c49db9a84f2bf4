"""What an app offers to have its cache filled (settings.CACHE_WARMERS)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from linklayer.cache import CachedReads


@dataclass(frozen=True, slots=True)
class Warmer:
    """name: plural noun, also the option's name. keys: cache keys, most read first, streamed; count: how many."""

    name: str
    reads: CachedReads
    keys: Callable[[], Iterator[str]]
    count: Callable[[], int]
    default_limit: int = 1000
