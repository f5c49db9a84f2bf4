"""`make bench` as a whole, in its shortest form: not how fast anything is, but that it measures and counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.scenarios import PLAIN, US

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(180)  # seconds of load, whatever else the machine does
def test_the_benchmark_measures_us_beside_plain_django_and_finds_every_click(tmp_path: Path) -> None:
    short = ["--seconds", "1", "--warm-up", "1", "--rounds", "1", "--results", str(tmp_path)]
    document = ROOT / "docs" / "benchmarks.md"
    before = document.read_text() if document.exists() else None
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench", *short], cwd=ROOT, capture_output=True, text=True, check=False
    )

    written = list(tmp_path.iterdir())
    assert [path.suffix for path in written] == [".json"], ended.stderr  # and its servers' data went with them
    figures = json.loads(written[0].read_text())
    contenders = {one["name"]: one["runs"] for one in figures["scenarios"][0]["contenders"]}
    assert {US, PLAIN} <= set(contenders)
    assert all(run["measurement"]["errors"] == {} for runs in contenders.values() for run in runs)
    answered, ledger = figures["answered"], figures["ledger"]
    assert answered["read"] <= ledger["rows"] <= answered["read"] + answered["unread"]
    assert ledger["rows"] == ledger["accepted"] == ledger["totals"] == ledger["quarter_hours"] == ledger["batches"] > 0
    # A goal may be missed in a second on a busy machine; nothing else may be wrong.
    assert all(", not " in problem for problem in figures["problems"])
    assert (document.read_text() if document.exists() else None) == before
