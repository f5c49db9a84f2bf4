"""Who takes part in each scenario, and what it is asked.

What only one scenario needs is started for it and ends with it, so that nothing idle shares the machine.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from linklayer.embedded.door import free_port
from linklayer.embedded.processes import Keeper, Program
from tests.bench import peers, product, rows, scenarios
from tests.bench.asking import wait_for
from tests.bench.contenders import Contender, Requests, Server, in_turn
from tests.bench.peers import Peer
from tests.bench.product import Pipeline
from tests.bench.scenarios import LINKS, MILLION, US, Scenario
from tests.bench.zipf import Zipf

# Enough that a run of some seconds does not come to their end.
_ZIPF_PATHS = 400_000
# Makes a backlog that outlasts the run: the pipeline, niced, gets a small share of a busy machine.
_BACKLOG_SECONDS = 2.0
# Fills tier 1, whose entries of the last run have aged meanwhile: they are believed for 60 s.
_REFILL_SECONDS = 15.0
_NUMBERS = range(1, LINKS + 1)
_SLUGS = in_turn([f"/{rows.slug(number)}" for number in _NUMBERS], status=302)
_USERNAMES = [rows.username(number) for number in range(1, rows.PROFILES + 1)]
_LINK_LISTS = in_turn([f"/api/profiles/{name}/links" for name in _USERNAMES], status=200)
_OURS = f"{product.WEB_WORKERS} web workers, clicks and views captured; shipper and clicks worker run beside, niced"


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs during the whole benchmark. key: of our API, with links:write. The peers are others' and run anyway."""

    keeper: Keeper
    folder: Path
    environ: Mapping[str, str]
    pipeline: Pipeline
    web: Server
    key: str
    peers: Sequence[Peer]
    profile_peers: Sequence[Peer]

    def start(self, program: Program, port: int, path: str, extra: ExitStack) -> Server:
        """Start a server that ends with `extra`, and wait until it answers the path. Raises EmbeddedError."""
        process = self.keeper.start(program)
        extra.callback(self.keeper.stop, process)
        server = Server(port, process.pid)
        wait_for(program.name, server, path)
        return server


Cast = Callable[[Stage, ExitStack], list[Contender]]


def cast(scenario: Scenario, stage: Stage, extra: ExitStack) -> list[Contender]:
    """Return who takes part, all up; what was started for it ends with `extra`. Raises EmbeddedError."""
    return _CASTS[scenario.name](stage, extra)


def ours(stage: Stage, *, lead_in_seconds: float = 0.0, beside: Requests | None = None) -> Contender:
    """Our redirects, warm."""
    return Contender(US, _OURS, stage.web, _SLUGS, "click", lead_in_seconds, beside)


def our_profiles(stage: Stage) -> Contender:
    """Our profile API, warm."""
    documents = in_turn([f"/api/profiles/{name}" for name in _USERNAMES], status=200)
    return Contender(US, _OURS, stage.web, documents, becomes="view")


def _redirect(stage: Stage, extra: ExitStack) -> list[Contender]:
    return [ours(stage), *_plain(stage, extra), *_nginx(stage, extra), *_given_redirects(stage)]


def _pipeline_busy(stage: Stage, _extra: ExitStack) -> list[Contender]:
    return [ours(stage, lead_in_seconds=_BACKLOG_SECONDS), *_given_redirects(stage)]


def _lane_busy(stage: Stage, _extra: ExitStack) -> list[Contender]:
    return [ours(stage, beside=_LINK_LISTS), *_given_redirects(stage)]


def _profile(stage: Stage, _extra: ExitStack) -> list[Contender]:
    pages = in_turn([f"/@{name}" for name in _USERNAMES], status=200)
    given = [peer.contender(range(1, rows.PROFILES + 1), status=200) for peer in stage.profile_peers]
    return [
        our_profiles(stage),
        Contender(scenarios.PAGE, "the same web", stage.web, pages, becomes="view"),
        *_up(given),
    ]


