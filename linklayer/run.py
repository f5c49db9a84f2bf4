"""`make run`: the whole system from one command, and its end with Ctrl-C.

Starts PostgreSQL and two Valkeys where no address is given, prepares the database, and starts and watches web, shipper,
workers, beat and the Linktree simulator. Whatever keeps it from starting is said in one line, and nothing stays behind.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from linklayer.embedded import door, welcome
from linklayer.embedded.prepare import Stamp
from linklayer.embedded.processes import EmbeddedError, Keeper, StopRequested
from linklayer.embedded.programs import Programs
from linklayer.embedded.servers import ALL, AMQP_URL, DATABASE_URL, NAMES, Servers
from linklayer.embedded.session import Session, secret
from linklayer.embedded.supervisor import Supervisor

PROJECT = Path(__file__).resolve().parent.parent
_READY_SECONDS = 60.0
_DEMO_PROFILE = "prof_demo00000001"  # of the simulator's `myusername`
_WEB_THREADS_OF_OURS = 8  # per web process, each with a connection: probes, refreshes behind, heartbeat, cache probe
_OTHER_CONNECTIONS = 40  # to PostgreSQL: shipper, workers, beat, commands, PostgreSQL's own reserve


def main() -> int:
    """Run until a signal says to end. Returns the exit status: 0 after an orderly end, 1 if it could not start."""
    try:
        front = door.from_environment()
        session = Session(Path(os.environ.get("LINKLAYER_VAR") or PROJECT / "var").resolve())
        session.acquire(time.sleep)
        front.check_free()
        with Keeper(held_open=(session.lock,)) as keeper:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: setattr(keeper, "stop_requested", True))
            _run(keeper, session, front)
    except EmbeddedError as error:
        sys.stderr.write(f"make run: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"make run: {error.filename or 'a file'}: {error.strerror}\n")
        return 1
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    return 0


def _run(keeper: Keeper, session: Session, front: door.Door) -> None:
    try:
        Launcher(keeper, session, front).start().watch()
    except StopRequested:
        _print("Stopping ...")
    finally:
        since = time.monotonic()
        keeper.close()
        session.close()
    _print(f"Stopped in {time.monotonic() - since:.1f} s. Data are kept in {session.var}.")


class Launcher:
    """One run: what is started, and in which order."""

    def __init__(self, keeper: Keeper, session: Session, front: door.Door) -> None:
        self._keeper = keeper
        self._session = session
        self._front = front
        self._since = time.monotonic()
        self._supervisor = Supervisor(keeper, self._say)
        self._private = session.private_folder()
        self._wait_for_simulator: Callable[[], None] = lambda: None

    def start(self) -> Supervisor:
        """Start everything and say where it is. Raises EmbeddedError and StopRequested."""
        wanted = [name for name in ALL if not _given(name)]
        settings = self._settings()
        settings |= self._start_simulator(settings)
        settings |= self._start_servers(wanted)
        self._session.publish(self._private, settings)
        programs = self._programs(settings)
        self._prepare(programs, keeps_database=DATABASE_URL in wanted)
        for program in programs.long_running(on_rabbitmq=_given(AMQP_URL).startswith("amqp")):
            self._supervisor.start(program)
        self._say("web, shipper, workers and beat are starting")
        self._supervisor.start_until(self._front.is_ready, timeout_seconds=_READY_SECONDS)
        self._say("ready")
        _print(welcome.text(self._front.url, settings, self._session.var))
        return self._supervisor

    def _say(self, line: str) -> None:
        _print(f"{time.monotonic() - self._since:6.1f} s  {line}")

    def _programs(self, settings: Mapping[str, str]) -> Programs:
        return Programs(PROJECT, self._session.var, settings)

    def _settings(self) -> dict[str, str]:
        """Return what is ours to decide; all else our programs inherit from our own environment."""
        metrics = self._private / "metrics"
        metrics.mkdir()
        settings = {
            "DJANGO_SETTINGS_MODULE": "linklayer.settings",
            "LINKLAYER_EMBEDDED": "1",
            "LINKLAYER_VAR": str(self._session.var),
            "PORT": str(self._front.port),
            "BIND": ",".join(self._front.hosts),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        }
        if not _given("SECRET_KEY"):
            settings["SECRET_KEY"] = secret(self._session.var, "secret_key")
        return settings

    def _start_simulator(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Start the simulator where no Linktree is given; return how to reach it."""
        if _given("LINKTREE_BASE_URL"):
            return {}
        port = door.free_port()
        linktree = {
            "LINKTREE_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "LINKTREE_API_KEY": secret(self._session.var, "linktree_api_key"),
            "LINKTREE_PROFILE_ID": _DEMO_PROFILE,
            "LINKTREE_WEBHOOK_SECRET": secret(self._session.var, "linktree_webhook_secret"),
        }
        program = self._programs({**settings, **linktree}).simulator(port, f"{self._front.url}/webhooks/linktree")
        process = self._supervisor.start(program)
        self._wait_for_simulator = lambda: self._keeper.wait_until(lambda: door.is_open(port), process, program)
        return linktree

    def _start_servers(self, wanted: Sequence[str]) -> dict[str, str]:
        threads = _number("DJANGO_THREADS", 10) + _WEB_THREADS_OF_OURS
        web = _number("WEB_CONCURRENCY", os.cpu_count() or 1) * threads
        password = secret(self._session.var, "database_password")
        servers = Servers(self._session.var, self._private, password, connections=web + _OTHER_CONNECTIONS)
        addresses = servers.start(self._keeper, wanted, self._supervisor.start)
        for name in ALL:
            self._say(f"{NAMES[name]} is up" if name in wanted else f"{name} is given: nothing started for it")
        return addresses

    def _prepare(self, programs: Programs, *, keeps_database: bool) -> None:
        """Migrate, create demo data and collect static files, side by side; nothing where no code has changed since.

        keeps_database: the database is ours and changes by our hands only. One that is given is always migrated.
        """
        var = self._session.var
        jobs = [
            (programs.prepare_database(), Stamp(PROJECT, var / "postgres" / "prepared"), keeps_database),
            (programs.collect_static(), Stamp(PROJECT, var / "static.prepared"), (var / "static").exists()),
        ]
        due = [(program, stamp) for program, stamp, can_stay in jobs if not (can_stay and stamp.is_current())]
        if due:
            self._wait_for_simulator()  # the demo profile comes from there
        started = [(self._keeper.start(program), program, stamp) for program, stamp in due]
        for process, program, stamp in started:
            self._keeper.wait_for_end(process, program)
            stamp.set()
            self._say(f"{program.name} done")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _given(name: str) -> str:
    """Return a setting from the environment, or from the file that NAME_FILE names; empty if neither is there."""
    file = os.environ.get(f"{name}_FILE")
    return os.environ.get(name) or (Path(file).read_text().strip() if file else "")


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise EmbeddedError(f"{name} must be a whole number from 1, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
