"""What the tests of the ledger are made of: events, their bytes, and a spool that nobody else uses."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import msgspec

from analytics.contracts import Event, Kind, encode_event
from analytics.frames import record_frame
from linklayer.visitor import VisitorFacts

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/18.6 Mobile/15E148 Safari/604.1"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"

GENERATION = 7_000_000_000_000_000_001
_sequence = itertools.count(1)

_USUAL = Event(
    kind=Kind.CLICK,
    time=0,
    generation=GENERATION,
    sequence=1,
    link_id=1,
    profile_id=None,
    slug_version=1,
    visitor=42,
    is_private=False,
    purpose="",
    country="CH",
    region="",
    address="192.0.2.0",
    user_agent=FIREFOX,
    referrer="https://news.example.co.uk/today",
    language="de-ch",
    query="utm_source=letter&utm_medium=mail&utm_campaign=May",
)


def make_event(**fields: Any) -> Event:
    """Return a usual click of now, changed where the test says so."""
    given = {"time": int(time.time() * 1e6), "sequence": next(_sequence), **fields}
    return msgspec.structs.replace(_USUAL, **given)


def batch_of(*events: Event) -> bytes:
    """Return the frames of these events."""
    return b"".join(record_frame(encode_event(event)) for event in events)


def raw_batch(*arrays: list[Any]) -> bytes:
    """Return the frames of arrays that no recorder of ours would write."""
    return b"".join(record_frame(msgspec.msgpack.encode(array)) for array in arrays)


def raw_event(**fields: Any) -> list[Any]:
    """Return an event as an array that may hold anything."""
    names = Event.__struct_fields__
    values = [getattr(make_event(), name) for name in names]
    for name, value in fields.items():
        values[names.index(name)] = value
    return values


def facts(**fields: Any) -> VisitorFacts:
    return VisitorFacts(**{"address": "192.0.2.77", "user_agent": FIREFOX, **fields})


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.01)
