"""What is measured: each scenario is a row of the table in docs/benchmarks.md, with the goals we hold ourselves to.

Who takes part in each, and what it is asked, stands in casts.py.
"""

from dataclasses import dataclass

from tests.bench.goals import Goal, MemoryGoal, P99Goal, RateGoal

US = "Link Layer"
PLAIN = "plain Django"
NGINX = "nginx"
LINKLIFT = "linklift"
PAGE = "Link Layer, page"
DESK = "desk (gthread)"
THOUSAND = "Link Layer, 1,000 links"
LINKS = 1000
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """name: for the command line. asked: what the connections ask, in words. connections: each waits for its answer.

    keeps_pipeline_busy: shipper and clicks worker must have work during the whole of each run of ours. misses_tier1:
    our answers must come from tier 2.
    """

    name: str
    title: str
    asked: str
    goals: tuple[Goal, ...] = ()
    connections: int = 100
    keeps_pipeline_busy: bool = False
    misses_tier1: bool = False


IN_TURN = f"{LINKS:,} slugs in turn"

REDIRECT = Scenario(
    "redirect",
    "redirect, warm",
    IN_TURN,
    (RateGoal(LINKLIFT, 6.0), P99Goal(LINKLIFT, 0.25), RateGoal(NGINX, 0.5), RateGoal(PLAIN, 6.0)),
)
PIPELINE_BUSY = Scenario(
    "pipeline-busy",
    "redirect while the pipeline ships and ingests",
    f"{IN_TURN}. Before each run of ours a load was put on it and its clicks were not awaited, so that shipper and "
    "clicks worker had a backlog from the first moment to the last",
    (RateGoal(LINKLIFT, 4.0),),
    keeps_pipeline_busy=True,
)
LANE_BUSY = Scenario(
    "lane-busy",
    "redirect while the Django lane is busy",
    f"{IN_TURN}. Beside them 4 more connections asked ours, in a closed loop, for the link lists of profiles "
    "(`GET /api/profiles/<username>/links`), which the front door always leaves to Django",
    (RateGoal(LINKLIFT, 4.0),),
)
PROFILE = Scenario(
    "profile",
    "profile API, warm, and the page",
    "100 profiles in turn, as JSON, and ours as a page too (`GET /@<username>`)",
    (RateGoal(LINKLIFT, 6.0),),
)
TIER_2 = Scenario(
    "tier-2",
    "redirect, tier-1 miss, tier-2 hit",
    f"{IN_TURN}, of a web of ours with `TIER1_ENTRIES=1`, so that its tier 1 never holds what is asked for next",
    (RateGoal(LINKLIFT, 2.0),),
    misses_tier1=True,
)
LANE = Scenario(
    "lane",
    "Django lane",
    "the link lists of 100 profiles in turn (`GET /api/profiles/<username>/links`), which the front door always "
    "leaves to Django: the same view under the same settings, processes and threads",
    (RateGoal(DESK, 0.8),),
)
WRITE = Scenario("write", "creating short links", "`POST /api/links` with an API key")
ZIPF = Scenario(
    "million",
    "a million links, Zipf 1.1",
    f"{MILLION:,} links, drawn anew for each run by Zipf's law with exponent 1.1, beside {IN_TURN}. Tier 2 holds the "
    "whole million (in 1 GiB of memory at most), as hours of such traffic would leave it. The same load goes before "
    "each run, to fill tier 1",
    (RateGoal(THOUSAND, 0.7), MemoryGoal(300)),
)
SCENARIOS = (REDIRECT, PIPELINE_BUSY, LANE_BUSY, PROFILE, TIER_2, LANE, WRITE, ZIPF)
