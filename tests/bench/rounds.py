"""Runs a scenario: all contenders in turn, round after round, so that what else the machine does meets them all."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import psutil

from tests.bench.contenders import Contender, Requests
from tests.bench.load import put_load
from tests.bench.load_client import Orders
from tests.bench.measurement import Measurement, Spread
from tests.bench.results import Run, Sample
from tests.bench.scenarios import Scenario

# Before each run the machine is to come to rest: a peer that answers first and stores later would otherwise store
# while the next one is measured. We look this long at a time, for as long as so many runs take, and then go on all the
# same.
_LOOK_SECONDS = 0.5
_PATIENCE_RUNS = 6
_AT_REST_PERCENT = 10.0
# A client beside the main one has this many connections, begins this much before it, and ends as much after it.
_BESIDE_CONNECTIONS = 4
_BESIDE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long: rounds, seconds of each run, and seconds of load before the first."""

    rounds: int
    seconds: float
    warm_up_seconds: float


class Witness(Protocol):
    """Who is told of every load, in the order in which they take place."""

    def sample(self) -> Sample:
        """Return what our parts have done so far."""

    def answered(self, contender: Contender, measurement: Measurement) -> None:
        """Count what a contender has answered."""

    def settle(self, contender: Contender, measurement: Measurement) -> None:
        """Called after a run; may wait until the contender has done what it has put off."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """The runs of one scenario by contender. busy_percent: of all processors, used while nothing was measured."""

    runs: dict[str, tuple[Run, ...]]
    busy_percent: Spread


def run_scenario(scenario: Scenario, contenders: Sequence[Contender], pace: Pace, witness: Witness) -> Rounds:
    """Measure every contender once per round, each round beginning with another one.

    A load of pace.warm_up_seconds goes before, in which what is asked for is to reach every process.
    """
    for contender in contenders:
        measured, _ = _loads(scenario, contender, pace.warm_up_seconds)
        witness.answered(contender, measured)
        witness.settle(contender, measured)
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    busy: list[float] = []
    for number in range(pace.rounds):
        turn = number % len(contenders)
        for contender in [*contenders[turn:], *contenders[:turn]]:
            busy.append(busy_percent_at_rest(pace))
            run = _run(scenario, contender, pace.seconds, witness)
            runs[contender.name].append(run)
            witness.settle(contender, run.measurement)
    return Rounds({name: tuple(each) for name, each in runs.items()}, Spread.of(busy))


def busy_percent_at_rest(pace: Pace) -> float:
    """Wait until the machine is at rest, but not for ever; return what is still used of all its processors."""
    give_up_at = time.monotonic() + pace.seconds * _PATIENCE_RUNS
    while True:
        busy: float = psutil.cpu_percent(interval=_LOOK_SECONDS)
        if busy <= _AT_REST_PERCENT or time.monotonic() > give_up_at:
            return busy


def _run(scenario: Scenario, contender: Contender, seconds: float, witness: Witness) -> Run:
    if contender.lead_in_seconds:
        witness.answered(contender, _load(scenario, contender, contender.lead_in_seconds))
    began, used = witness.sample(), contender.server.cpu_seconds()
    measured, beside = _loads(scenario, contender, seconds)
    cpu_seconds = contender.server.cpu_seconds() - used
    ended = witness.sample()
    witness.answered(contender, measured)
    return Run(measured, cpu_seconds, contender.server.largest_rss_bytes(), began, ended, beside)


def _loads(scenario: Scenario, contender: Contender, seconds: float) -> tuple[Measurement, Measurement | None]:
    """Load, with the second client beside if there is to be one; return what both measured."""
    if contender.beside is None:
        return _load(scenario, contender, seconds), None
    theirs = orders(contender, contender.beside, _BESIDE_CONNECTIONS, seconds + 2 * _BESIDE_SECONDS)
    with ThreadPoolExecutor(max_workers=1) as second:
        loading = second.submit(put_load, theirs)
        time.sleep(_BESIDE_SECONDS)
        return _load(scenario, contender, seconds), loading.result()


def _load(scenario: Scenario, contender: Contender, seconds: float) -> Measurement:
    return put_load(orders(contender, contender.requests, scenario.connections, seconds))


def orders(contender: Contender, requests: Requests, connections: int, seconds: float) -> Orders:
    """Return the orders that put these requests to a contender."""
    return Orders(
        contender.server.host,
        contender.server.port,
        tuple(requests.draw()),
        connections,
        seconds,
        method=requests.method,
        headers=tuple(requests.headers.items()),
        body=requests.body,
    )
