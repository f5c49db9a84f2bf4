"""Where the servers of this test run stand, decided before Django reads its settings.

Nothing is started here: `tests/conftest.py` does that, so that mypy may import the settings. A process that a test
starts inherits the environment, and with it the same addresses.
"""

import os
import secrets
from pathlib import Path

from linklayer.embedded.door import free_port
from linklayer.embedded.postgres import Postgres
from linklayer.embedded.session import temporary_folder
from linklayer.embedded.valkey import Valkey
from tests.servers.rabbitmq import RabbitMQ

__all__ = ["free_port"]

_inherited = os.environ.get("LINKLAYER_TEST_ROOT")
ROOT = Path(_inherited) if _inherited else temporary_folder() / f"linklayer-tests-{secrets.token_hex(4)}"
POSTGRES = Postgres(ROOT / "postgres", ROOT, "tests-only", durable=False)
CACHE = Valkey("Valkey (cache)", ROOT / "cache", ROOT / "cache.sock", durable=False)
BROKER = Valkey("Valkey (broker)", ROOT / "broker", ROOT / "broker.sock", durable=True)
RABBITMQ = RabbitMQ(ROOT / "rabbitmq", port=free_port(), distribution_port=free_port(), epmd_port=free_port())
DATABASE = "tests"


def export() -> None:
    """Put the addresses into the environment, over whatever the developer has set there.

    In a process that a test has started they stand there already, perhaps changed by that test: nothing is touched.
    """
    if _inherited:
        return
    os.environ.update(
        LINKLAYER_TEST_ROOT=str(ROOT),
        LINKLAYER_VAR=str(ROOT / "var"),
        SECRET_KEY="tests-only-0123456789abcdef0123456789abcdef0123456789abcdef",
        DATABASE_URL=POSTGRES.url(DATABASE),
        REDIS_URL=CACHE.url,
        AMQP_URL=RABBITMQ.url,
        # A busy machine may hold up a test's own cache calls; products that a test starts have the usual time-out.
        REDIS_TIMEOUT_SECONDS="1.0",
    )
