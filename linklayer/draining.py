"""What master and workers of one gunicorn tell each other about their end, in memory that they share.

Imported by the master before it forks. Where there is no such master nothing is ever told, and nothing ends.
"""

import mmap

_ENDING, _GENERATION, _SERVING = range(3)
_shared = memoryview(mmap.mmap(-1, 3 * 8)).cast("Q")


def announce_end() -> None:
    """Say, as the master, that no worker will be left: /readyz of all of them answers 503 from now on."""
    _shared[_ENDING] = 1


def is_ending() -> bool:
    """Tell whether the whole of it ends; a worker that is merely replaced does not count."""
    return _shared[_ENDING] == 1


def renew() -> None:
    """Say, as the master, that the workers started from now on replace all others."""
    _shared[_GENERATION] += 1


def generation() -> int:
    """Return the generation of a worker that is started now, from 0."""
    return _shared[_GENERATION]


def serves(generation: int) -> None:
    """Say, as a worker of that generation, that it accepts connections."""
    _shared[_SERVING] = max(_shared[_SERVING], generation)


def has_to_bridge(generation: int) -> bool:
    """Tell whether successors of that generation are on their way, and none of them accepts connections yet."""
    return _shared[_SERVING] <= generation < _shared[_GENERATION] and not is_ending()
