"""What the benchmark concludes from its figures: goals, ratios, and whether every click was counted."""

import json
from datetime import UTC, datetime

import pytest

from tests.bench.contenders import Contender, Peer
from tests.bench.counting import Answered, Ledger
from tests.bench.measurement import Measurement, Spread
from tests.bench.report import Report, ScenarioReport
from tests.bench.rounds import Result, Run
from tests.bench.scenarios import PLAIN, US, Goal, Scenario

SCENARIO = Scenario("redirect, warm", links=1000, goals=(Goal(PLAIN, 6.0), Goal("absent", 1.0)))
WHOLE = Ledger(accepted=100, dropped=0, batches=100, rows=100, totals=100, quarter_hours=100)


def _measurement(rate: float, **errors: int) -> Measurement:
    return Measurement(int(rate), 1.0, p50_ms=1.0, p99_ms=2.0, errors=errors)


def _result(name: str, *rates: float, **errors: int) -> Result:
    contender = Contender(name, "as it is", 80, {SCENARIO.name: ("/s00001",)}, leader=None)
    return Result(contender, tuple(Run(_measurement(rate, **errors), 0.5, 10_000_000) for rate in rates))


def _report(ours: Result, plain: Result, ledger: Ledger = WHOLE, *, rounds: int = 3, busy: float = 2.0) -> Report:
    return Report(
        began=datetime(2026, 11, 20, tzinfo=UTC),
        client="wrk",
        seconds=5.0,
        rounds=rounds,
        scenarios=[ScenarioReport(SCENARIO, [ours, plain], Spread(1.0, 0.0, busy))],
        answered=Answered(read=100),
        ledger=ledger,
        pipeline_cpu_seconds=1.0,
        slowest_drain_seconds=2.0,
    )


def test_the_ratio_is_that_of_the_medians() -> None:
    report = _report(_result(US, 600, 50_000, 700), _result(PLAIN, 90, 100, 1))
    assert report.scenarios[0].goal_checks()[0].ratio == pytest.approx(700 / 90)
    assert report.problems() == []


def test_a_missed_goal_is_a_problem_and_one_whose_peer_is_absent_is_none() -> None:
    report = _report(_result(US, 500), _result(PLAIN, 100))
    assert report.problems() == ["redirect, warm: 5.00 times plain Django, not 6"]
    assert "**missed**" in report.text()


def test_any_error_is_shown_and_is_a_problem() -> None:
    report = _report(_result(US, 700, 700, timeout=2), _result(PLAIN, 100))
    assert report.problems() == ["Link Layer: errors {'timeout': 4}"]
    assert "timeout: 4" in report.text()


def test_what_cannot_be_seen_of_a_peer_is_not_made_up() -> None:
    row = _report(_result(US, 700), _result(PLAIN, 100)).scenarios[0].table().splitlines()[-1]
    assert row.split("|")[6:8] == [" ?          ", " ?      "]


def test_the_json_holds_every_run() -> None:
    figures = json.loads(json.dumps(_report(_result(US, 600, 700), _result(PLAIN, 100)).to_json()))
    runs = figures["scenarios"][0]["contenders"][0]["runs"]
    assert [run["rate"] for run in runs] == [600, 700]
    assert figures["ledger"]["rows"] == 100


def test_figures_from_few_rounds_or_a_busy_machine_are_not_for_the_document() -> None:
    ours, plain = _result(US, 700), _result(PLAIN, 100)
    assert _report(ours, plain).reason_to_doubt() == ""
    assert "3 rounds" in _report(ours, plain, rounds=2).reason_to_doubt()
    assert "40 %" in _report(ours, plain, busy=40.0).reason_to_doubt()


def test_clicks_that_are_all_stored_once_are_no_problem() -> None:
    assert WHOLE.problems(Answered(read=100)) == []
    assert WHOLE.problems(Answered(read=80, unread=20)) == []


@pytest.mark.parametrize(
    ("ledger", "answered"),
    [
        (WHOLE, Answered(read=101)),  # lost
        (WHOLE, Answered(read=79, unread=20)),  # stored twice
        (Ledger(100, 0, 100, 100, 99, 100), Answered(read=100)),
        (Ledger(100, 0, 100, 100, 100, 101), Answered(read=100)),
        (Ledger(100, 0, 99, 100, 100, 100), Answered(read=100)),
        (Ledger(101, 0, 100, 100, 100, 100), Answered(read=100)),
        (Ledger(101, 1, 100, 100, 100, 100), Answered(read=100)),
    ],
)
def test_any_click_that_is_missing_or_there_twice_is_a_problem(ledger: Ledger, answered: Answered) -> None:
    assert len(ledger.problems(answered)) == 1


def test_failed_answers_are_no_redirects_and_unanswered_requests_were_never_counted() -> None:
    answered = Answered(10, 1).plus(Measurement(100, 1.0, 1.0, 1.0, {"404": 3, "connection": 5}, unread=4))
    assert answered == Answered(read=107, unread=5)


def test_a_peer_is_asked_its_numbered_paths() -> None:
    peer = Peer.parse("linklift=http://127.0.0.1:3900/s{n:05}")
    contender = peer.contender(SCENARIO.name, range(1, 4))
    assert contender.paths[SCENARIO.name] == ("/s00001", "/s00002", "/s00003")
    assert (contender.name, contender.port) == ("linklift", 3900)


def test_a_peer_without_a_number_is_asked_one_path() -> None:
    contender = Peer.parse("other=http://127.0.0.1:3900/fixed").contender(SCENARIO.name, range(1, 4))
    assert contender.paths[SCENARIO.name] == ("/fixed",)


@pytest.mark.parametrize("text", ["http://127.0.0.1:1/x", "a=https://b:1/c", "a=http://b/c", "a=http://b:1", "=", ""])
def test_a_malformed_peer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=http"):
        Peer.parse(text)
