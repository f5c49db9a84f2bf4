"""What the benchmark concludes from its figures: goals, ratios, and what is published."""

import json
from datetime import UTC, datetime

import pytest

from tests.bench.cold_start import ColdStart
from tests.bench.contenders import Contender, Server, in_turn
from tests.bench.counting import Answered, Kind, Ledger, Reckoning, Stored
from tests.bench.goals import MemoryGoal, P99Goal, RateGoal
from tests.bench.measurement import Measurement, Spread
from tests.bench.peers import Peer
from tests.bench.report import Report
from tests.bench.results import Result, Run, Sample
from tests.bench.rounds import Pace
from tests.bench.scenario_report import ScenarioReport
from tests.bench.scenarios import PLAIN, SCENARIOS, US, Scenario

SCENARIO = Scenario("redirect", "redirect, warm", "slugs", goals=(RateGoal(PLAIN, 6.0), RateGoal("absent", 1.0)))
BEGAN = Sample(7.0, 0.0, 0, 0, 0)
ENDED = Sample(8.0, 0.0, 0, 0, 0)


def _measurement(rate: float, p99_ms: float = 2.0, **errors: int) -> Measurement:
    return Measurement(int(rate), 1.0, p50_ms=1.0, p99_ms=p99_ms, errors=errors)


def _result(name: str, *rates: float, p99_ms: float = 2.0, rss_bytes: int = 10_000_000, **errors: int) -> Result:
    contender = Contender(name, "as it is", Server(80, leader=None), in_turn(["/s00001"], status=302))
    runs = [Run(_measurement(rate, p99_ms, **errors), 0.5, rss_bytes, BEGAN, ENDED) for rate in rates]
    return Result(contender, tuple(runs), body_bytes=0)


def _reckoning(clicks: int = 100) -> Reckoning:
    stored: dict[Kind, Stored] = {"click": Stored(clicks, clicks, clicks), "view": Stored(0, 0, 0)}
    return Reckoning({"click": Answered(clicks), "view": Answered()}, Ledger(clicks, 0, clicks, stored))


def _report(
    *results: Result,
    scenario: Scenario = SCENARIO,
    rounds: int = 3,
    busy: float = 2.0,
    is_whole: bool = True,
    exact: Reckoning | None = None,
) -> Report:
    return Report(
        began=datetime(2026, 11, 20, tzinfo=UTC),
        client="wrk",
        pace=Pace(rounds, 5.0, 3.0),
        is_whole=is_whole,
        scenarios=[ScenarioReport(scenario, results, Spread(1.0, 0.0, busy))],
        cold_starts=[
            ColdStart(US, Spread(1.5, 1.0, 2.0), Spread(1.6, 1.0, 2.0)),
            ColdStart(PLAIN, Spread.of([1]), None),
        ],
        reckoning=_reckoning(),
        exact=exact or _reckoning(),
        pipeline_cpu_seconds=1.0,
        slowest_drain_seconds=2.0,
    )


def test_the_ratio_is_that_of_the_medians() -> None:
    report = _report(_result(US, 600, 50_000, 700), _result(PLAIN, 90, 100, 1))
    verdict = RateGoal(PLAIN, 6.0).judge(report.scenarios[0].ours, {PLAIN: report.scenarios[0].results[1]})
    assert verdict is not None
    assert verdict.value == pytest.approx(700 / 90)
    assert verdict.is_reached
    assert report.problems() == []


def test_a_missed_goal_is_a_problem_and_one_whose_peer_is_absent_is_none() -> None:
    report = _report(_result(US, 500), _result(PLAIN, 100))
    assert report.problems() == ["redirect: rate at least 6 times that of plain Django is a goal missed: 5.00 times"]
    assert "5.00 times, **missed**" in report.text()
    assert "took no part" in report.text()


@pytest.mark.parametrize(("p99_ms", "is_reached"), [(25.0, True), (26.0, False)])
def test_a_latency_goal_is_a_greatest_share_of_theirs(p99_ms: float, is_reached: bool) -> None:
    ours, theirs = _result(US, 500, p99_ms=p99_ms), _result("linklift", 100, p99_ms=100.0)
    verdict = P99Goal("linklift", 0.25).judge(ours, {"linklift": theirs})
    assert verdict is not None
    assert verdict.is_reached is is_reached
    assert P99Goal("absent", 0.25).judge(ours, {}) is None


@pytest.mark.parametrize(("megabytes", "is_reached"), [(300, True), (301, False)])
def test_a_memory_goal_is_about_our_largest_process(megabytes: int, is_reached: bool) -> None:
    verdict = MemoryGoal(300).judge(_result(US, 500, rss_bytes=megabytes * 1_000_000), {})
    assert verdict is not None
    assert verdict.is_reached is is_reached


def test_any_error_is_shown_and_is_a_problem() -> None:
    report = _report(_result(US, 700, 700, timeout=2), _result(PLAIN, 100))
    assert report.problems() == ["redirect: Link Layer: errors {'timeout': 4}"]
    assert "timeout: 4" in report.text()


