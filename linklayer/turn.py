"""One turn of the event loop: what it answers is written together at its end, after what must be kept before.

A write wakes the client it goes to. Made one by one, between other work, each of them wakes the load balancer anew,
which costs more than the write itself (measured: 36 against 49 thousand redirects a second with two workers). The same
goes for what an answer stands for, a click: one write to the disk keeps those of the whole turn.
"""

import asyncio
import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

TOGETHER_BYTES = 256 * 1024  # thousands of requests in one packet must not gather thousands of pages


class Turn:
    """The answers of one event loop that wait for the end of its turn. Used in the loop's own thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: list[tuple[asyncio.Transport, bytes]] = []
        self._answer_bytes = 0
        self._before: list[Callable[[], object]] = []
        self._is_scheduled = False

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write at the end of the turn, or sooner if much is waiting."""
        if not self._is_scheduled:
            self._schedule()
        self._answers.append((transport, data))
        self._answer_bytes += len(data)
        if self._answer_bytes > TOGETHER_BYTES:
            self.end()

    def before_answers(self, keep: Callable[[], object]) -> None:
        """Have keep called once before the answers are written; it must not raise."""
        if not self._is_scheduled:
            self._schedule()
        self._before.append(keep)

    def end(self) -> None:
        """Keep what is to be kept and write the answers, now."""
        before, self._before = self._before, []
        for keep in before:
            keep()
        answers, self._answers, self._answer_bytes = self._answers, [], 0
        for transport, data in answers:
            if not transport.is_closing():
                transport.write(data)

    def _schedule(self) -> None:
        self._is_scheduled = True
        self._loop.call_soon(self._end_of_turn)

    def _end_of_turn(self) -> None:
        self._is_scheduled = False
        self.end()


class _Here(threading.local):
    turn: Turn | None = None


_here = _Here()
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turn] = WeakKeyDictionary()


def turn_of(loop: asyncio.AbstractEventLoop) -> Turn:
    """Return the loop's turn, from now on also that of the calling thread."""
    turn = _here.turn = _turns.setdefault(loop, Turn(loop))
    return turn


def turn_here() -> Turn | None:
    """Return the turn in which the calling thread answers; None in a thread without a serving event loop."""
    return _here.turn
