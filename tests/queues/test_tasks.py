"""The base of our tasks: data errors are tried three times and buried, outages are waited for and let go."""

import json
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DataError, InterfaceError, OperationalError

from linklayer.backoff import equal_jitter_seconds
from linklayer.celery import app
from linklayer.errors import Unavailable, UpstreamFailed
from linklayer.models import DeadLetter
from linklayer.worker import SafeTask

pytestmark = pytest.mark.django_db(transaction=True)

calls: list[tuple[Any, ...]] = []
errors: list[Exception] = []


class QuickTask(SafeTask):
    """Lets go after a second instead of half a minute."""

    patience_seconds = 1.0


@app.task(name="test.fails_as_told", base=QuickTask)
def fails_as_told(*args: Any) -> str:
    calls.append(args)
    if errors:
        raise errors.pop(0)
    return "done"


@app.task(name="test.takes_one", base=QuickTask)
def takes_one(one: int) -> int:
    calls.append((one,))
    return one


@pytest.fixture(autouse=True)
def _nothing_yet() -> None:
    calls.clear()
    errors.clear()


def run(*args: Any, fails_with: list[Exception]) -> Any:
    errors[:] = fails_with
    return fails_as_told.apply(args, task_id="task-1").get()


def test_a_data_error_is_a_dead_letter_after_three_tries() -> None:
    run("batch-7", fails_with=[ValueError("first"), DataError("second"), ValueError("third"), ValueError("fourth")])
    assert len(calls) == 3
    letter = DeadLetter.objects.get()
    assert (letter.source, letter.reason) == ("test.fails_as_told", "ValueError: third")
    assert json.loads(bytes(letter.body))[:2] == [["batch-7"], {}]
    assert letter.headers == {"lang": "py", "task": "test.fails_as_told", "id": "task-1"}


def test_a_try_that_succeeds_ends_it() -> None:
    assert run("x", fails_with=[ValueError("once"), ValueError("twice")]) == "done"
    assert not DeadLetter.objects.exists()


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, Unavailable, UpstreamFailed, ConnectionResetError])
def test_an_outage_is_waited_for(error: type[Exception]) -> None:
    assert run("x", fails_with=[error("away")]) == "done"
    assert len(calls) == 2


def test_a_long_outage_is_let_go_and_never_a_dead_letter() -> None:
    assert run("x", fails_with=[OperationalError("away")] * 50) is None
    assert 2 <= len(calls) < 10
    assert not DeadLetter.objects.exists()


def test_outages_use_up_no_try() -> None:
    outage, bug = OperationalError("away"), ValueError("no")
    assert run("x", fails_with=[bug, outage, bug]) == "done"
    assert not DeadLetter.objects.exists()


def test_a_task_over_its_time_is_let_go_at_once() -> None:
    assert run("x", fails_with=[SoftTimeLimitExceeded()] * 2) is None
    assert len(calls) == 1
    assert not DeadLetter.objects.exists()


def test_a_tick_waits_for_no_outage_and_leaves_no_letter() -> None:
    assert run(fails_with=[OperationalError("away")] * 2) is None
    assert len(calls) == 1
    run(fails_with=[ValueError("no")] * 3)
    assert not DeadLetter.objects.exists()


def test_arguments_that_a_task_does_not_take_are_buried_untried() -> None:
    takes_one.apply((1, 2)).get()
    assert calls == []
    assert "TypeError" in DeadLetter.objects.get().reason


def test_called_directly_a_task_is_a_plain_function() -> None:
    errors[:] = [ValueError("to the caller")]
    with pytest.raises(ValueError, match="to the caller"):
        fails_as_told()


@pytest.mark.parametrize(("tries", "least", "most"), [(1, 0.25, 0.5), (2, 0.5, 1.0), (3, 1.0, 2.0), (30, 1.0, 2.0)])
def test_waits_double_and_are_never_nothing(tries: int, least: float, most: float) -> None:
    chances = iter([0.0, 0.5, 0.999])
    waits = [equal_jitter_seconds(tries, base_seconds=0.5, cap_seconds=2.0, chance=chances.__next__) for _ in range(3)]
    assert waits[0] == least
    assert least < waits[1] < waits[2] < most
