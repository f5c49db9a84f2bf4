"""`make bench`: measures Link Layer beside its peers on this machine, and checks that every click was counted.

Starts everything itself, on loopback and private sockets, and ends all of it. Exits with 1 when a request failed, a
click is missing or there twice, or a goal is not reached.
"""

import argparse
import contextlib
import http.client
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

from linklayer.embedded.door import free_port
from linklayer.embedded.processes import EmbeddedError, Keeper
from linklayer.embedded.session import temporary_folder
from tests.bench import contenders, load_client, product
from tests.bench.contenders import DESTINATION, SLUG, Contender, Peer
from tests.bench.counting import Answered, ledger
from tests.bench.load import client_name
from tests.bench.load_client import Orders
from tests.bench.measurement import Measurement
from tests.bench.product import ROOT, Product
from tests.bench.report import LEAST_ROUNDS, LEAST_SECONDS, Report, ScenarioReport
from tests.bench.rounds import run_scenario
from tests.bench.scenarios import NGINX, PLAIN, SCENARIOS, US, WARM_REDIRECT

RESULTS = ROOT / "var" / "bench"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
_START_SECONDS = 30.0
_DRAIN_SECONDS = 600.0
_CHECK_LINKS = 20


class Bench:
    """One benchmark: the running contenders, and what they have answered so far."""

    def __init__(self, ours: Product, taking_part: list[Contender]) -> None:
        self.ours = ours
        self.contenders = taking_part
        self.answered = Answered()
        self.slowest_drain_seconds = 0.0

    def note(self, contender: Contender, measurement: Measurement) -> None:
        """Show a run; after one of ours, count its answers and let the pipeline finish before anybody else's turn."""
        errors = f"  errors: {dict(measurement.errors)}" if measurement.errors else ""
        _say(f"  {contender.name:<16} {measurement.rate:>9,.0f} req/s  p99 {measurement.p99_ms:7.2f} ms{errors}")
        if contender.counts_clicks:
            self.answered = self.answered.plus(measurement)
            waited = self.ours.wait_for_pipeline(_DRAIN_SECONDS)
            self.slowest_drain_seconds = max(self.slowest_drain_seconds, waited)

    def check_answers(self) -> None:
        """Ask each contender for a redirect and compare it with what it must be. Raises EmbeddedError."""
        for contender in self.contenders:
            for path in contender.paths[WARM_REDIRECT.name][:_CHECK_LINKS]:
                status, location = _redirect(contender, path)
                if status != 302 or not location.startswith(DESTINATION.format(number="")):
                    raise EmbeddedError(f"{contender.name} answers {path} with {status} {location!r}, not a redirect")
                if contender.counts_clicks:
                    self.answered = Answered(self.answered.read + 1, self.answered.unread)

    def exact_load(self) -> None:
        """One more second by the client that waits for every answer: its count is exact, whoever ran before."""
        for contender in self.contenders:
            if contender.counts_clicks:
                paths = contender.paths[WARM_REDIRECT.name]
                self.note(contender, load_client.run(Orders(contender.host, contender.port, paths, 20, 1.0)))


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark and return the exit status."""
    began = datetime.now(UTC)
    with _working_folders(arguments.results) as (folder, sockets), Keeper() as keeper:
        bench = _started(keeper, folder, sockets, arguments.peer)
        bench.check_answers()
        reports = []
        for scenario in SCENARIOS:
            _say(f"{scenario.name}: {arguments.rounds} rounds of {arguments.seconds:g} s, each server warmed up first")
            measured = run_scenario(
                scenario,
                bench.contenders,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                warm_up_seconds=arguments.warm_up,
                after_run=bench.note,
            )
            reports.append(ScenarioReport(scenario, measured.results, measured.busy_percent))
        bench.exact_load()
        report = Report(
            began=began,
            client=client_name(),
            seconds=arguments.seconds,
            rounds=arguments.rounds,
            scenarios=reports,
            answered=bench.answered,
            ledger=ledger(),
            pipeline_cpu_seconds=bench.ours.pipeline_cpu_seconds(),
            slowest_drain_seconds=bench.slowest_drain_seconds,
        )
    return _published(report, arguments.results)


def _started(keeper: Keeper, folder: Path, sockets: Path, peers: Sequence[Peer]) -> Bench:
    _say("starting PostgreSQL, Valkey, Link Layer and its peers …")
    environ = product.start_servers(keeper, folder, sockets)
    links = WARM_REDIRECT.links
    product.prepare(environ, links)
    numbers = range(1, links + 1)
    paths = {WARM_REDIRECT.name: tuple(f"/{SLUG.format(number=number)}" for number in numbers)}
    port = free_port()
    ours = product.start(keeper, environ, port, folder)
    remark = f"{product.WEB_WORKERS} web workers, clicks captured; shipper and clicks worker run beside it, niced"
    taking_part = [Contender(US, remark, port, paths, ours.web, counts_clicks=True)]

    port = free_port()
    plain = keeper.start(contenders.plain_django(sys.executable, port, folder, environ)).pid
    remark = (
        f"one view, django-redis before PostgreSQL, no middleware, no clicks counted; gunicorn gthread, "
        f"{contenders.PLAIN_WORKERS} workers with {contenders.PLAIN_THREADS} threads"
    )
    taking_part.append(Contender(PLAIN, remark, port, paths, plain))

    port = free_port()
    program = contenders.nginx(port, folder)
    if program is not None:
        remark = "the same fixed 302 for every request, 2 workers, no log"
        taking_part.append(Contender(NGINX, remark, port, paths, keeper.start(program).pid))
    taking_part += [peer.contender(WARM_REDIRECT.name, numbers) for peer in peers]
    for contender in taking_part:
        _wait_for(contender)
    return Bench(ours, taking_part)


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
        _say(f"logs are kept in {folder}")
        raise
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
        if not is_wanted:
            shutil.rmtree(folder, ignore_errors=True)


def _wait_for(contender: Contender) -> None:
    """Wait until a contender answers at all. Raises EmbeddedError after 30 s."""
    path = contender.paths[WARM_REDIRECT.name][0]
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            status = _request("HEAD", contender, path)[0]
        except OSError as error:
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{contender.name} does not answer on port {contender.port}: {error}") from error
            time.sleep(0.1)
        else:
            if status < 500 or time.monotonic() > deadline:
                return


def _redirect(contender: Contender, path: str) -> tuple[int, str]:
    return _request("GET", contender, path)


def _request(method: str, contender: Contender, path: str) -> tuple[int, str]:
    """Return status and Location of one answer; a HEAD is never a click."""
    connection = http.client.HTTPConnection(contender.host, contender.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("Location", "")
    finally:
        connection.close()


def _published(report: Report, results: Path) -> int:
    figures = results / f"{report.began:%Y-%m-%dT%H-%M-%S}.json"
    figures.write_text(json.dumps(report.to_json(), indent=1) + "\n")
    _say("\n" + report.text())
    _say(f"every run: {figures}")
    reason = report.reason_to_doubt()
    if reason:
        _say(f"{DOCUMENT.name} is left alone: {reason}")
    else:
        DOCUMENT.write_text("# Benchmarks\n\n" + report.text())
        _say(f"written: {DOCUMENT}")
    for problem in report.problems():
        _say(f"PROBLEM {problem}")
    return 1 if report.problems() else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure Link Layer beside its peers.")
    parser.add_argument("--seconds", type=_positive(float), default=LEAST_SECONDS, help="length of a run (default 5)")
    parser.add_argument("--warm-up", type=_positive(float), default=3.0, help="seconds of load before (default 3)")
    parser.add_argument("--rounds", type=_positive(int), default=LEAST_ROUNDS, help="runs of each server (default 3)")
    parser.add_argument(
        "--peer",
        type=_peer,
        action="append",
        default=[],
        metavar="NAME=URL",
        help="a running server to measure as well; {n} in the path counts from 1 to 1000: linklift=http://127.0.0.1:3900/s{n:05}",
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
        _say(f"make bench: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
