"""Equal cold reads at the front door: one enters Django, the others wait for it, and none is harmed by another."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from linklayer import tier2
from linklayer.cache import CachedReads, Found, Lifetime, Loaded
from linklayer.front_door import FrontDoor
from linklayer.public_reads import Answer
from linklayer.tier1 import Entry, tier1
from linklayer.tier2 import Envelope
from linklayer.visitor import VisitorFacts
from tests.linklayer.test_front_door import never_loaded, scope

Lane = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def name_never_loaded(_key: str) -> Loaded | None:
    raise AssertionError("the front door does not load")


class ColdPages:
    """A public read of pages at `/page-<key>`, and at `/called-<name>` where the cache knows the name's key."""

    reads = CachedReads("cold", Lifetime(60, 120, 600, deadline_seconds=5), never_loaded)
    names = CachedReads("cold-name", Lifetime(60, 120, 600, deadline_seconds=5), name_never_loaded)
    shows_cache = True

    def peek(self, path: str) -> Entry | None:
        key = self.key(path)
        return None if key is None else self.reads.peek(key)

    def key(self, path: str) -> str | None:
        if path.startswith("/called-"):
            entry = self.names.peek(path.removeprefix("/called-"))
            return None if entry is None else entry.value
        return path.removeprefix("/page-") if path.startswith("/page-") else None

    def name(self, path: str) -> tuple[CachedReads, str] | None:
        return (self.names, path.removeprefix("/called-")) if path.startswith("/called-") else None

    def absent(self, path: str) -> Answer | None:
        return None

    def answer(self, found: Found) -> Answer:
        return Answer(200, (("Content-Type", "text/plain"),), found.value.encode())

    def expires_at(self, found: Found) -> float | None:
        return None

    def record(self, found: Found, answer: Answer, facts: VisitorFacts) -> None:
        """Nothing to keep."""


cold_pages = ColdPages()


@pytest.fixture(autouse=True)
def listening(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tier 1 as a web process has it, without its listener thread."""
    settings.PUBLIC_READS = [f"{__name__}.cold_pages"]
    settings.ALLOWED_HOSTS = ["localhost"]
    monkeypatch.setattr(tier1, "is_started", True)
    yield
    for key in ("cold:a", "cold-name:ann"):
        tier1.drop(key)


class Django:
    """The lane: counts who enters, and loads when it may."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.entered = 0
        self.may_end = asyncio.Event()
        self.leaves_at_once = False

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.entered += 1
        if self.leaves_at_once:
            self.leaves_at_once = False
            return
        await self.may_end.wait()
        if self.status == 200:
            keep("cold:a", "body")
            keep("cold-name:ann", "a")
        elif self.status == 404:
            tier1.store_absent("cold:a", tier1.begin())
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"from Django"})


def keep(full_key: str, value: str) -> None:
    now = time.monotonic()
    tier1.store(full_key, Entry(value, 1, time.time(), False, now, now + 60), tier1.begin())


