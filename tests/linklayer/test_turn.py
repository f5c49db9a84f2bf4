"""One turn of the event loop: what is kept, and then written, at its end."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from linklayer import turn as turn_module
from linklayer.turn import Turn, turn_here, turn_of


class Written(asyncio.Transport):
    """A transport that notes what is written to it."""

    def __init__(self, notes: list[str], *, is_closing: bool = False) -> None:
        super().__init__()
        self._notes = notes
        self._is_closing = is_closing

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._notes.append(bytes(data).decode())


def notes_of(use: Callable[[Turn, list[str]], object]) -> list[str]:
    """Let use work with a turn, and return what happened until the turn after it began."""
    notes: list[str] = []

    async def run() -> None:
        use(turn_of(asyncio.get_running_loop()), notes)
        notes.append("-- end of the turn")
        await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: asyncio.run(run()))  # of its own: a turn belongs to its thread for good
    thread.start()
    thread.join(timeout=5)
    return notes


def test_answers_wait_for_the_end_of_the_turn_and_for_what_must_be_kept() -> None:
    def use(turn: Turn, notes: list[str]) -> None:
        turn.write(Written(notes), b"first")
        turn.before_answers(lambda: notes.append("kept"))
        turn.write(Written(notes), b"second")

    assert notes_of(use) == ["-- end of the turn", "kept", "first", "second"]


def test_much_is_written_at_once_and_still_after_what_must_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "TOGETHER_BYTES", 8)

    def use(turn: Turn, notes: list[str]) -> None:
        turn.before_answers(lambda: notes.append("kept"))
        turn.write(Written(notes), b"short")
        turn.write(Written(notes), b"longer")
        turn.write(Written(notes), b"rest")

    assert notes_of(use) == ["kept", "short", "longer", "-- end of the turn", "rest"]


def test_nothing_is_written_to_a_client_that_has_gone() -> None:
    def use(turn: Turn, notes: list[str]) -> None:
        turn.write(Written(notes, is_closing=True), b"lost")
        turn.write(Written(notes), b"read")

    assert notes_of(use) == ["-- end of the turn", "read"]


def test_a_thread_without_an_event_loop_has_no_turn() -> None:
    assert turn_here() is None
