"""Starts the private servers of the test run, and ends them with it, also when it is interrupted or killed.

PostgreSQL and the cache start at once; RabbitMQ and the second Valkey when a test asks for them. No test ever talks to
a server that was running before.
"""

import itertools
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from linklayer.embedded.processes import Keeper
from linklayer.embedded.valkey import Valkey
from tests.servers import addresses
from tests.servers.rabbitmq import is_installed as rabbitmq_is_installed
from tests.servers.running import RunningServer

_KEEPER = pytest.StashKey[Keeper]()
_POSTGRES = pytest.StashKey[RunningServer]()
_CACHE = pytest.StashKey[RunningServer]()
_RABBITMQ = pytest.StashKey[RunningServer]()
_BREAKER_SECONDS = 15.0


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    addresses.ROOT.mkdir(mode=0o711)
    (addresses.ROOT / "var" / "static").mkdir(parents=True)  # whitenoise warns where it is missing
    keeper = session.config.stash[_KEEPER] = Keeper()
    cache, postgres = addresses.CACHE, addresses.POSTGRES
    session.config.stash[_CACHE] = RunningServer(keeper, cache.url, cache.program, cache.is_ready)
    postgres.prepare(keeper)
    url = postgres.url(addresses.DATABASE)
    session.config.stash[_POSTGRES] = RunningServer(keeper, url, postgres.program, postgres.is_ready)
    session.config.stash[_CACHE].wait()
    session.config.stash[_POSTGRES].wait()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start RabbitMQ early if a chosen test needs it: it takes seconds, in which others can run."""
    wanted = any("rabbitmq" in item.fixturenames for item in session.items if isinstance(item, pytest.Function))
    if wanted and rabbitmq_is_installed() and _KEEPER in session.config.stash:
        session.config.stash[_RABBITMQ] = _launch_rabbitmq(session.config.stash[_KEEPER])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Nothing is skipped where CI=true: what could not be tried has not been proven."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    if _KEEPER in config.stash:
        config.stash[_KEEPER].close()
        shutil.rmtree(addresses.ROOT, ignore_errors=True)


def _launch_rabbitmq(keeper: Keeper) -> RunningServer:
    node = addresses.RABBITMQ
    return RunningServer(keeper, node.url, node.program, node.is_ready, node.epmd())


@pytest.fixture(scope="session")
def keeper(pytestconfig: pytest.Config) -> Keeper:
    """Start programs by this one, and none outlives the test run."""
    return pytestconfig.stash[_KEEPER]


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> RunningServer:
    """The PostgreSQL of the test run, shared by all tests: whoever stops it starts it again."""
    return pytestconfig.stash[_POSTGRES]


@pytest.fixture(scope="session")
def cache_server(pytestconfig: pytest.Config) -> RunningServer:
    """The Valkey behind django-redis, shared by all tests: whoever stops it starts it again."""
    return pytestconfig.stash[_CACHE]


@pytest.fixture
def no_redis(cache_server: RunningServer) -> Iterator[None]:
    """There is no cache while the test runs; at its end it is back, and trusted."""
    cache_server.stop()
    yield
    cache_server.start()
    _wait_for_the_breaker()


@pytest.fixture(scope="session")
def broker_server(keeper: Keeper) -> RunningServer:
    """The second Valkey, the broker of the embedded mode; its `url` is Celery's."""
    broker = addresses.BROKER
    server = RunningServer(keeper, broker.celery_url, broker.program, broker.is_ready)
    server.wait()
    return server


@pytest.fixture(scope="session")
def rabbitmq(pytestconfig: pytest.Config) -> RunningServer:
    """RabbitMQ, at settings.AMQP_URL; its `url` is the same."""
    if not rabbitmq_is_installed():
        pytest.skip("rabbitmq-server is missing (Debian, Ubuntu: apt install rabbitmq-server)")
    if _RABBITMQ not in pytestconfig.stash:  # asked for by getfixturevalue()
        pytestconfig.stash[_RABBITMQ] = _launch_rabbitmq(pytestconfig.stash[_KEEPER])
    server = pytestconfig.stash[_RABBITMQ]
    server.wait()
    return server


@pytest.fixture
def start_valkey(keeper: Keeper) -> Iterator[Callable[..., RunningServer]]:
    """Start a Valkey of this test's own: `start_valkey(durable=False)`; its `url` is `unix://...`."""
    started: list[RunningServer] = []

    def start(*, durable: bool = False) -> RunningServer:
        name = f"valkey-{next(_numbers)}"
        valkey = Valkey(name, addresses.ROOT / name, addresses.ROOT / f"{name}.sock", durable=durable)
        server = RunningServer(keeper, valkey.url, valkey.program, valkey.is_ready)
        started.append(server)
        server.wait()
        return server

    yield start
    for server in started:
        server.stop()


_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    """Let no test see what another has cached, or that another has made the cache fail.

    Web processes of a whole module would warm the emptied cache, in the middle of a test that wants it cold: they find
    that somebody does so already. Who wants to be warmed gives up that lock.
    """
    _wait_for_the_breaker()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(addresses.CACHE.socket))
        connection.sendall(b"FLUSHALL\r\nSET ll:1:lock:warm-up tests PX 60000\r\n")
        received = b""
        while len(received) < len(b"+OK\r\n+OK\r\n"):
            received += connection.recv(64)
        assert received == b"+OK\r\n+OK\r\n"


def _wait_for_the_breaker() -> None:
    """Wait until the cache is trusted again, if a test has left it otherwise: its probe comes each second."""
    module = sys.modules.get("linklayer.tier2")  # not every test needs Django
    deadline = time.monotonic() + _BREAKER_SECONDS
    while module is not None and module.breaker.is_open:
        assert time.monotonic() < deadline, "a test has left the cache broken"
        time.sleep(0.02)
