"""`make run`: the whole system from one command, and its end with Ctrl-C (design section 4).

Starts PostgreSQL and two Valkeys where no address is given, prepares the database, and starts and watches web, shipper,
workers, beat and the Linktree simulator. Whatever keeps it from starting is said in one line, and nothing stays behind.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from linklayer.embedded import doors
from linklayer.embedded.prepare import fingerprint
from linklayer.embedded.processes import EmbeddedError, Keeper, StopRequested
from linklayer.embedded.programs import Programs
from linklayer.embedded.servers import ALL, AMQP_URL, DATABASE_URL, Servers
from linklayer.embedded.session import Session
from linklayer.embedded.supervisor import Supervisor

PROJECT = Path(__file__).resolve().parent.parent
_READY_SECONDS = 60.0
_DEMO_PROFILE = "prof_demo00000001"  # of the simulator's `myusername`


def main() -> int:
    """Run until a signal says to end. Returns the exit status: 0 after an orderly end, 1 if it could not start."""
    try:
        door = doors.from_environment()
        session = Session(Path(os.environ.get("LINKLAYER_VAR") or PROJECT / "var").resolve())
        session.acquire(time.sleep)
        door.check_free()
        with Keeper(held_open=(session.lock,)) as keeper:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: setattr(keeper, "stop_requested", True))
            try:
                _Run(keeper, session, door).start().watch()
            except StopRequested:
                _say("Stopping ...")
            finally:
                stopping_since = time.monotonic()
                keeper.close()
                session.close()
        _say(f"Stopped in {time.monotonic() - stopping_since:.1f} s. Data are kept in {session.var}.")
    except EmbeddedError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    return 0


class _Run:
    """What is started, and in which order."""

    def __init__(self, keeper: Keeper, session: Session, door: doors.Door) -> None:
        self._keeper = keeper
        self._session = session
        self._door = door
        self._since = time.monotonic()
        self._supervisor = Supervisor(keeper, self._report)
        self._private = session.private_folder()

    def start(self) -> Supervisor:
        """Start everything and say where it is; raises EmbeddedError and StopRequested."""
        settings = self._settings()
        wanted = [name for name in ALL if not _is_given(name)]
        if not _is_given("LINKTREE_BASE_URL"):
            settings |= self._start_simulator(settings)
        settings |= self._start_servers(wanted)
        self._session.publish(self._private, settings)
        programs = Programs(PROJECT, self._session.var, settings)
        self._prepare(programs, always=DATABASE_URL not in wanted)
        is_on_rabbitmq = (settings.get(AMQP_URL) or os.environ[AMQP_URL]).startswith(("amqp://", "amqps://"))
        for program in programs.long_running(on_rabbitmq=is_on_rabbitmq):
            self._supervisor.start(program)
        self._report("web, shipper, workers and beat are starting")
        self._supervisor.start_until(self._door.is_ready, timeout_seconds=_READY_SECONDS)
        self._report("ready")
        _say(welcome(self._door.url, settings.get("LINKTREE_BASE_URL"), self._session))
        return self._supervisor

    def _settings(self) -> dict[str, str]:
        """Return what is ours to decide; the rest our programs inherit from our own environment."""
        settings = {
            "DJANGO_SETTINGS_MODULE": "linklayer.settings",
            "LINKLAYER_EMBEDDED": "1",
            "LINKLAYER_VAR": str(self._session.var),
            "PORT": str(self._door.port),
            "BIND": ",".join(self._door.hosts),
            "PROMETHEUS_MULTIPROC_DIR": str(self._private / "metrics"),
        }
        (self._private / "metrics").mkdir()
        if not _is_given("SECRET_KEY"):
            settings["SECRET_KEY"] = self._session.secret("secret_key")
        return settings

    def _start_simulator(self, settings: Mapping[str, str]) -> dict[str, str]:
        port = doors.free_port()
        linktree = {
            "LINKTREE_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "LINKTREE_API_KEY": self._session.secret("linktree_api_key"),
            "LINKTREE_PROFILE_ID": _DEMO_PROFILE,
            "LINKTREE_WEBHOOK_SECRET": self._session.secret("linktree_webhook_secret"),
        }
        programs = Programs(PROJECT, self._session.var, {**settings, **linktree})
        self._supervisor.start(programs.simulator(port, f"{self._door.url}/webhooks/linktree"))
        return linktree

    def _start_servers(self, wanted: Sequence[str]) -> dict[str, str]:
        web_processes = int(os.environ.get("WEB_CONCURRENCY") or os.cpu_count() or 1)
        threads = int(os.environ.get("DJANGO_THREADS") or 10)
        servers = Servers(
            self._session.var,
            self._private,
            self._session.secret("database_password"),
            connections=web_processes * threads + _OTHER_CONNECTIONS,
        )
        addresses = servers.start(self._keeper, wanted, self._supervisor.start)
        self._report(f"{_listed(wanted)} started here" if wanted else "all servers are given")
        return addresses

    def _prepare(self, programs: Programs, *, always: bool) -> None:
        """Migrate, create what a new installation has, collect static files; nothing if no code has changed since."""
        stamp = self._session.var / "prepared"
