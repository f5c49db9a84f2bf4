"""What the database backend adds to Django's: an end to the wait for a server that is frozen."""

import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError, close_old_connections, connection

from linklayer.database.base import answers_within
from tests.servers.running import RunningServer
from tests.test_story import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def frozen_server(postgres: RunningServer) -> Iterator[RunningServer]:
    """A PostgreSQL that froze while we were connected; it is well again after the test."""
    connection.ensure_connection()
    postgres.freeze()
    yield postgres
    postgres.thaw()
    connection.close()
    eventually(is_answered)


def is_answered() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except OperationalError:
        connection.close()
        return False
    return True


def test_a_query_to_a_frozen_server_ends(frozen_server: RunningServer) -> None:
    with pytest.raises(OperationalError, match="does not answer"), answers_within(0.2):
        connection.cursor().execute("SELECT 1")


def test_after_a_wait_in_vain_nobody_waits_to_connect(frozen_server: RunningServer) -> None:
    with answers_within(0.2):
        assert not connection.is_usable()
    connection.close()
    with pytest.raises(OperationalError, match="a moment ago"):
        connection.ensure_connection()


def test_a_connection_to_a_frozen_server_is_not_waited_for_longer_than_a_query(frozen_server: RunningServer) -> None:
    connection.close()
    started = time.monotonic()
    with pytest.raises(OperationalError), answers_within(0.3):
        connection.ensure_connection()
    assert time.monotonic() - started < 1.5  # libpq itself would take its two seconds


def test_the_connection_is_made_again_when_the_server_is_back(frozen_server: RunningServer) -> None:
    with answers_within(0.2):
        assert not is_answered()
    frozen_server.thaw()
    eventually(is_answered)


def test_a_slow_query_keeps_nobody_from_connecting() -> None:
    with pytest.raises(OperationalError), answers_within(0.2), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(1)")
    close_old_connections()
    connection.ensure_connection()


def test_a_slow_query_of_a_server_that_lives_is_not_cut_off_by_default() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.3)")
    with pytest.raises(OperationalError), answers_within(0.1), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")
    connection.close()
    eventually(is_answered)
