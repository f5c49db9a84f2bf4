"""What the import contracts cannot show: names in strings, relations of models, writes in entry points."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import get_commands

from linklayer import registries
from linklayer.celery import app as celery_app
from linklayer.topology import ROUTES, TASK_QUEUES

ROOT = Path(__file__).parent.parent
LINE = ("profiles", "shortlinks", "analytics", "webhooks", "linklayer")  # each may use what stands to its right
DOORS = {"contracts", "services", "selectors", "recorder"}
ENTRY_POINTS = {"api", "views", "tasks", "admin", "urls"}
WRITES = {"create", "bulk_create", "update_or_create", "get_or_create", "bulk_update", "delete", "update", "save"}


def modules(package: str) -> Iterator[Path]:
    return (path for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts)


def imported(path: Path) -> Iterator[str]:
    """Yield what a module imports, as dotted names of modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_task_has_a_queue_and_every_route_a_task() -> None:
    celery_app.loader.import_default_modules()
    ours = {name for name in celery_app.tasks if name.split(".")[0] in LINE}
    assert ours == set(ROUTES)
    assert set(ROUTES.values()) <= set(TASK_QUEUES)


def test_every_scheduled_task_exists() -> None:
    assert {entry["task"] for entry in celery_app.conf.beat_schedule.values()} <= set(ROUTES)


@pytest.mark.parametrize("package", LINE)
def test_models_point_only_to_the_right(package: str) -> None:
    """A foreign key is an arrow that no import checker sees when its target is a string."""
    allowed = LINE[LINE.index(package) :]
    for model in apps.get_app_config(package).get_models():
        for field in model._meta.get_fields():
            if field.is_relation and not field.auto_created:
                assert field.related_model is not None
                target = field.related_model._meta.app_label
                assert target in allowed or target not in LINE, f"{model.__name__}.{field.name}"


@pytest.mark.parametrize("package", LINE[:-1])
def test_other_apps_are_entered_by_their_doors(package: str) -> None:
    others = [other for other in LINE[:-1] if other != package]
    for path in modules(package):
        for name in imported(path):
            parts = name.split(".")
            if parts[0] in others and len(parts) > 1:
                assert parts[1] in DOORS or _is_foreign_key_target(path, name), f"{path}: {name}"


def _is_foreign_key_target(path: Path, name: str) -> bool:
    """models may name another app's model for a foreign key; that arrow is checked above."""
    return path.name == "models.py" and ".models" in name


def test_the_base_names_no_app() -> None:
    for path in modules("linklayer"):
        assert not [name for name in imported(path) if name.split(".")[0] in LINE[:-1]], path


def test_the_tables_of_the_design_are_there() -> None:
    """They may grow, and must not be thrown away."""
    labels = {model._meta.label for model in apps.get_models()}
    assert labels >= {
        "shortlinks.ShortLink", "profiles.Profile", "profiles.ProfileLink", "analytics.Click", "analytics.QuarterHour",
        "analytics.DayDimension", "analytics.DailyVisitor", "analytics.IngestedBatch", "webhooks.WebhookReceipt",
        "linklayer.DeadLetter", "linklayer.OutboxEvent", "linklayer.PendingForget", "linklayer.ApiKey",
    }  # fmt: skip


def test_the_queues_of_the_documentation_are_those_of_the_code() -> None:
    """docs/architecture.md has one row per queue, with every task that goes there."""
    rows = re.findall(r"^\| `([a-z]+\.v1)` \|(.*)$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    documented = {queue: set(re.findall(r"`([a-z]+\.[a-z_]+)`", cells)) for queue, cells in rows}
    routed: dict[str, set[str]] = {queue: set() for queue in TASK_QUEUES}
    for task, queue in ROUTES.items():
        routed[queue].add(task)
    assert {queue: documented.get(queue) for queue in routed} == routed
    assert {"dlq.v1", "events.v1"} <= set(documented)


def test_every_command_that_the_documentation_names_exists() -> None:
    named = set()
    for document in [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]:
        named |= set(re.findall(r"manage\.py ([a-z_]+)", document.read_text()))
    assert len(named) > 5
    assert named <= set(get_commands())


def test_every_module_that_the_documentation_names_exists() -> None:
    for document in [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"`((?:[a-z_]+/)*[a-z0-9_]+\.py)`", document.read_text()):
            assert (ROOT / name).exists() or (ROOT / "linklayer" / name).exists(), f"{document.name}: {name}"


def test_every_metric_and_log_event_that_an_operator_is_told_of_exists() -> None:
    """docs/operations.md is read when something is down: what it names must be found."""
    code = {path: path.read_text() for package in LINE for path in modules(package)}
    strings = {text for source in code.values() for text in re.findall(r'"([a-z][a-z0-9_]+)"', source)}
    text = (ROOT / "docs/operations.md").read_text()
    metrics = set(re.findall(r"\b(?:linklayer|linktree)_[a-z_]+\b", text))
    assert len(metrics) > 5
    assert {name.removesuffix("_total") for name in metrics} <= strings
    events = set(re.findall(r"`((?:cache|segment|shipper|spool|receipts?|profile|webhook|task|broker)_[a-z_]+)`", text))
    assert len(events) > 10
    assert events <= strings


def test_the_cache_is_asked_for_exact_keys_and_holds_no_pickle() -> None:
    forbidden = re.compile(r"delete_pattern|iter_keys|scan_iter|flushdb|flushall|\.keys\(\"|\bpickle\.|import pickle")
    for package in LINE:
        for path in modules(package):
            assert not forbidden.search(path.read_text()), path


def test_every_middleware_of_the_django_lane_says_why_it_is_there() -> None:
    source = (ROOT / "linklayer/settings.py").read_text()
    block = re.findall(r"^MIDDLEWARE = \[\n(.*?)^\]", source, re.DOTALL | re.MULTILINE)
    lines = block[0].splitlines()
    assert len(lines) == len(settings.MIDDLEWARE)
    assert [line for line in lines if '",  # ' not in line] == []


def test_there_are_no_signals_between_apps() -> None:
    for package in LINE:
        for path in modules(package):
            names = list(imported(path))
            assert not [name for name in names if name.startswith(("django.dispatch", "django.db.models.signals"))], (
                path
            )


@pytest.mark.parametrize("package", LINE[:-1])
def test_entry_points_call_services_to_write(package: str) -> None:
    for path in modules(package):
        if path.stem not in ENTRY_POINTS and "commands" not in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITES:
                assert "objects" not in ast.unparse(node.func.value), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "setting",
    ["PUBLIC_READS", "CACHE_WARMERS", "EVENT_HANDLERS", "HEALTH_CHECKS", "ANNOUNCEMENT_SWEEPERS", "DEMO_DATA"],
)
def test_every_registered_name_can_be_loaded(setting: str) -> None:
    names = getattr(settings, setting)
    assert len(registries.load(names)) == len(names)


def test_the_rooms_of_the_house_are_drawn() -> None:
    """docs/architecture.md shows the line in this order."""
    drawing = (ROOT / "docs/architecture.md").read_text()
    line = " ──► ".join(LINE)
    assert line in drawing
    assert all(f"{left} ──► {right}" in drawing for left, right in pairwise(LINE))
