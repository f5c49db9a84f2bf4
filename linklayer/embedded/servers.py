"""PostgreSQL and the two Valkeys of the embedded mode: started together, each only where no address is given."""

import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from linklayer.embedded.postgres import Postgres
from linklayer.embedded.processes import Keeper, Program
from linklayer.embedded.valkey import Valkey

DATABASE_URL = "DATABASE_URL"
REDIS_URL = "REDIS_URL"
AMQP_URL = "AMQP_URL"
NAMES = {DATABASE_URL: "PostgreSQL", REDIS_URL: "Valkey (cache)", AMQP_URL: "Valkey (broker)"}
ALL = tuple(NAMES)


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of one installation.

    home: the folder of their data. private: a short folder for their sockets. connections: of PostgreSQL, at most.
    """

    home: Path
    private: Path
    database_password: str
    connections: int = 100

    def start(
        self,
        keeper: Keeper,
        wanted: Collection[str] = ALL,
        launch: Callable[[Program], subprocess.Popen[bytes]] | None = None,
    ) -> dict[str, str]:
        """Start what is wanted, wait until it is ready, and return its addresses by the name of their variable.

        launch: starts a program, by default the keeper does. Raises EmbeddedError and StopRequested.
        """
        launch = launch or keeper.start
        addresses: dict[str, str] = {}
        waits = []
        for name, valkey, url in self._valkeys():
            if name in wanted:
                program = valkey.program()
                waits.append((valkey.is_ready, launch(program), program))
                addresses[name] = url
        if DATABASE_URL in wanted:
            postgres = Postgres(
                self.home / "postgres", self.private, self.database_password, max_connections=self.connections
            )
            postgres.prepare(keeper)
            program = postgres.program()
            waits.append((postgres.is_ready, launch(program), program))
            addresses[DATABASE_URL] = postgres.url()
        for is_ready, process, program in waits:
            keeper.wait_until(is_ready, process, program)
        return addresses

    def _valkeys(self) -> list[tuple[str, Valkey, str]]:
        cache = Valkey(NAMES[REDIS_URL], self.home / "cache", self.private / "cache.sock", durable=False)
        broker = Valkey(NAMES[AMQP_URL], self.home / "broker", self.private / "broker.sock", durable=True)
        return [(REDIS_URL, cache, cache.url), (AMQP_URL, broker, broker.celery_url)]
