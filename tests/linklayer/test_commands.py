"""What commands say to the operator at the terminal."""

import sys
import time
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from linklayer import warming
from linklayer.management.commands import dead_letters, warm_cache
from linklayer.tier2 import CacheDown
from shortlinks.models import ShortLink


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def said(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_warming_shows_its_progress_and_counts_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    for slug in ("one", "two", "three"):
        ShortLink.objects.create(slug=slug, destination="https://example.com/")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert said("warm_cache", "--links", "2") == "Wrote 2 entries: 2 links, 0 profiles.\n"
    assert "links" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert said("warm_cache", "--all") == "Wrote 3 entries: 3 links, 0 profiles.\n"


@pytest.mark.django_db
def test_warming_keeps_to_the_rate_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    ShortLink.objects.bulk_create(ShortLink(slug=f"rate-{n}", destination="https://example.com/") for n in range(10))
    pauses: list[float] = []
    clock = SimpleNamespace(time=time.time, monotonic=lambda: 0.0, sleep=pauses.append)
    monkeypatch.setattr(warming, "time", clock)
    said("warm_cache", "--all", "--rate", "20")
    assert pauses == [pytest.approx(size / 20) for size in (4, 4, 2)]
    with pytest.raises(CommandError, match="--rate"):
        said("warm_cache", "--rate", "0")


def test_warming_without_a_cache_says_so_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise CacheDown

    monkeypatch.setattr(warm_cache, "answers", away)
    with pytest.raises(CommandError, match="REDIS_URL"):
        said("warm_cache")


@pytest.mark.parametrize(
    ("arguments", "command"), [(["warm_cache"], warm_cache.Command), (["dead_letters", "list"], dead_letters.Command)]
)
def test_without_the_database_a_command_says_which_setting_to_look_at(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], command: type
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(command, "_warm" if arguments[0] == "warm_cache" else "_list", away)
    with pytest.raises(CommandError, match=r"DATABASE_URL.*connection refused"):
        said(*arguments)
