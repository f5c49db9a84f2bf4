"""What an operator sees of the ledger."""

from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from analytics.frames import record_frame
from analytics.services import ingest_batch
from analytics.spool import Spool
from tests.analytics.makers import batch_of, make_event


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["click", "ingestedbatch", "processgeneration"])
def test_the_ledger_is_listed_and_cannot_be_written(model: str, operator: Client) -> None:
    ingest_batch(uuid4(), batch_of(make_event(), make_event()))
    page = operator.get(f"/admin/analytics/{model}/", {"q": "1"})
    assert page.status_code == 200
    assert operator.get(f"/admin/analytics/{model}/add/").status_code == 403


@pytest.mark.django_db
def test_clicks_are_found_by_their_link(operator: Client) -> None:
    ingest_batch(uuid4(), batch_of(make_event(link_id=5), make_event(link_id=6, country="LI")))
    page = operator.get("/admin/analytics/click/", {"q": "6"}).content.decode()
    assert ">LI<" in page
    assert ">CH<" not in page


def test_the_spool_command_shows_what_waits(spool_dir: Path) -> None:
    spool = Spool(spool_dir, max_bytes=1 << 30)
    spool.append(record_frame(b"one"))
    out = StringIO()
    call_command("spool", stdout=out)
    spool.close()
    assert "1 records" in out.getvalue()
    assert "1 segments" in out.getvalue()


def test_the_spool_command_shows_an_empty_spool(spool_dir: Path) -> None:
    out = StringIO()
    call_command("spool", stdout=out)
    assert "0 segments, 0 bytes, 0.0% of the cap" in out.getvalue()
