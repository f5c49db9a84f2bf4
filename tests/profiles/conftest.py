"""A real simulator on a free port for each test, and a client whose clock, sleep and chance belong to the test."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pytest
import requests
from pytest_django import Settings

from profiles import mirroring
from profiles.linktree import LinktreeClient, LinktreeProfile, Time, configured
from profiles.linktree.errors import LinktreeNotFound
from profiles.models import Profile, ProfileLink
from profiles.simulator.application import Simulator
from profiles.simulator.clock import SimulatorClock
from profiles.simulator.sender import Secrets, WebhookSender
from profiles.simulator.server import SimulatorServer
from shortlinks.models import ShortLink

WEBHOOK_SECRET = "whsec_test_0123456789abcdef"


@dataclass
class FakeTime:
    """Seconds that pass only when somebody sleeps.

    chance: what `uniform` returns, as a share of its range. followers: other clocks, told of the new time.
    """

    seconds: float = 1_768_478_400.0
    chance: float = 0.5
    slept: list[float] = field(default_factory=list)
    followers: list[Callable[[float], None]] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        for follow in self.followers:
            follow(self.seconds)

    def source(self) -> Time:
        return Time(
            now=lambda: self.seconds,
            monotonic=lambda: self.seconds,
            sleep=self.sleep,
            uniform=lambda low, high: low + (high - low) * self.chance,
        )


@dataclass
class Running:
    """A simulator that listens. url: its base, without a version."""

    simulator: Simulator
    url: str

    def call(self, method: str, path: str, token: str = "lt_test_full", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, headers=headers, timeout=5, **options)

    def fault(self, name: str, *, times: int = 1, **match: str) -> None:
        self.simulator.faults.add({"fault": name, "times": times, "match": match})

    def set_clock(self, seconds: float) -> None:
        self.simulator.clock.advance(seconds - self.simulator.clock())

    @property
    def seen(self) -> list[str]:
        return [f"{request['method']} {request['path']}" for request in self.simulator.requests]


def short_link_of(link: ProfileLink) -> ShortLink:
    """The link's short link, as stored now."""
    assert link.short_link_id is not None
    return ShortLink.objects.get(pk=link.short_link_id)


def mirrored(username: str) -> Profile:
    """A profile of the simulator's, seen for the first time or again."""
    profile_id = mirroring.mirror_profile(username)
    assert profile_id is not None
    return Profile.objects.get(pk=profile_id)


def meanwhile(patch: pytest.MonkeyPatch, happens: Callable[[], object], *, is_gone: bool = False) -> None:
    """Let something happen while Linktree's next answer, read already, is on its way; is_gone: make it a 404."""
    real = LinktreeClient.get_profile

    def get_profile(client: LinktreeClient, ref: str, **options: Any) -> LinktreeProfile:
        patch.setattr(LinktreeClient, "get_profile", real)
        snapshot = real(client, ref, **options)
        happens()
        if is_gone:
            raise LinktreeNotFound
        return snapshot

    patch.setattr(LinktreeClient, "get_profile", get_profile)


@pytest.fixture
def simulator() -> Iterator[Running]:
    clock = SimulatorClock()
    sender = WebhookSender(clock, Secrets(WEBHOOK_SECRET, "whsec_previous"))
    part = Simulator(clock, sender)
    server = SimulatorServer(("127.0.0.1", 0), part)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    sender.start()
    yield Running(part, f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    thread.join()
    server.server_close()
    sender.stop()


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def make_client(simulator: Running, fake_time: FakeTime) -> Iterator[Callable[..., LinktreeClient]]:
    made: list[LinktreeClient] = []

    def make(token: str | Callable[[], str] = "lt_test_full", **options: Any) -> LinktreeClient:
        credential = token if callable(token) else lambda: token
        client = LinktreeClient(
            options.pop("base_url", simulator.url), credential, time_source=fake_time.source(), **options
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client_of_linktree(make_client: Callable[..., LinktreeClient]) -> LinktreeClient:
    return make_client()


@pytest.fixture
def linked(simulator: Running, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """The product configured to mirror from the simulator; its client does not sleep between attempts."""

    def made(base_url: str, read_only: bool) -> LinktreeClient:
        impatient = Time(sleep=lambda seconds: None)
        return LinktreeClient(base_url, configured.credential, read_only=read_only, time_source=impatient)

    monkeypatch.setattr(configured, "_client", lru_cache(made))
    settings.LINKTREE_BASE_URL = simulator.url
    settings.LINKTREE_API_KEY = "lt_test_full"
    yield simulator
    configured.forget_clients()
