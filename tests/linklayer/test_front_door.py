"""The front door alone: what it answers from the cache, and what it leaves to Django."""

import asyncio
import gzip
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import pytest
from django_redis import get_redis_connection
from prometheus_client import REGISTRY
from pytest_django.fixtures import Settings
from redis.exceptions import TimeoutError as RedisTimeout

from linklayer import front_door, tier2
from linklayer.cache import CachedReads, Found, Lifetime, Loaded
from linklayer.encodings import Encoding
from linklayer.front_door import FrontDoor
from linklayer.loop_reads import COLD, Looked, LoopReads
from linklayer.public_reads import Answer, encoded
from linklayer.tier1 import Entry, tier1
from linklayer.tier2 import Envelope
from linklayer.visitor import VisitorFacts


def never_loaded(_key: str) -> Loaded | None:
    raise AssertionError("the front door does not load")


class Pages:
    """A public read of pages at `/page-<key>`; keeps what it was told to record."""

    reads = CachedReads("pages", Lifetime(60, 120, 600, 1), never_loaded)
    shows_cache = True

    def __init__(self) -> None:
        self.recorded: list[tuple[str, VisitorFacts]] = []
        self.expiry: float | None = None

    def peek(self, path: str) -> Entry | None:
        key = self.key(path)
        return None if key is None else self.reads.peek(key)

    def key(self, path: str) -> str | None:
        return path.removeprefix("/page-") if path.startswith("/page-") else None

    def name(self, path: str) -> None:
        return None

    def absent(self, path: str) -> Answer | None:
        key = self.key(path)
        is_absent = key is not None and self.reads.is_absent(key)
        return Answer(404, (("Content-Type", "text/plain"),), b"no page") if is_absent else None

    def answer(self, found: Found) -> Answer:
        headers = (("Content-Type", "text/plain"), ("ETag", '"v1"'), ("Vary", "Authorization"))
        return Answer(200, headers, found.value.encode())

    def expires_at(self, found: Found) -> float | None:
        return self.expiry

    def record(self, found: Found, answer: Answer, facts: VisitorFacts) -> None:
        self.recorded.append((found.value, facts))


pages = Pages()


