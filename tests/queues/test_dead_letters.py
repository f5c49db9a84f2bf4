"""The table of dead letters: one row per letter, replayed with its ids, readable whatever its bytes are."""

import json
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.test import Client
from kombu import Connection

from linklayer import dead_letters, queues
from linklayer.errors import Conflict, LinkLayerError, NotFound, Unavailable
from linklayer.models import DeadLetter
from linklayer.topology import TASK_QUEUES, WEBHOOKS
from tests.queues.conftest import depth, take, wait_for_depth

TASK = "webhooks.process_receipt"

pytestmark = pytest.mark.django_db


def a_letter(body: bytes = b"[[1],{},{}]", key: str = "key", **headers: object) -> DeadLetter:
    dead_letters.bury(TASK, body, {"task": TASK, "id": "task-1", **headers}, "ValueError: no", dedupe_key=key)
    return DeadLetter.objects.get(dedupe_key=key)


def test_a_letter_that_comes_twice_is_one_row() -> None:
    first = a_letter()
    again = a_letter()
    assert DeadLetter.objects.count() == 1
    assert again.last_seen_at > first.last_seen_at
    assert again.first_seen_at == first.first_seen_at


@pytest.mark.parametrize("text", ["\x00", "\ud800", "🙂"])
def test_any_bytes_and_any_headers_are_kept(text: str) -> None:
    headers = {"odd": text, text: [1.5, float("nan"), b"\xff\x00"], "deep": {"a": {"b": [None, True]}}}
    dead_letters.bury(f"queue{text}", b"\x00\xff" + bytes(range(256)), headers, f"why{text}", dedupe_key="odd")
    letter = DeadLetter.objects.get()
    assert bytes(letter.body).startswith(b"\x00\xff")
    assert letter.headers["deep"] == {"a": {"b": [None, True]}}


def test_a_replay_keeps_the_ids_and_drops_what_the_broker_noted(empty_queues: Connection) -> None:
    noted: dict[str, Any] = {"x-death": [{"queue": WEBHOOKS}], "x-first-death-queue": WEBHOOKS, "retries": 3}
    letter = a_letter(**noted)
    dead_letters.replay(letter.pk)
    message = take(empty_queues, TASK_QUEUES[WEBHOOKS])
    message.ack()
    assert message.payload == [[1], {}, {}]
    assert {name: message.headers[name] for name in ("task", "id", "retries", "x-replay-count")} == {
        "task": TASK, "id": "task-1", "retries": 0, "x-replay-count": 1,
    }  # fmt: skip
    assert not [name for name in message.headers if "death" in name]
    letter.refresh_from_db()
    assert (letter.state, letter.replays) == ("replayed", 1)


def test_a_letter_that_dies_again_is_new_again(empty_queues: Connection) -> None:
    letter = a_letter()
    dead_letters.replay(letter.pk)
    headers = take(empty_queues, TASK_QUEUES[WEBHOOKS]).headers
    dead_letters.bury(TASK, b"[[1],{},{}]", headers, "still no", dedupe_key="a key of its second death")
    letter.refresh_from_db()
    assert (letter.state, letter.replays, letter.reason) == ("new", 1, "still no")
    assert DeadLetter.objects.count() == 1


def test_a_late_copy_of_the_first_death_does_not_reopen_a_replayed_letter(empty_queues: Connection) -> None:
    letter = a_letter()
    dead_letters.replay(letter.pk)
    a_letter()
    letter.refresh_from_db()
    assert letter.state == "replayed"


def test_five_replays_are_the_limit(empty_queues: Connection) -> None:
    letter = a_letter()
    for _ in range(5):
        dead_letters.replay(letter.pk)
    with pytest.raises(Conflict, match="5 times"):
        dead_letters.replay(letter.pk)
    wait_for_depth(empty_queues, TASK_QUEUES[WEBHOOKS], 5)


def test_a_letter_of_no_queue_of_ours_is_not_replayed() -> None:
    dead_letters.bury("elsewhere", b"x", {}, "why", dedupe_key="foreign")
    with pytest.raises(Conflict, match="elsewhere"):
        dead_letters.replay(DeadLetter.objects.get().pk)
    with pytest.raises(NotFound):
        dead_letters.replay(0)


def test_a_discarded_letter_stays_discarded(empty_queues: Connection) -> None:
    letter = a_letter()
    dead_letters.discard(letter.pk, "not ours")
    dead_letters.discard(letter.pk, "twice")
    with pytest.raises(Conflict):
        dead_letters.replay(letter.pk)
    letter.refresh_from_db()
    assert (letter.state, letter.reason) == ("discarded", "ValueError: no\nDiscarded: not ours")


@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_replay_a_letter_once_each_at_most(empty_queues: Connection) -> None:
    letter = a_letter()

    def replay(_: int) -> bool:
        try:
            dead_letters.replay(letter.pk)
        except Conflict:
            return False
        else:
            return True
        finally:
            database.close()

    with ThreadPoolExecutor(4) as threads:
        replayed = sum(threads.map(replay, range(8)))
    letter.refresh_from_db()
    assert replayed == letter.replays
    wait_for_depth(empty_queues, TASK_QUEUES[WEBHOOKS], replayed)


def test_the_command_lists_shows_replays_and_discards(empty_queues: Connection) -> None:
    first, second = a_letter(key="one", body=b"\xff<b>"), a_letter(key="two")
    assert "2 new" in run("list")
    assert "\\xff<b>" in run("show", str(first.pk))
    assert "1 of 1 replayed" in run("replay", str(first.pk))
    assert "1 of 1 discarded" in run("discard", str(second.pk), "--reason", "noise")
    assert "0 new" in run("list")
    assert depth(empty_queues, TASK_QUEUES[WEBHOOKS]) == 1


def test_the_admin_shows_any_body_escaped_and_cut(admin_client: Client) -> None:
    letter = a_letter(body=b"<script>\x00\xff" + b"x" * 10_000)
    page = admin_client.get(f"/admin/linklayer/deadletter/{letter.pk}/change/")
    assert page.status_code == 200
    assert b"&lt;script&gt;\\x00\\xff" in page.content
    assert b"x" * 4097 not in page.content
    assert admin_client.get("/admin/linklayer/deadletter/").status_code == 200


def test_the_admin_replays_and_discards(admin_client: Client, empty_queues: Connection) -> None:
    first, second = a_letter(key="one"), a_letter(key="two")
    for action, letter in (("replay", first), ("discard", second)):
        admin_client.post("/admin/linklayer/deadletter/", {"action": action, "_selected_action": [letter.pk]})
    assert set(DeadLetter.objects.values_list("pk", "state")) == {(first.pk, "replayed"), (second.pk, "discarded")}


def test_a_body_is_what_celery_reads() -> None:
    assert json.loads(dead_letters.task_body("x", 1, again=True))[:2] == [["x", 1], {"again": True}]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("dead_letters", *arguments, stdout=out)
    return out.getvalue()


def test_without_the_broker_a_letter_stays_new() -> None:
    letter = a_letter()
    queues._pause.begin()
    with pytest.raises(Unavailable) as raised:
        dead_letters.replay(letter.pk)
    letter.refresh_from_db()
    assert isinstance(raised.value, LinkLayerError)
    assert (letter.state, letter.replays) == ("new", 0)
