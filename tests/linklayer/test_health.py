"""The probes: who is sent away, who stays with a word about what is down, and who may read the metrics."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from linklayer import draining, health, tier2
from linklayer.tier2 import CacheDown


class ClosingLooks(ThreadPoolExecutor):
    """Threads that leave no connection behind: the test database could not be dropped under them."""

    def submit(self, look: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        def looked() -> Any:
            try:
                return look(*args, **kwargs)
            finally:
                connection.close()

        return super().submit(looked)


@pytest.fixture(autouse=True)
def fresh_look(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test takes its own look; nothing of the second before is believed."""
    monkeypatch.setattr(health, "_current", health.States())
    with ClosingLooks(2) as looks:
        monkeypatch.setattr(health, "_looks", looks)
        yield


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What each part says of itself when asked."""
    answers = {"database": True, "cache": True, "migrations": True}
    monkeypatch.setattr(health, "_database_answers", lambda: answers["database"])
    monkeypatch.setattr(health, "_cache_answers", lambda: answers["cache"])
    monkeypatch.setattr(health, "_is_migrated", lambda: answers["migrations"])
    return answers


@pytest.mark.django_db(transaction=True)
def test_with_everything_there_all_probes_are_content(client: Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "degraded": []}
    assert client.get("/health").json() == {"status": "healthy", "degraded": []}
    assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("down", "status", "body"),
    [
        (["cache"], 200, {"status": "ready", "degraded": ["cache"]}),
        (["database", "migrations"], 200, {"status": "ready", "degraded": ["database"]}),
        (["migrations"], 503, {"status": "unavailable", "failing": ["migrations"]}),
        (["cache", "database", "migrations"], 503, {"status": "unavailable", "failing": ["cache", "database"]}),
    ],
    ids=["no cache", "no database", "not migrated", "neither"],
)
def test_only_who_can_answer_nothing_is_taken_from_the_balancer(
    client: Client, parts: dict[str, bool], down: list[str], status: int, body: dict[str, object]
) -> None:
    parts.update(dict.fromkeys(down, False))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (status, body)
    assert answer.headers.get("Retry-After") == ("1" if status == 503 else None)
    whole = client.get("/health")
    assert whole.status_code == status
    assert whole.json()["status"] == ("unhealthy" if status == 503 else "degraded")
    assert client.get("/livez").status_code == 200


def test_who_ends_is_taken_from_the_balancer(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "is_ending", lambda: True)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "failing": ["draining"]})
    assert client.get("/health").json() == {"status": "unhealthy", "error": "failing: draining"}
    assert client.get("/livez").status_code == 200


def test_a_cache_that_does_not_answer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise CacheDown

    monkeypatch.setattr(tier2, "answers", away)
    assert health._cache_answers() is False


def test_probes_at_once_look_once(client: Client, parts: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def look() -> bool:
        looks.append("look")
        return True

    monkeypatch.setattr(health, "KEPT_SECONDS", 3600.0)
    monkeypatch.setattr(health, "_cache_answers", look)
    for _ in range(20):
        client.get("/readyz")
    assert looks == ["look"]


def test_metrics_are_for_this_machine_and_never_through_a_proxy(client: Client, settings: Settings) -> None:
    settings.PROMETHEUS_MULTIPROC_DIR = ""
    own = client.get("/metrics")
    assert own.status_code == 200
    assert b"linklayer_spool_bytes" in own.content
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 404


@pytest.mark.parametrize("forwarded_for", ["203.0.113.9", "127.0.0.1", "unknown"])
def test_metrics_are_not_for_who_comes_through_a_proxy(client: Client, forwarded_for: str) -> None:
    """A proxy on this machine makes every visitor a neighbour, also one that nobody named in TRUSTED_PROXIES."""
    assert client.get("/metrics", headers={"X-Forwarded-For": forwarded_for}).status_code == 404
    assert client.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"}).status_code == 404