@pytest.fixture(autouse=True)
def listening(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tier 1 as a web process has it, without its listener thread."""
    settings.PUBLIC_READS = [f"{__name__}.pages"]
    settings.ALLOWED_HOSTS = ["localhost"]
    pages.recorded.clear()
    pages.expiry = None
    monkeypatch.setattr(tier1, "is_started", True)
    front_door._is_allowed_host.cache_clear()
    yield
    front_door._is_allowed_host.cache_clear()
    tier1.drop("pages:a")


def hold(value: str) -> None:
    """Put a page into tier 2."""
    now = time.time()
    tier2.store("pages:a", Envelope(1, value, now, now + 60, 0.0), 60)


@pytest.fixture
def held() -> None:
    hold("body")


def answered(path: str = "/page-a", method: str = "GET", **headers: str) -> list[dict[str, Any]] | None:
    """Ask the front door twice; returns what it sent the second time, or None if it left that to Django."""
    sent: list[list[dict[str, Any]] | None] = []

    async def ask() -> None:
        messages: list[dict[str, Any]] = []
        left_to_django = False

        async def lane(*_: Any) -> None:
            nonlocal left_to_django
            left_to_django = True

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        door = FrontDoor(lane)
        for _ in range(2):
            messages.clear()
            left_to_django = False
            await door(scope(path, method, headers), None, send)
        sent.append(None if left_to_django else list(messages))
        await door._loop_reads.close()

    asyncio.run(ask())
    return sent[0]


def scope(path: str, method: str, headers: dict[str, str]) -> dict[str, Any]:
    fields = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"q=1",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields.items()],
        "client": ("203.0.113.9", 1234),
    }


@pytest.mark.usefixtures("held")
def test_what_tier_2_holds_is_answered_in_the_event_loop() -> None:
    messages = answered(user_agent="Firefox")
    assert messages is not None
    headers = dict(messages[0]["headers"])
    assert (messages[0]["status"], messages[1]["body"]) == (200, b"body")
    assert (headers[b"x-cache"], headers[b"content-length"]) == (b"hit-l1", b"4")
    assert headers[b"x-content-type-options"] == b"nosniff"
    value, facts = pages.recorded[-1]
    assert (value, facts.address, facts.user_agent, facts.query) == ("body", "203.0.113.9", "Firefox", "q=1")


@pytest.mark.usefixtures("held")
def test_a_client_that_has_the_page_is_told_so() -> None:
    messages = answered(if_none_match='W/"v1"')
    assert messages is not None
    assert (messages[0]["status"], messages[1]["body"]) == (304, b"")
    assert b"content-type" not in dict(messages[0]["headers"])


def test_a_page_comes_in_the_encoding_that_the_client_prefers() -> None:
    hold("many words " * 200)
    plain, packed, smaller = (
        answered(accept_encoding=header) for header in ("identity", "gzip;q=1, br;q=0.5", "gzip, br")
    )
    assert plain is not None
    assert packed is not None
    assert smaller is not None
    body = plain[1]["body"]
    assert gzip.decompress(packed[1]["body"]) == brotli.decompress(smaller[1]["body"]) == body
    for messages, encoding in ((plain, None), (packed, b"gzip"), (smaller, b"br")):
        headers = dict(messages[0]["headers"])
        assert headers.get(b"content-encoding") == encoding
        assert headers[b"content-length"] == str(len(messages[1]["body"])).encode()
        assert (headers[b"vary"], headers[b"etag"]) == (b"Authorization, Accept-Encoding", b'"v1"')


def test_an_encoded_page_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(answer: Answer, encoding: Encoding) -> Answer:
        made.append(encoding)
        return encoded(answer, encoding)

    monkeypatch.setattr(front_door, "encoded", counted)
    hold("many words " * 200)
    for _ in range(2):  # each asks twice
        answered(accept_encoding="gzip")
    assert made == ["gzip"]


def test_a_304_is_the_same_in_every_encoding() -> None:
    hold("many words " * 200)
    for header in ("identity", "gzip", "br"):
        messages = answered(accept_encoding=header, if_none_match='"v1"')
        assert messages is not None
        headers = dict(messages[0]["headers"])
        assert (messages[0]["status"], messages[1]["body"]) == (304, b"")
        assert headers[b"vary"] == b"Authorization, Accept-Encoding"
        assert b"content-encoding" not in headers


@pytest.mark.usefixtures("held")
def test_a_small_page_has_one_form() -> None:
    messages = answered(accept_encoding="gzip, br")
    assert messages is not None
    headers = dict(messages[0]["headers"])
    assert (messages[1]["body"], headers[b"vary"], b"content-encoding" in headers) == (b"body", b"Authorization", False)


def test_a_huge_page_is_encoded_by_a_thread_and_django_answers_until_then() -> None:
    hold("many words " * 20_000)
    assert answered() is not None
    gate = threading.Event()
    front_door._encoder.submit(gate.wait, 10)
    assert answered(accept_encoding="br") is None
    gate.set()
    front_door._encoder.submit(int).result(timeout=10)  # whatever was before it is done
    messages = answered(accept_encoding="br")
    assert messages is not None
    assert len(brotli.decompress(messages[1]["body"])) == len("many words " * 20_000)


def test_what_is_known_not_to_be_there_is_answered_in_the_event_loop() -> None:
    tier1.store_absent("pages:none", tier1.begin())
    messages = answered("/page-none")
    assert messages is not None
    assert (messages[0]["status"], messages[1]["body"]) == (404, b"no page")
    assert pages.recorded == []
    assert answered("/page-none", method="POST") is None
    assert answered("/page-none", authorization="Bearer x") is None
    assert answered("/page-none", host="evil.example") is None
    tier1.drop("pages:none")
    assert answered("/page-none") is None


@pytest.mark.usefixtures("held")
def test_head_is_answered_and_not_recorded() -> None:
    assert answered(method="HEAD") is not None
    assert pages.recorded == []


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize(
    "ask",
    [
        lambda: answered(method="POST"),
        lambda: answered(path="/page-%61"),
        lambda: answered(path="/other"),
        lambda: answered(path="/page-unknown"),
        lambda: answered(authorization="Bearer x"),
        lambda: answered(host="evil.example"),
        lambda: answered(host=""),
        lambda: answered(content_length="3"),
        lambda: answered(transfer_encoding="chunked"),
        lambda: answered(expect="100-continue"),
    ],
    ids=["POST", "encoded", "not a page", "unknown", "a key", "other host", "no host", "a body", "chunked", "expect"],
)
def test_what_it_does_not_understand_goes_to_django(ask: Callable[[], object]) -> None:
    assert ask() is None


@pytest.mark.usefixtures("held")
def test_an_answer_past_its_own_end_goes_to_django() -> None:
    pages.expiry = time.time() - 1
    assert answered() is None


@pytest.mark.parametrize("outdated", [True, False], ids=["outdated", "past its soft life"])
def test_what_is_not_fresh_goes_to_django(outdated: bool) -> None:
    now = time.time()
    tier2.store("pages:a", Envelope(1, "old", now - 100, now + (60 if outdated else -1), 0.0), 60)
    if outdated:
        tier2.forget("pages:a", 2, keep_stale=True)
    assert answered() is None


def test_a_corrupt_value_goes_to_django() -> None:
    get_redis_connection("reads").set(tier2.made_key("pages:a"), b"garbage")
    assert answered() is None


def test_a_value_that_breaks_its_reader_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for key in ("a", "b"):
        tier2.store(f"pages:{key}", Envelope(1, key, now, now + 60, 0.0), 60)

    def decoded(envelope: Envelope) -> Envelope:
        if envelope.value == "a":
            raise AttributeError("a bug of ours")
        return envelope

    monkeypatch.setattr(pages.reads, "decoded", decoded)

    async def ask() -> list[Looked]:
        reads, found = LoopReads(), list[Looked]()
        async with asyncio.timeout(5):
            for number, key in enumerate("aba"):
                reads.look(pages.reads, key, found.append)
                while len(found) == number:  # noqa: ASYNC110 - callbacks have no event
                    await asyncio.sleep(0.01)
        await reads.close()
        return found

    first, second, third = asyncio.run(ask())
    assert (first, third) == (COLD, COLD)
    assert second.entry is not None
    tier1.drop("pages:b")


def test_what_is_no_string_in_redis_goes_to_django_and_is_no_outage() -> None:
    errors = REGISTRY.get_sample_value("linklayer_cache_errors_total")
    get_redis_connection("reads").rpush(tier2.made_key("pages:a"), "x")
    assert answered() is None
    assert REGISTRY.get_sample_value("linklayer_cache_errors_total") == errors


@pytest.mark.usefixtures("held")
def test_what_is_found_in_tier_2_is_counted() -> None:
    before = hits_in_tier_2()
    assert answered() is not None  # asks twice: the second is a hit in tier 1
    assert hits_in_tier_2() == before + 1


def hits_in_tier_2() -> float:
    labels = {"namespace": "pages", "source": "hit-l2"}
    return REGISTRY.get_sample_value("linklayer_cache_reads_total", labels) or 0.0


def test_who_asks_while_redis_is_silent_waits_for_no_second_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of Redis that all wait for fails; the second has asked after it was sent."""
    asked = []

    async def silent(keys: list[str]) -> list[bytes | None]:
        asked.append(keys)
        await asyncio.sleep(0.05)
        raise RedisTimeout

    async def ask_one_after_the_other() -> list[Looked]:
        reads = LoopReads()
        monkeypatch.setattr(reads._client, "mget", silent)
        monkeypatch.setattr(tier2.breaker, "failed", lambda: None)
        found: list[Looked] = []
        reads.look(pages.reads, "a", found.append)
        await asyncio.sleep(0.01)
        reads.look(pages.reads, "b", found.append)
        async with asyncio.timeout(5):
            while len(found) < 2:  # noqa: ASYNC110 - callbacks have no event
                await asyncio.sleep(0.01)
        await reads.close()
        return found

    assert asyncio.run(ask_one_after_the_other()) == [COLD, COLD]
    assert len(asked) == 1


def test_a_value_that_trips_us_up_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who asked together with it, nor who asks later: all wait for the same task."""
    hold("body")

    def trips(_envelope: Envelope) -> Envelope:
        raise AttributeError("no such field")

    others = CachedReads("others", pages.reads.lifetime, never_loaded)
    monkeypatch.setattr(others, "decoded", trips)
    now = time.time()
    tier2.store("others:a", Envelope(1, "value", now, now + 60, 0.0), 60)

    async def ask() -> list[Looked]:
        reads = LoopReads()
        found: list[Looked] = []
        async with asyncio.timeout(5):
            for asked in ((others, pages.reads), (pages.reads,)):
                waited_for = len(found) + len(asked)
                for one in asked:
                    reads.look(one, "a", found.append)
                while len(found) < waited_for:  # noqa: ASYNC110 - callbacks have no event
                    await asyncio.sleep(0.01)
        await reads.close()
        return found

    tripped, together, later = asyncio.run(ask())
    assert tripped == COLD
    assert [looked.entry is not None for looked in (together, later)] == [True, True]
