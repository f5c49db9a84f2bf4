"""What the benchmark says: a summary, the scenarios and the count, for the terminal, JSON and docs/benchmarks.md."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from tests.bench.cold_start import ColdStart
from tests.bench.counting import Reckoning
from tests.bench.machine import machine, versions
from tests.bench.measurement import Spread
from tests.bench.rounds import Pace
from tests.bench.scenario_report import ScenarioReport
from tests.bench.tables import table

# A figure for the document needs at least this, and a machine that is ours; other runs are for trying things out.
LEAST_ROUNDS, LEAST_SECONDS = 3, 5.0
MOST_BUSY_PERCENT = 25

_HOW_TO_READ = (
    "Client and servers share the machine. Rates are medians over the rounds, with the lowest and the highest; "
    "latencies are medians of the rounds' percentiles, as a closed loop sees them. CPU is the serving processes' "
    "alone; RSS is that of the largest of them."
)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole benchmark. is_whole: no scenario was left out.

    reckoning: of all but the last second, exact: of that second. problems: why it must not be believed or is not good
    enough; empty when all is well.
    """

    began: datetime
    client: str
    pace: Pace
    is_whole: bool
    scenarios: Sequence[ScenarioReport]
    cold_starts: Sequence[ColdStart]
    reckoning: Reckoning
    exact: Reckoning
    pipeline_cpu_seconds: float
    slowest_drain_seconds: float

    def problems(self) -> list[str]:
        found = [*self.reckoning.problems(), *(f"last second: {each}" for each in self.exact.problems())]
        return found + [problem for report in self.scenarios for problem in report.problems()]

    def reason_to_doubt(self) -> str:
        """Return why these figures are too few or too disturbed for the document, an empty string if they are not."""
        if not self.is_whole:
            return "it takes all scenarios"
        if self.pace.rounds < LEAST_ROUNDS or self.pace.seconds < LEAST_SECONDS:
            return f"it takes {LEAST_ROUNDS} rounds of {LEAST_SECONDS:g} s"
        busy = max((report.busy_percent.high for report in self.scenarios), default=0.0)
        if busy > MOST_BUSY_PERCENT:
            return f"others used up to {busy:.0f} % of the processors (at most {MOST_BUSY_PERCENT} are fair)"
        return ""

    def text(self) -> str:
        """Return the report in Markdown, without a title."""
        used = ", ".join(f"{name} {version}" for name, version in versions().items())
        load = f"Load: {self.client}, runs of {self.pace.seconds:.0f} s, {self.pace.rounds} rounds in turn."
        parts = [
            f"Measured {self.began:%Y-%m-%d %H:%M} UTC by `make bench` on {machine()}.",
            self._summary(),
            f"{load} {_HOW_TO_READ}",
            *(report.section() for report in self.scenarios),
            self._cold_start_section(),
            f"## Clicks and views\n\n{self._counts()}",
            f"## Versions\n\n{used}.",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured, each run of it, as JSON-able values."""
        return {
            "began": self.began.isoformat(),
            "machine": machine(),
            "client": self.client,
            "pace": asdict(self.pace),
            "versions": versions(),
            "scenarios": [report.to_json() for report in self.scenarios],
            "coldStarts": [asdict(start) for start in self.cold_starts],
            "reckoning": asdict(self.reckoning),
            "exact": asdict(self.exact),
            "pipelineCpuSeconds": self.pipeline_cpu_seconds,
            "slowestDrainSeconds": self.slowest_drain_seconds,
            "problems": self.problems(),
        }

    def _summary(self) -> str:
        rows = [row for report in self.scenarios for row in report.summary()]
        if self.cold_starts:
            ours, *others = self.cold_starts
            first = f"first redirect after {ours.first_redirect.median:.2f} s"
            beside = ", ".join(f"{other.name} {other.first_redirect.median:.2f} s" for other in others)
            rows.append(["cold start", first, "none", f"reported; {beside}"])
        return table(("scenario", "Link Layer", "goal", "result"), rows) if rows else ""

    def _cold_start_section(self) -> str:
        if not self.cold_starts:
            return ""
        rows = [
            [start.name, _seconds(start.first_redirect), _seconds(start.ready) if start.ready else "has none"]
            for start in self.cold_starts
        ]
        return (
            "## Cold start\n\nFrom the start of the processes until an answer; PostgreSQL and the cache run, are "
            "migrated and warm, and the programs' files are in the system's page cache.\n\n"
            + table(("server", "first redirect, s (low to high)", "/readyz 200, s (low to high)"), rows)
        )

    def _counts(self) -> str:
        ledger, exact = self.reckoning.ledger, self.exact.ledger
        lines = [
            f"- {kind}s: the load clients read {answered.read:,} answers{_margin(answered.unread)}; stored are "
            f"{stored.rows:,} rows, the totals say {stored.totals:,}, the 15-minute aggregate {stored.quarter_hours:,}."
            for kind, answered in self.reckoning.answered.items()
            for stored in [ledger.stored[kind]]
        ]
        answered_exactly = sum(answered.read for answered in self.exact.answered.values())
        wrong = [*self.reckoning.problems(), *self.exact.problems()]
        cost = self.pipeline_cpu_seconds / max(1, ledger.rows + exact.rows) * 1e6
        lines.append(f"- Web accepted {ledger.accepted:,} of both, dropped {ledger.dropped:,}.")
        lines.append(
            f"- In a last second, by a client that waits for every answer, {answered_exactly:,} requests were answered "
            f"and {exact.rows:,} rows stored."
        )
        lines.append(
            f"- Shipping and storing took {cost:.0f} µs of CPU per click or view; after a run it took "
            f"{self.slowest_drain_seconds:.1f} s at most until its last one was stored."
        )
        verdict = f"**Wrong: {'; '.join(wrong)}.**" if wrong else "Every count agrees."
        return f"What Link Layer answered and what stands in its ledger. {verdict}\n\n" + "\n".join(lines)


def _margin(unread: int) -> str:
    return f" (wrk stops without reading what is under way: at most {unread:,} more)" if unread else ""


def _seconds(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"
