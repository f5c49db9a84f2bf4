"""The door: facts of a request become one clean record, and a visitor never waits or sees an error."""

import asyncio
import os
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest
from pytest_django import DjangoAssertNumQueries

from analytics import recorder
from analytics.contracts import Event, Kind, decode_event
from analytics.frames import RECORD_MARK, scan
from analytics.heartbeat import Heartbeat, shared_salt
from analytics.models import DailySalt, ProcessGeneration
from analytics.segments import OPEN, SEALED, list_segments
from analytics.spool import Spool
from analytics.visitors import Salts, truncated_address, visitor_number
from linklayer.turn import turn_of
from tests.analytics.makers import FIREFOX, facts


@pytest.fixture
def no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat has tests of its own; without a database it would only complain."""
    monkeypatch.setattr(Heartbeat, "start", lambda self: None)


pytestmark = pytest.mark.usefixtures("no_heartbeat")


def recorded(folder: Path) -> list[Event]:
    events = []
    for segment in list_segments(folder, OPEN, SEALED):
        data = segment.path.read_bytes()
        events += [decode_event(frame.payload(data)) for frame in scan(data) if frame.mark == RECORD_MARK]
    return sorted(events, key=lambda event: event.sequence)


def record(folder: Path, **fields: Any) -> Event:
    recorder.record_click(link_id=1, profile_id=None, slug_version=3, facts=facts(**fields))
    return recorded(folder)[-1]


def test_a_click_is_in_the_spool_when_the_door_returns(spool_dir: Path) -> None:
    event = record(spool_dir, referrer="https://example.org/", query="a=1", accept_language="de-CH,de;q=0.9")
    assert (event.kind, event.link_id, event.slug_version, event.sequence) == (Kind.CLICK, 1, 3, 1)
    assert (event.referrer, event.query, event.language) == ("https://example.org/", "a=1", "de-ch")


def test_clicks_of_one_turn_of_the_event_loop_are_kept_together_before_its_answers(spool_dir: Path) -> None:
    kept: list[int] = []

    async def one_turn() -> None:
        turn = turn_of(asyncio.get_running_loop())
        for link_id in (1, 2, 3):
            recorder.record_click(link_id=link_id, profile_id=None, slug_version=3, facts=facts())
        kept.append(len(recorded(spool_dir)))
        turn.before_answers(lambda: kept.append(len(recorded(spool_dir))))
        await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: asyncio.run(one_turn()))
    thread.start()
    thread.join(timeout=5)
    assert kept == [0, 3]


def test_a_view_names_its_profile_and_no_link(spool_dir: Path) -> None:
    recorder.record_view(profile_id=8, facts=facts())
    assert [(event.kind, event.link_id, event.profile_id) for event in recorded(spool_dir)] == [(Kind.VIEW, None, 8)]


def test_sequences_have_no_gap(spool_dir: Path) -> None:
    for _ in range(100):
        recorder.record_view(profile_id=8, facts=facts())
    assert [event.sequence for event in recorded(spool_dir)] == list(range(1, 101))


@pytest.mark.parametrize("field", ["user_agent", "referrer", "query", "accept_language", "purpose"])
@pytest.mark.parametrize("text", ["a\0b", "\ud800", "é" * 5000, "\x7f\x80\xff", "💥" * 2000, "\0" * 5000])
def test_any_text_is_stored_clean_and_cropped(field: str, text: str, spool_dir: Path) -> None:
    event = record(spool_dir, **{field: text})
    kept = getattr(event, "language" if field == "accept_language" else field)
    assert "\0" not in kept
    assert len(kept) <= 1024
    kept.encode()


@pytest.mark.parametrize("address", ["", "unknown", "300.1.1.1", "\0", "1.2.3.4:80", "\ud800", "fe80::1%eth0"])
def test_an_address_that_is_none_is_not_kept_and_stops_nothing(address: str, spool_dir: Path) -> None:
    event = record(spool_dir, address=address)
    assert (event.address, event.country) == ("", "")


@pytest.mark.parametrize(
    ("mode", "address", "kept"),
    [
        ("truncated", "192.0.2.77", "192.0.2.0"),
        ("truncated", "2001:db8:1:2::3", "2001:db8:1::"),
        ("none", "192.0.2.77", ""),
        ("full", "192.0.2.77", "192.0.2.77"),
    ],
)
def test_an_address_is_kept_as_far_as_the_operator_said(
    mode: str, address: str, kept: str, spool_dir: Path, settings: Any
) -> None:
    settings.CLICK_ADDRESS = mode
    assert record(spool_dir, address=address).address == kept


def test_the_country_is_known_at_capture(spool_dir: Path) -> None:
    assert record(spool_dir, address="193.5.216.100").country == "CH"


@pytest.mark.parametrize("signal", ["global_privacy_control", "do_not_track"])
def test_a_visitor_who_does_not_want_to_be_followed_is_only_counted(
    signal: str, spool_dir: Path, settings: Any
) -> None:
    settings.RESPECT_GPC = settings.RESPECT_DNT = True
    event = record(spool_dir, **{signal: True}, referrer="https://example.org/", query="a=1", accept_language="de")
    assert event.is_private
    assert (event.visitor, event.address, event.country) == (None, "", "")
    assert (event.referrer, event.query, event.language) == ("", "", "")


def test_signals_that_the_operator_does_not_honour_change_nothing(spool_dir: Path, settings: Any) -> None:
    settings.RESPECT_GPC = settings.RESPECT_DNT = False
    assert not record(spool_dir, global_privacy_control=True, do_not_track=True).is_private


def test_the_door_raises_nothing_whatever_breaks(spool_dir: Path, settings: Any) -> None:
    settings.SPOOL_DIR = Path("/proc/nowhere")
    recorder.record_click(link_id=1, profile_id=None, slug_version=1, facts=facts())
    recorder.record_click(link_id="one", profile_id=None, slug_version=1, facts=None)  # type: ignore[arg-type] # on purpose


def test_a_forked_child_lets_go_of_the_parents_segment_and_records_in_its_own(spool_dir: Path) -> None:
    recorder.record_view(profile_id=8, facts=facts())
    (opened,) = list_segments(spool_dir, OPEN)
    child = os.fork()
    if child == 0:
        try:
            held = {file.path for file in psutil.Process().open_files()}
            recorder.record_view(profile_id=9, facts=facts())
            recorder.close()
            os._exit(int(str(opened.path) in held))
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted(event.profile_id or 0 for event in recorded(spool_dir)) == [8, 9]


@pytest.mark.django_db
def test_the_door_asks_no_database(spool_dir: Path, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        record(spool_dir)


def test_the_door_brings_no_framework_and_no_outbound_http() -> None:
    code = (
        "import django, sys; django.setup(); known = set(sys.modules);"
        "import analytics.recorder;"
        "print([n for n in ('rest_framework', 'requests', 'ua_parser', 'celery') if n in set(sys.modules) - known])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_a_visitor_has_one_number_a_day_and_another_the_next() -> None:
    today, tomorrow = b"a" * 32, b"b" * 32
    number = visitor_number(today, "192.0.2.1", FIREFOX)
    assert visitor_number(today, "192.0.2.1", FIREFOX) == number
    assert visitor_number(tomorrow, "192.0.2.1", FIREFOX) != number
    assert visitor_number(today, "192.0.2.2", FIREFOX) != number


@pytest.mark.parametrize("address", ["", "x", "1.2.3", "::g", "1.2.3.4\0"])
def test_no_address_is_truncated_to_nothing(address: str) -> None:
    assert truncated_address(address) == ""


@pytest.mark.django_db
def test_the_first_proposal_is_everybodys_salt() -> None:
    assert shared_salt(20_000, b"first") == b"first"
    assert shared_salt(20_000, b"second") == b"first"


@pytest.mark.django_db
def test_a_heartbeat_agrees_on_the_salt_and_tells_the_counts(tmp_path: Path) -> None:
    spool, salts = Spool(tmp_path, max_bytes=1 << 30), Salts()
    spool.append(b"frame")
    Heartbeat(spool, salts).beat()
    row = ProcessGeneration.objects.get(generation=spool.generation)
    salt = DailySalt.objects.order_by("day")[0]
    assert (row.accepted, row.ring, row.dropped) == (1, 0, 0)
    assert salts.salt((salt.day - date(1970, 1, 1)).days) == bytes(salt.salt)
    spool.close()