def _tier_2(stage: Stage, extra: ExitStack) -> list[Contender]:
    port = free_port()
    environ = {**stage.environ, "TIER1_ENTRIES": "1"}
    server = stage.start(product.web(environ, port, stage.folder / "tier-2"), port, "/livez", extra)
    one_entry = replace(ours(stage), server=server, remark=f"{_OURS}; TIER1_ENTRIES=1")
    return [one_entry, *_given_redirects(stage)]


def _lane(stage: Stage, extra: ExitStack) -> list[Contender]:
    return [Contender(US, _OURS, stage.web, _LINK_LISTS), _desk(stage, extra, _LINK_LISTS)]


def _write(stage: Stage, extra: ExitStack) -> list[Contender]:
    headers = {"Authorization": f"Bearer {stage.key}", "Content-Type": "application/json"}
    body = json.dumps({"url": rows.destination(1)})
    requests = Requests(lambda: ["/api/links"], 201, "POST", headers, body)
    return [Contender(US, _OURS, stage.web, requests), _desk(stage, extra, requests)]


def _million(stage: Stage, _extra: ExitStack) -> list[Contender]:
    rows.insert_links(LINKS + 1, MILLION)
    zipf = Zipf(MILLION)
    rows.cache_links(zipf.number(rank) for rank in reversed(range(MILLION)))
    drawn = Requests(lambda: [f"/{rows.slug(number)}" for number in zipf.numbers(_ZIPF_PATHS)], 302)
    return [
        Contender(US, _OURS, stage.web, drawn, becomes="click", lead_in_seconds=_REFILL_SECONDS),
        replace(ours(stage, lead_in_seconds=_BACKLOG_SECONDS), name=scenarios.THOUSAND, remark="the same web"),
    ]


_CASTS: dict[str, Cast] = {
    scenarios.REDIRECT.name: _redirect,
    scenarios.PIPELINE_BUSY.name: _pipeline_busy,
    scenarios.LANE_BUSY.name: _lane_busy,
    scenarios.PROFILE.name: _profile,
    scenarios.TIER_2.name: _tier_2,
    scenarios.LANE.name: _lane,
    scenarios.WRITE.name: _write,
    scenarios.ZIPF.name: _million,
}


def _desk(stage: Stage, extra: ExitStack, requests: Requests) -> Contender:
    port = free_port()
    program = product.desk(stage.environ, port, stage.folder / "desk")
    server = stage.start(program, port, "/livez", extra)
    remark = f"`{' '.join(program.argv[2:])}`, {product.WEB_WORKERS} workers"
    return Contender(scenarios.DESK, remark, server, requests)


def _plain(stage: Stage, extra: ExitStack) -> list[Contender]:
    port = free_port()
    program = peers.plain_django(sys.executable, port, stage.folder, stage.environ)
    remark = (
        f"one view, django-redis before PostgreSQL, no middleware, no clicks counted; gunicorn gthread, "
        f"{peers.PLAIN_WORKERS} workers with {peers.PLAIN_THREADS} threads"
    )
    server = stage.start(program, port, f"/{rows.slug(1)}", extra)
    return [Contender(scenarios.PLAIN, remark, server, _SLUGS)]


def _nginx(stage: Stage, extra: ExitStack) -> list[Contender]:
    port = free_port()
    program = peers.nginx(port, stage.folder)
    if program is None:
        return []
    server = stage.start(program, port, f"/{rows.slug(1)}", extra)
    return [Contender(scenarios.NGINX, "the same fixed 302 for every request, 2 workers, no log", server, _SLUGS)]


def _given_redirects(stage: Stage) -> list[Contender]:
    return _up([peer.contender(_NUMBERS, status=302) for peer in stage.peers])


def _up(given: list[Contender]) -> list[Contender]:
    for contender in given:
        wait_for(contender.name, contender.server, contender.requests.draw()[0])
    return given
