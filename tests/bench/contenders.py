"""Who is measured: a server that answers, where it listens, what it is asked, and its processes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from tests.bench.counting import Kind

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. leader: process id whose descendants serve, with itself; None where they cannot be seen."""

    port: int
    leader: int | None
    host: str = HOST

    def processes(self) -> list[psutil.Process]:
        """Return the serving processes that live now."""
        return [] if self.leader is None else family(self.leader)

    def cpu_seconds(self) -> float:
        """Return what the serving processes have used of the processors so far, in seconds."""
        return cpu_seconds(self.processes())

    def largest_rss_bytes(self) -> int:
        """Return the resident memory of the largest serving process, in bytes; 0 where it cannot be seen."""
        return max((process.memory_info().rss for process in self.processes()), default=0)


@dataclass(frozen=True, slots=True)
class Requests:
    """What is asked. draw: gives the paths of one run, which are asked in turn. status: of a right answer."""

    draw: Callable[[], Sequence[str]]
    status: int
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


def in_turn(paths: Sequence[str], *, status: int) -> Requests:
    """Return requests for the same paths in every run."""
    return Requests(lambda: paths, status)


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that takes part in one scenario.

    becomes: what each answer becomes in our ledger, which the benchmark then checks; None for whoever counts nothing.
    lead_in_seconds: of load right before each run, of which nothing is measured or awaited. beside: what a second,
    small client asks meanwhile.
    """

    name: str
    remark: str
    server: Server
    requests: Requests
    becomes: Kind | None = None
    lead_in_seconds: float = 0.0
    beside: Requests | None = None


def family(leader: int) -> list[psutil.Process]:
    """Return the process of that id and its descendants; none if it has ended."""
    try:
        process = psutil.Process(leader)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Return what processes have used of the processors so far, in seconds; one that has just ended counts nothing."""
    used = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used
