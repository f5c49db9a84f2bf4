"""Fixtures of the ledger's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics import recorder, services


@pytest.fixture
def spool_dir(tmp_path: Path, settings: object) -> Iterator[Path]:
    """A spool of this test's own, into which the recorder's door writes."""
    folder = tmp_path / "spool"
    recorder.close()
    setattr(settings, "SPOOL_DIR", folder)
    yield folder
    recorder.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between tries are for production."""
    monkeypatch.setattr(services, "equal_jitter_seconds", lambda *args, **kwargs: 0.0)
