"""What is measured: each scenario is a row of the table in docs/benchmarks.md, with the ratios we hold ourselves to."""

from dataclasses import dataclass

US = "Link Layer"
PLAIN = "plain Django"
NGINX = "nginx"


@dataclass(frozen=True, slots=True)
class Goal:
    """Our rate divided by that contender's is to be at least this."""

    contender: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """links: over how many slugs the requests go, in turn. connections: kept alive, each waiting for its answer."""

    name: str
    links: int
    goals: tuple[Goal, ...]
    connections: int = 100


WARM_REDIRECT = Scenario(
    name="redirect, warm",
    links=1000,
    goals=(Goal(PLAIN, 6.0), Goal("linklift", 6.0), Goal(NGINX, 0.5)),
)
SCENARIOS = (WARM_REDIRECT,)
