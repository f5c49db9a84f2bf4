"""What one scenario says: its rows of the summary, its own section, its part of the JSON, and what is wrong with it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.goals import MEGABYTE, Goal, Verdict
from tests.bench.measurement import Spread
from tests.bench.results import Result, Run
from tests.bench.scenarios import US, Scenario
from tests.bench.tables import table

# Of the answers; equal keys that are asked for at once are read from tier 2 together.
_NEARLY_ALL = 0.9
_HEAD = ("server", "req/s (low to high)", "ours is", "p50 ms", "p99 ms", "CPU µs/req", "RSS MB", "errors")


@dataclass(frozen=True, slots=True)
class ScenarioReport:
    """One scenario's results; ours is among them."""

    scenario: Scenario
    results: Sequence[Result]
    busy_percent: Spread

    @property
    def ours(self) -> Result:
        return next(result for result in self.results if result.contender.name == US)

    def ratio(self, result: Result) -> float:
        """Return our median rate divided by that contender's."""
        return self.ours.rate.median / result.rate.median if result.rate.median else 0.0

    def verdicts(self) -> list[tuple[Goal, Verdict | None]]:
        """Return each goal with how it was met; None where whom it compares us with took no part."""
        by_name = {result.contender.name: result for result in self.results}
        return [(goal, goal.judge(self.ours, by_name)) for goal in self.scenario.goals]

    def problems(self) -> list[str]:
        """Return why the results must not be believed or are not good enough; empty when all is well."""
        name = self.scenario.name
        found = [f"{name}: {one.contender.name}: errors {one.errors}" for one in self.results if one.errors]
        if self.scenario.keeps_pipeline_busy and not all(run.pipeline_was_busy for run in self.ours.runs):
            found.append(f"{name}: the pipeline ran out of work during a run")
        if self.scenario.misses_tier1 and min(run.tier2_reads_per_answer for run in self.ours.runs) < _NEARLY_ALL:
            found.append(f"{name}: tier 1 answered during a run")
        missed = [(goal, verdict) for goal, verdict in self.verdicts() if verdict and not verdict.is_reached]
        return found + [f"{name}: {goal} is a goal missed: {verdict.said}" for goal, verdict in missed]

    def summary(self) -> list[list[str]]:
        """Return rows of four cells: scenario, ours, goal, result."""
        ours = f"{self.ours.rate.median:,.0f} req/s, p99 {self.ours.p99_ms.median:.1f} ms"
        goals = [[str(goal), _said(verdict)] for goal, verdict in self.verdicts()] or [["none", "reported"]]
        begins = [[self.scenario.title, ours]] + [["", ""]] * (len(goals) - 1)
        return [begin + goal for begin, goal in zip(begins, goals, strict=True)]

    def section(self) -> str:
        """Return the section in Markdown, with its heading."""
        scenario, busy = self.scenario, self.busy_percent
        how = (
            f"{scenario.connections} keep-alive connections, which asked for {scenario.asked}. Before each run the "
            f"machine came to rest; {busy.low:.0f} to {busy.high:.0f} % of the processors were in use then."
        )
        parts = [
            f"## {scenario.title}",
            how,
            table(_HEAD, [self._row(result) for result in sorted(self.results, key=lambda one: -one.rate.median)]),
            "\n".join(f"- Goal: {goal}. Result: {_said(verdict)}." for goal, verdict in self.verdicts()),
            "\n".join([*(self._remark(result) for result in self.results), *self._facts()]),
        ]
        return "\n\n".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.scenario.name,
            "title": self.scenario.title,
            "connections": self.scenario.connections,
            "busyPercent": asdict(self.busy_percent),
            "goals": [
                {"goal": str(goal), "result": asdict(verdict) if verdict else None} for goal, verdict in self.verdicts()
            ],
            "contenders": [
                {
                    "name": result.contender.name,
                    "remark": result.contender.remark,
                    "ratio": self.ratio(result),
                    "bodyBytes": result.body_bytes,
                    "runs": [{**asdict(run), "rate": run.measurement.rate} for run in result.runs],
                }
                for result in self.results
            ],
        }

    def _row(self, result: Result) -> list[str]:
        rate, visible = result.rate, result.contender.server.leader is not None
        return [
            result.contender.name,
            f"{rate.median:,.0f} ({rate.low:,.0f} to {rate.high:,.0f})",
            "" if result is self.ours else f"{self.ratio(result):.2f} times",
            f"{result.p50_ms.median:.2f}",
            f"{result.p99_ms.median:.2f}",
            f"{result.cpu_microseconds.median:.0f}" if visible else "?",
            f"{result.rss_bytes / MEGABYTE:.0f}" if visible else "?",
            ", ".join(f"{kind}: {count}" for kind, count in result.errors.items()) or "none",
        ]

    def _remark(self, result: Result) -> str:
        return f"- {result.contender.name}: {result.contender.remark}; a body of {result.body_bytes:,} bytes."

    def _facts(self) -> list[str]:
        """Return what else was seen during our runs: the pipeline, tier 2, and the second client."""
        runs = self.ours.runs
        behind = (
            f"- During the runs of {US} shipper and clicks worker used {_percents(runs)} of one core, and per answer "
            f"{_median(run.tier2_reads_per_answer for run in runs)} keys were asked of tier 2, "
            f"{_median(run.tier2_misses_per_answer for run in runs)} of them in vain."
        )
        facts = [behind]
        if beside := self.ours.beside:
            rate = Spread.of(measured.rate for measured in beside)
            p99 = Spread.of(measured.p99_ms for measured in beside)
            facts.append(
                f"- Beside them the second client got {rate.median:,.0f} answers a second ({rate.low:,.0f} to "
                f"{rate.high:,.0f}), p99 {p99.median:.1f} ms; what they cost is in our CPU and memory."
            )
        return facts


def _said(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not measured: who it is about took no part"
    return f"{verdict.said}, {'reached' if verdict.is_reached else '**missed**'}"


def _percents(runs: Sequence[Run]) -> str:
    shares = Spread.of(run.pipeline_share * 100 for run in runs)
    return f"{shares.low:.0f} to {shares.high:.0f} %"


def _median(figures: Iterable[float]) -> str:
    return f"{Spread.of(figures).median:.4f}"
