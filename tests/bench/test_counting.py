"""Whether every click and every view was counted, once: what the benchmark says of its ledger."""

from dataclasses import replace

import pytest

from tests.bench.counting import Answered, Kind, Ledger, Stored
from tests.bench.measurement import Measurement

WHOLE = Ledger(
    accepted=150, dropped=0, batches=150, stored={"click": Stored(100, 100, 100), "view": Stored(50, 50, 50)}
)


def _answered(clicks: Answered, views: int = 50) -> dict[Kind, Answered]:
    return {"click": clicks, "view": Answered(views)}


def test_what_is_all_stored_once_is_no_problem() -> None:
    assert WHOLE.problems(_answered(Answered(read=100))) == []
    assert WHOLE.problems(_answered(Answered(read=80, unread=20))) == []


def _storing(clicks: Stored) -> Ledger:
    return replace(WHOLE, stored={**WHOLE.stored, "click": clicks})


@pytest.mark.parametrize(
    ("ledger", "answered"),
    [
        (WHOLE, _answered(Answered(read=101))),  # lost
        (WHOLE, _answered(Answered(read=79, unread=20))),  # stored twice
        (WHOLE, _answered(Answered(read=100), views=51)),
        (_storing(Stored(100, 99, 100)), _answered(Answered(read=100))),
        (_storing(Stored(100, 100, 101)), _answered(Answered(read=100))),
        (replace(WHOLE, batches=149), _answered(Answered(read=100))),
        (replace(WHOLE, accepted=151), _answered(Answered(read=100))),
        (replace(WHOLE, accepted=151, dropped=1), _answered(Answered(read=100))),
    ],
)
def test_anything_that_is_missing_or_there_twice_is_a_problem(ledger: Ledger, answered: dict[Kind, Answered]) -> None:
    assert len(ledger.problems(answered)) == 1


def test_failed_answers_are_not_counted_and_unanswered_requests_never_were() -> None:
    run = Measurement(100, 1.0, 1.0, 1.0, {"404": 3, "connection": 5}, unread=4)
    assert Answered(10, 1).plus(Answered.of(run)) == Answered(read=107, unread=5)


def test_what_came_since_is_the_difference_in_every_place() -> None:
    later = Ledger(170, 1, 169, {"click": Stored(110, 111, 112), "view": Stored(60, 61, 62)})
    assert later.minus(WHOLE) == Ledger(20, 1, 19, {"click": Stored(10, 11, 12), "view": Stored(10, 11, 12)})