class Asked:
    """Requests under way; `answers` are (status, body) in their order, None for what got none."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self.answers: list[tuple[int, bytes] | None] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, path: str = "/page-a", method: str = "GET", **headers: str) -> None:
        self.answers.append(None)
        number, status = len(self.answers) - 1, 0

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                self.answers[number] = (status, message["body"])

        self.tasks.append(asyncio.create_task(self._door(scope(path, method, headers), None, send)))

    async def settle(self, until: Callable[[], bool]) -> None:
        """Let the requests go on until that is so, and then some turns of the loop more."""
        async with asyncio.timeout(10):
            while not until():  # noqa: ASYNC110 - of what others count there is no event
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

    async def end(self) -> None:
        await asyncio.gather(*self.tasks, return_exceptions=True)


def run(test: Callable[[Django, Asked], Awaitable[None]], *, status: int = 200) -> None:
    async def main() -> None:
        django = Django(status)
        door = FrontDoor(django)
        try:
            async with asyncio.timeout(20):
                await test(django, Asked(door))
        finally:
            await door._loop_reads.close()

    asyncio.run(main())


def test_of_equal_cold_reads_one_enters_django() -> None:
    async def test(django: Django, asked: Asked) -> None:
        for number in range(200):
            asked.ask(method="HEAD" if number % 2 else "GET")
        await asked.settle(lambda: django.entered >= 1)
        assert django.entered == 1
        django.may_end.set()
        await asked.end()
        assert django.entered == 1
        assert asked.answers.count((200, b"body")) == 199
        assert asked.answers.count((200, b"from Django")) == 1

    run(test)


def test_while_one_asks_the_source_the_others_get_the_outdated_copy() -> None:
    """An event outdates a hot profile, and its source takes its time: one thread waits, and no visitor for long."""
    now = time.time()
    tier2.store("cold:a", Envelope(1, "old", now - 10, now + 50, 0.0), 60)
    tier2.forget("cold:a", 2, keep_stale=True)

    async def test(django: Django, asked: Asked) -> None:
        for _ in range(200):
            asked.ask()
        await asked.settle(lambda: asked.answers.count((200, b"old")) == 199)
        assert django.entered == 1
        django.may_end.set()
        await asked.end()
        assert asked.answers.count((200, b"from Django")) == 1

    run(test)


def test_names_that_nobody_knows_yet_wait_together_too() -> None:
    async def test(django: Django, asked: Asked) -> None:
        for _ in range(20):
            asked.ask("/called-ann")
        await asked.settle(lambda: django.entered >= 1)
        django.may_end.set()
        await asked.end()
        assert django.entered == 1
        assert asked.answers.count((200, b"body")) == 19

    run(test)


def test_other_keys_do_not_wait() -> None:
    async def test(django: Django, asked: Asked) -> None:
        asked.ask("/page-a")
        asked.ask("/page-b")
        await asked.settle(lambda: django.entered == 2)
        django.may_end.set()
        await asked.end()

    run(test)


def test_what_is_djangos_own_is_not_parked() -> None:
    async def test(django: Django, asked: Asked) -> None:
        asked.ask()
        asked.ask(authorization="Bearer x")
        asked.ask(method="POST")
        await asked.settle(lambda: django.entered == 3)
        django.may_end.set()
        await asked.end()

    run(test)


def test_what_turns_out_to_be_absent_is_djangos_to_say() -> None:
    async def test(django: Django, asked: Asked) -> None:
        for _ in range(5):
            asked.ask()
        await asked.settle(lambda: django.entered >= 1)
        assert django.entered == 1
        django.may_end.set()
        await asked.end()
        assert asked.answers == [(404, b"from Django")] * 5

    run(test, status=404)


def test_a_load_that_failed_is_not_tried_again_by_those_who_waited_for_it() -> None:
    async def test(django: Django, asked: Asked) -> None:
        for _ in range(5):
            asked.ask()
        await asked.settle(lambda: django.entered >= 1)
        django.may_end.set()
        await asked.end()
        assert django.entered == 1
        assert [answer[0] for answer in asked.answers if answer] == [503] * 5

    run(test, status=503)


def test_a_load_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ColdPages.reads, "lifetime", Lifetime(60, 120, 600, deadline_seconds=0.2))

    async def test(django: Django, asked: Asked) -> None:
        for _ in range(5):
            asked.ask()
        await asked.settle(lambda: len([answer for answer in asked.answers if answer]) == 4)
        assert [answer[0] for answer in asked.answers if answer] == [503] * 4
        django.may_end.set()
        await asked.end()
        assert (django.entered, asked.answers[0]) == (1, (200, b"from Django"))

    run(test)


def test_when_the_first_leaves_unanswered_the_next_one_enters() -> None:
    async def test(django: Django, asked: Asked) -> None:
        django.leaves_at_once = True
        for _ in range(5):
            asked.ask()
        django.may_end.set()
        await asked.end()
        assert asked.answers[0] is None
        assert all(answer is not None and answer[0] == 200 for answer in asked.answers[1:])

    run(test)


def test_a_visitor_who_stops_waiting_takes_nothing_from_the_others() -> None:
    async def test(django: Django, asked: Asked) -> None:
        for _ in range(5):
            asked.ask()
        await asked.settle(lambda: django.entered >= 1)
        asked.tasks[2].cancel()
        await asked.settle(asked.tasks[2].done)
        django.may_end.set()
        await asked.end()
        assert django.entered == 1
        assert [answer is not None for answer in asked.answers] == [True, True, False, True, True]

    run(test)
