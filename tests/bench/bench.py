"""One benchmark from beginning to end: the running servers, the scenarios in turn, and what was answered meanwhile."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from linklayer.embedded.door import free_port
from linklayer.embedded.processes import Keeper
from tests.bench import casts, cold_start, load_client, product
from tests.bench.asking import check, wait_for
from tests.bench.casts import Stage
from tests.bench.cold_start import ColdStart
from tests.bench.contenders import Contender, Server
from tests.bench.counting import KINDS, Answered, Reckoning, ledger
from tests.bench.measurement import Measurement
from tests.bench.peers import Peer
from tests.bench.results import Result, Sample
from tests.bench.rounds import Pace, orders, run_scenario
from tests.bench.scenario_report import ScenarioReport
from tests.bench.scenarios import LINKS, Scenario

_DRAIN_SECONDS = 600.0
_EXACT_CONNECTIONS, _EXACT_SECONDS = 20, 1.0


class Bench:
    """The running servers of one benchmark, and what they have answered so far; the Witness of its rounds."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.slowest_drain_seconds = 0.0
        self._answered = dict.fromkeys(KINDS, Answered())

    def measure(self, scenario: Scenario, pace: Pace) -> ScenarioReport:
        """Run one scenario with all who take part in it. Raises EmbeddedError."""
        say(f"{scenario.name}: {pace.rounds} rounds of {pace.seconds:g} s, each server warmed up first")
        with ExitStack() as extra:
            contenders = casts.cast(scenario, self.stage, extra)
            sizes = {contender.name: self._checked(contender) for contender in contenders}
            measured = run_scenario(scenario, contenders, pace, self)
        results = [Result(one, measured.runs[one.name], sizes[one.name]) for one in contenders]
        return ScenarioReport(scenario, results, measured.busy_percent)

    def start_cold(self, pace: Pace) -> list[ColdStart]:
        """Measure cold starts, one per round. Raises EmbeddedError."""
        say(f"{cold_start.NAME}: {pace.rounds} times")
        measured, redirects = cold_start.measure(self.stage, pace)
        self._answered["click"] = self._answered["click"].plus(Answered(redirects))
        return measured

    def reckon(self) -> tuple[Reckoning, Reckoning]:
        """Compare what was answered with what is stored: of all so far, and of a further second of each kind.

        That one is put on by the client that waits for every answer: its count has no margin, whoever ran before.
        """
        self.stage.pipeline.wait(_DRAIN_SECONDS)
        whole = Reckoning(self._answered, ledger())
        self._answered = dict.fromkeys(KINDS, Answered())
        for contender in (casts.ours(self.stage), casts.our_profiles(self.stage)):
            measured = load_client.run(orders(contender, contender.requests, _EXACT_CONNECTIONS, _EXACT_SECONDS))
            self.answered(contender, measured)
            self.settle(contender, measured)
        return whole, Reckoning(self._answered, ledger().minus(whole.ledger))

    # --- the witness

    def sample(self) -> Sample:
        return self.stage.pipeline.sample()

    def answered(self, contender: Contender, measurement: Measurement) -> None:
        if contender.becomes is not None:
            counted = Answered.of(measurement)
            self._answered[contender.becomes] = self._answered[contender.becomes].plus(counted)

    def settle(self, contender: Contender, measurement: Measurement) -> None:
        """Show a run; after one of ours, let the pipeline finish before anybody else's turn."""
        errors = f"  errors: {dict(measurement.errors)}" if measurement.errors else ""
        say(f"  {contender.name:<24} {measurement.rate:>9,.0f} req/s  p99 {measurement.p99_ms:7.2f} ms{errors}")
        if contender.becomes is not None:
            waited = self.stage.pipeline.wait(_DRAIN_SECONDS)
            self.slowest_drain_seconds = max(self.slowest_drain_seconds, waited)

    def _checked(self, contender: Contender) -> int:
        """Return the bytes of an answer's body, after asking for some. Raises EmbeddedError for a wrong answer."""
        asked, body_bytes = check(contender)
        if contender.becomes is not None:
            self._answered[contender.becomes] = self._answered[contender.becomes].plus(Answered(asked))
        return body_bytes


def started(keeper: Keeper, folder: Path, sockets: Path, peers: Sequence[Peer], profile_peers: Sequence[Peer]) -> Bench:
    """Start what runs during the whole benchmark, and fill it. Raises EmbeddedError."""
    say("starting PostgreSQL, Valkey and Link Layer …")
    environ: Mapping[str, str] = product.start_servers(keeper, folder, sockets)
    product.prepare(environ, LINKS)
    port = free_port()
    web = Server(port, keeper.start(product.web(environ, port, folder)).pid)
    pipeline = product.start_pipeline(keeper, environ, folder)
    wait_for("web", web, "/livez")
    stage = Stage(keeper, folder, environ, pipeline, web, product.api_key(), peers, profile_peers)
    return Bench(stage)


def say(text: str) -> None:
    """Tell whoever waits for the benchmark."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
