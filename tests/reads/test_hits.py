"""A hit costs the database nothing, in either tier and in each cached view."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from analytics import recorder
from analytics.selectors import link_stats
from linklayer.tier1 import tier1
from profiles.models import Profile
from shortlinks.services import create_short_link

pytestmark = pytest.mark.django_db(transaction=True)  # what is cached is cached after a commit

PATHS = ["/hit", "/@warm", "/api/profiles/warm", "/api/profiles/warm/links"]


@pytest.fixture
def views(client: Client, settings: Settings, tmp_path: Path) -> Iterator[Client]:
    """A client, and a page behind each path; the clicks go to a spool of this test's own."""
    recorder.close()
    settings.SPOOL_DIR = tmp_path
    create_short_link(url="https://example.com/", slug="hit")
    Profile.objects.create(username="warm", display_name="Warm", is_published=True)
    yield client
    recorder.close()


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tier 1 as a web process has it, without its listener thread."""
    monkeypatch.setattr(tier1, "is_started", True)
    yield
    tier1.flush()


@pytest.mark.parametrize("path", PATHS)
def test_a_hit_in_tier_2_asks_the_database_nothing(
    path: str, views: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    first = views.get(path)
    with django_assert_num_queries(0):
        second = views.get(path)
    assert first.status_code == second.status_code in {200, 302}
    assert second.headers.get("X-Cache", "hit-l2") == "hit-l2"


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("path", PATHS)
def test_a_hit_in_tier_1_asks_the_database_nothing(
    path: str, views: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    views.get(path)
    with django_assert_num_queries(0):
        assert views.get(path).headers.get("X-Cache", "hit-l1") == "hit-l1"


def test_cached_numbers_cost_one_query_for_the_live_totals(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    first = link_stats(1)
    with django_assert_num_queries(1):
        assert link_stats(1)["asOf"] == first["asOf"]
