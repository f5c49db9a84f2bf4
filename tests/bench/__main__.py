"""`make bench`: measures Link Layer beside its peers on this machine, and checks that every click was counted.

Starts everything itself but the peers given by address, on loopback and private sockets, and ends all of it. Exits with
1 when a request failed, a click or view is missing or there twice, or a goal is not reached.
"""

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from linklayer.embedded.processes import EmbeddedError, Keeper
from linklayer.embedded.session import temporary_folder
from tests.bench import bench, cold_start
from tests.bench.bench import say
from tests.bench.load import client_name
from tests.bench.peers import Peer
from tests.bench.product import ROOT
from tests.bench.report import LEAST_ROUNDS, LEAST_SECONDS, Report
from tests.bench.rounds import Pace
from tests.bench.scenarios import SCENARIOS

RESULTS = ROOT / "var" / "bench"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
NAMES = (*(scenario.name for scenario in SCENARIOS), cold_start.NAME)


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark and return the exit status."""
    began = datetime.now(UTC)
    chosen = arguments.scenario or NAMES
    pace = Pace(arguments.rounds, arguments.seconds, arguments.warm_up)
    with _working_folders(arguments.results) as (folder, sockets), Keeper() as keeper:
        running = bench.started(keeper, folder, sockets, arguments.peer, arguments.peer_profile)
        # Before the scenarios, of which the last leaves a million links behind.
        cold_starts = running.start_cold(pace) if cold_start.NAME in chosen else []
        reports = [running.measure(scenario, pace) for scenario in SCENARIOS if scenario.name in chosen]
        reckoning, exact = running.reckon()
        report = Report(
            began=began,
            client=client_name(),
            pace=pace,
            is_whole=set(chosen) == set(NAMES),
            scenarios=reports,
            cold_starts=cold_starts,
            reckoning=reckoning,
            exact=exact,
            pipeline_cpu_seconds=running.stage.pipeline.cpu_seconds(),
            slowest_drain_seconds=running.slowest_drain_seconds,
        )
    return _published(report, arguments.results)


@contextlib.contextmanager
def _working_folders(results: Path) -> Iterator[tuple[Path, Path]]:
    """Give a folder for data and logs on the project's disk, and a short one for sockets; both go afterwards.

    After an error the folder stays, for its logs. The spool must be on a real disk, which the system's folder for
    temporary files may not be.
    """
    folder = results / f"run-{time.time_ns()}"
    folder.mkdir(parents=True)
    sockets = Path(tempfile.mkdtemp(prefix="linklayer-bench-", dir=temporary_folder()))
    # PostgreSQL runs as another user when we are root, and passes through here to its own folder.
    sockets.chmod(0o711)
    is_wanted = False
    try:
        yield folder, sockets
    except (EmbeddedError, OSError, subprocess.CalledProcessError):
        is_wanted = True
        say(f"logs are kept in {folder}")
        raise
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
        if not is_wanted:
            shutil.rmtree(folder, ignore_errors=True)


def _published(report: Report, results: Path) -> int:
    figures = results / f"{report.began:%Y-%m-%dT%H-%M-%S}.json"
    figures.write_text(json.dumps(report.to_json(), indent=1) + "\n")
    say("\n" + report.text())
    say(f"every run: {figures}")
    reason = report.reason_to_doubt()
    if reason:
        say(f"{DOCUMENT.name} is left alone: {reason}")
    else:
        DOCUMENT.write_text("# Benchmarks\n\n" + report.text())
        say(f"written: {DOCUMENT}")
    for problem in report.problems():
        say(f"PROBLEM {problem}")
    return 1 if report.problems() else 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure Link Layer beside its peers.")
    parser.add_argument("--seconds", type=_positive(float), default=LEAST_SECONDS, help="length of a run (default 5)")
    parser.add_argument("--warm-up", type=_positive(float), default=3.0, help="seconds of load before (default 3)")
    parser.add_argument("--rounds", type=_positive(int), default=LEAST_ROUNDS, help="runs of each server (default 3)")
    parser.add_argument(
        "--scenario",
        choices=NAMES,
        action="append",
        default=[],
        help="only this one; may be given several times (a selection never writes the document)",
    )
    parser.add_argument(
        "--peer",
        type=_peer,
        action="append",
        default=[],
        metavar="NAME=URL",
        help="a running server whose redirects are measured as well; {n} in the path counts from 1 to 1000: "
        "linklift=http://127.0.0.1:3900/s{n:05}",
    )
    parser.add_argument(
        "--peer-profile",
        type=_peer,
        action="append",
        default=[],
        metavar="NAME=URL",
        help="a running server whose profiles are measured as well; {n} counts from 1 to 100: "
        "linklift=http://127.0.0.1:3900/api/profiles/p{n:05}",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files (default var/bench)")
    return parser.parse_args(argv)


def _positive(kind: type[float] | type[int]) -> Callable[[str], float]:
    def parsed(text: str) -> float:
        number = kind(text)
        if number < 1:
            raise ValueError(text)
        return number

    parsed.__name__ = "number from 1 on"  # argparse names it in its error
    return parsed


def _peer(text: str) -> Peer:
    try:
        return Peer.parse(text)
    except (ValueError, KeyError, IndexError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> int:
    """Obey the command line; SIGTERM ends everything that was started, as Ctrl-C does."""
    arguments = _arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return 130
    except (EmbeddedError, OSError, subprocess.CalledProcessError) as error:
        say(f"make bench: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
