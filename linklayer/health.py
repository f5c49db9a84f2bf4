"""Probes: `/livez` (this process), `/readyz` (can it answer?), `/health` (the brief's deploy check), `/metrics`."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from linklayer import draining, registries, tier2
from linklayer.client_address import is_loopback, is_trusted_proxy
from linklayer.database.base import answers_within
from linklayer.tier2 import CacheDown

BUDGET_SECONDS = 1.0
KEPT_SECONDS = 1.0  # probes come from every balancer; one look per second is enough
_looks = ThreadPoolExecutor(4, thread_name_prefix="health")


def livez(_request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "alive"})


def readyz(_request: HttpRequest) -> HttpResponse:
    """503 only before the migrations, while all of this gunicorn ends, or when neither cache nor database can answer;
    else 200 with what is degraded: no balancer may take away a process that still answers known links."""
    can_answer, failing = _verdict()
    if not can_answer:
        return JsonResponse({"status": "unavailable", "failing": failing}, status=503, headers={"Retry-After": "1"})
    return JsonResponse({"status": "ready", "degraded": failing})


def health(_request: HttpRequest) -> HttpResponse:
    """The brief's deploy check: healthy, degraded or unhealthy, with what the apps add."""
    can_answer, failing = _verdict()
    facts: dict[str, object] = {}
    for check in registries.load(settings.HEALTH_CHECKS):
        facts.update(check())
    if not can_answer:
        return JsonResponse({"status": "unhealthy", "error": f"failing: {', '.join(failing)}"}, status=503)
    is_degraded = bool(failing) or bool(facts.pop("degraded", False))
    return JsonResponse({"status": "degraded" if is_degraded else "healthy", "degraded": failing, **facts})


def _verdict() -> tuple[bool, list[str]]:
    """Return whether visitors should be sent here, and what fails."""
    if draining.is_ending():
        return False, ["draining"]
    failing = sorted(name for name, is_well in _current.states().items() if not is_well)
    return "migrations" not in failing and not {"cache", "database"} <= set(failing), failing


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, for loopback and trusted networks only; 404 to others, and to all who come through a proxy."""
    peer = request.META.get("PEER_ADDR", "")
    if "HTTP_X_FORWARDED_FOR" in request.META or not (is_loopback(peer) or is_trusted_proxy(peer)):
        return HttpResponse(status=404)
    registry = REGISTRY
    if settings.PROMETHEUS_MULTIPROC_DIR:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=settings.PROMETHEUS_MULTIPROC_DIR)  # type: ignore[no-untyped-call] # untyped in prometheus_client
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class States:
    """The last look at each part, at most a second old; a look that takes longer than a second counts as failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken_at = 0.0
        self._states: dict[str, bool] = {}
        self._is_migrated = False

    def states(self) -> dict[str, bool]:
        with self._lock:
            if time.monotonic() - self._taken_at > KEPT_SECONDS:
                self._states = self._looked()
                self._taken_at = time.monotonic()
            return dict(self._states)

    def _looked(self) -> dict[str, bool]:
        pending: dict[str, Future[bool]] = {"database": _looks.submit(_database_answers)}
        if not self._is_migrated:
            pending["migrations"] = _looks.submit(_is_migrated)
        states = {"cache": _cache_answers()}
        until = time.monotonic() + BUDGET_SECONDS
        for name, look in pending.items():
            try:
                states[name] = look.result(timeout=max(0.0, until - time.monotonic()))
            except FutureTimeout:
                states[name] = False
        self._is_migrated = self._is_migrated or states["migrations"]
        if not states["database"] and not states.get("migrations", True):
            del states["migrations"]  # unknown, not missing: the database does not say
        return states


_current = States()


def _database_answers() -> bool:
    try:
        with answers_within(BUDGET_SECONDS), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        connection.close()
        return False
    return True


def _is_migrated() -> bool:
    try:
        executor = MigrationExecutor(connection)
        return not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, InterfaceError):
        connection.close()
        return False


def _cache_answers() -> bool:
    try:
        tier2.answers()
    except CacheDown:
        return False
    return True
