"""How long a web takes from its start to its first redirect: the servers run and are migrated, the caches are warm."""

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from linklayer.embedded.door import free_port
from linklayer.embedded.processes import EmbeddedError, Program
from tests.bench import peers, product, rows
from tests.bench.asking import ask
from tests.bench.casts import Stage
from tests.bench.contenders import Server
from tests.bench.measurement import Spread
from tests.bench.rounds import Pace, busy_percent_at_rest
from tests.bench.scenarios import PLAIN, US

NAME = "cold-start"
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds from the start of the processes until an answer. ready: of /readyz, where there is one."""

    name: str
    first_redirect: Spread
    ready: Spread | None


def measure(stage: Stage, pace: Pace) -> tuple[list[ColdStart], int]:
    """Start web and plain Django in turn, once per round; return what they took, and our answered redirects."""
    redirects: dict[str, list[float]] = {US: [], PLAIN: []}
    ready: list[float] = []
    for number in range(pace.rounds):
        with ExitStack() as running:
            busy_percent_at_rest(pace)
            port = free_port()
            program = product.web(stage.environ, port, stage.folder / f"cold-{number}")
            first, ready_after = _start(stage, program, port, running, has_readyz=True)
            redirects[US].append(first)
            ready.append(ready_after)
        with ExitStack() as running:
            busy_percent_at_rest(pace)
            port = free_port()
            program = peers.plain_django(sys.executable, port, stage.folder, stage.environ)
            redirects[PLAIN].append(_start(stage, program, port, running, has_readyz=False)[0])
    ours = ColdStart(US, Spread.of(redirects[US]), Spread.of(ready))
    return [ours, ColdStart(PLAIN, Spread.of(redirects[PLAIN]), None)], pace.rounds


def _start(stage: Stage, program: Program, port: int, running: ExitStack, *, has_readyz: bool) -> tuple[float, float]:
    """Return the seconds until the first redirect, and until /readyz says 200 (until the redirect without one)."""
    began = time.monotonic()
    process = stage.keeper.start(program)
    running.callback(stage.keeper.stop, process)
    server = Server(port, process.pid)
    awaited = {f"/{rows.slug(1)}": 302} | ({"/readyz": 200} if has_readyz else {})
    answered: dict[str, float] = {}
    while len(answered) < len(awaited):
        for path in awaited.keys() - answered.keys():
            if _status(server, path) == awaited[path]:
                answered[path] = time.monotonic() - began
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise EmbeddedError(f"{program.name} is not up after {_PATIENCE_SECONDS:.0f} s: see {program.log}")
        time.sleep(_LOOK_SECONDS)
    first = answered[f"/{rows.slug(1)}"]
    return first, answered.get("/readyz", first)


def _status(server: Server, path: str) -> int:
    """Return the status of an answer, 0 while nobody listens."""
    try:
        return ask(server, "GET", path)[0]
    except OSError:
        return 0