def test_errors_of_what_was_asked_beside_count_as_well() -> None:
    run = Run(_measurement(700), 0.5, 1, BEGAN, ENDED, beside=_measurement(10, **{"503": 3}))
    result = Result(_result(US, 1).contender, (run,), body_bytes=0)
    assert result.errors == {"503": 3}


@pytest.mark.parametrize(("waiting", "problems"), [((1, 1), 0), ((0, 1), 1), ((1, 0), 1)])
def test_a_pipeline_that_runs_out_of_work_is_a_problem_where_it_must_not(
    waiting: tuple[int, int], problems: int
) -> None:
    began, ended = Sample(7.0, 1.0, 0, 0, waiting[0]), Sample(9.0, 2.0, 0, 0, waiting[1])
    busy = Scenario("pipeline-busy", "busy", "slugs", keeps_pipeline_busy=True)
    ours = Result(_result(US, 1).contender, (Run(_measurement(700), 0.5, 1, began, ended),), body_bytes=0)
    report = _report(ours, scenario=busy)
    assert len(report.problems()) == problems
    assert "used 50 to 50 % of one core" in report.text()


@pytest.mark.parametrize(("reads", "problems"), [(95, 0), (80, 1)])
def test_a_tier_1_that_answers_is_a_problem_where_it_must_not(reads: int, problems: int) -> None:
    run = Run(_measurement(100), 0.5, 1, BEGAN, Sample(8.0, 0.0, reads, 0, 0))
    missing = Scenario("tier-2", "tier 2", "slugs", misses_tier1=True)
    report = _report(Result(_result(US, 1).contender, (run,), body_bytes=0), scenario=missing)
    assert len(report.problems()) == problems


def test_reads_of_tier_2_are_told_per_answer() -> None:
    run = Run(_measurement(100), 0.5, 1, Sample(7.0, 0.0, 5, 5, 0), Sample(8.0, 0.0, 50, 10, 0))
    assert (run.tier2_reads_per_answer, run.tier2_misses_per_answer) == (0.5, 0.05)


def test_what_cannot_be_seen_of_a_peer_is_not_made_up() -> None:
    section = _report(_result(US, 700), _result(PLAIN, 100)).scenarios[0].section()
    row = next(line for line in section.splitlines() if line.startswith(f"| {PLAIN}"))
    assert [cell.strip() for cell in row.split("|")[6:8]] == ["?", "?"]


def test_the_summary_comes_first_and_has_a_row_for_each_goal_and_scenario() -> None:
    report = _report(_result(US, 700), _result(PLAIN, 100))
    lines = report.text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("## "))
    rows = [line for line in lines[:first] if line.startswith("|")][2:]
    assert len(rows) == 3
    assert "700 req/s" in rows[0]
    assert "7.00 times, reached" in rows[0]
    assert "first redirect after 1.50 s" in rows[2]


def test_the_json_holds_every_run() -> None:
    figures = json.loads(json.dumps(_report(_result(US, 600, 700), _result(PLAIN, 100)).to_json()))
    runs = figures["scenarios"][0]["contenders"][0]["runs"]
    assert [run["rate"] for run in runs] == [600, 700]
    assert figures["reckoning"]["ledger"]["stored"]["click"]["rows"] == 100


def test_a_selection_few_rounds_or_a_busy_machine_are_not_for_the_document() -> None:
    ours, plain = _result(US, 700), _result(PLAIN, 100)
    assert _report(ours, plain).reason_to_doubt() == ""
    assert "all scenarios" in _report(ours, plain, is_whole=False).reason_to_doubt()
    assert "3 rounds" in _report(ours, plain, rounds=2).reason_to_doubt()
    assert "40 %" in _report(ours, plain, busy=40.0).reason_to_doubt()


def test_the_last_second_has_to_agree_as_well() -> None:
    lost = Reckoning({"click": Answered(101), "view": Answered()}, _reckoning().ledger)
    problems = _report(_result(US, 700), _result(PLAIN, 100), exact=lost).problems()
    assert problems == ["last second: answered 101 to 101, stored are 100 clicks"]


def test_every_scenario_has_a_name_of_its_own() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def test_a_peer_is_asked_its_numbered_paths() -> None:
    contender = Peer.parse("linklift=http://127.0.0.1:3900/s{n:05}").contender(range(1, 4), status=302)
    assert contender.requests.draw() == ("/s00001", "/s00002", "/s00003")
    assert (contender.name, contender.server.port) == ("linklift", 3900)


def test_a_peer_without_a_number_is_asked_one_path() -> None:
    contender = Peer.parse("other=http://127.0.0.1:3900/fixed").contender(range(1, 4), status=302)
    assert contender.requests.draw() == ("/fixed",)


@pytest.mark.parametrize("text", ["http://127.0.0.1:1/x", "a=https://b:1/c", "a=http://b/c", "a=http://b:1", "=", ""])
def test_a_malformed_peer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=http"):
        Peer.parse(text)
