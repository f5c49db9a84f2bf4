"""What one `make run` keeps in `var/`: its lock, its secrets, and where its servers are.

One run per folder: the lock stands until the last process of the run has ended, also when the launcher was killed.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from linklayer.embedded.processes import EmbeddedError

# Free space to start with. A first start needs about 150 MB: 80 for the database, 25 for static files, 45 for copies.
FREE_BYTES = 200 * 1024 * 1024
_LONGEST_FOLDER = 40  # characters; below it stand sockets, whose paths end at 107 bytes
_ENDING_SECONDS = 8.0  # a killed run is cleared away in 5
_PREFIX = "linklayer-"


def temporary_folder() -> Path:
    """Return the folder for temporary files, or /tmp where its name is too long for the sockets below it."""
    chosen = tempfile.gettempdir()
    return Path(chosen if len(chosen) <= _LONGEST_FOLDER else "/tmp")  # noqa: S108 - only unguessable names below it


class Session:
    """The state of a run. var: the folder that keeps it, created if missing.

    Raises EmbeddedError where the folder cannot be written to, or the disk is full.
    """

    def __init__(self, var: Path) -> None:
        self.var = var
        self._file = var / "session.json"
        for folder in (next(folder for folder in (var, *var.parents) if folder.exists()), temporary_folder()):
            _check_space(folder)
        try:
            (var / "secrets").mkdir(parents=True, exist_ok=True, mode=0o700)
            (var / "log").mkdir(exist_ok=True)
            self.lock = os.open(var / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EmbeddedError(f"cannot write to {var}: {error.strerror}") from error

    def acquire(self, pause: Callable[[float], None]) -> None:
        """Take the lock, waiting for the end of a killed run, and set aside the logs of the run before.

        Raises EmbeddedError when another run lives in this folder.
        """
        deadline = time.monotonic() + _ENDING_SECONDS
        while not self._try_lock():
            launcher = int(os.pread(self.lock, 20, 0) or 0)
            if _is_alive(launcher) or time.monotonic() > deadline:
                raise EmbeddedError(
                    f"Link Layer already runs from this folder (process {launcher}): stop it first, "
                    "or give this run a folder of its own with LINKLAYER_VAR"
                )
            pause(0.1)
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, str(os.getpid()).encode(), 0)
        self._remove_leftover()
        for log in (self.var / "log").glob("*.log"):
            log.replace(log.with_suffix(".previous"))

    def private_folder(self) -> Path:
        """Create the folder of this run's sockets: others may pass it (PostgreSQL's uid must), not read it."""
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temporary_folder()))
        folder.chmod(0o711)
        self._write({"private": str(folder)})
        return folder

    def publish(self, private: Path, environ: Mapping[str, str]) -> None:
        """Tell other commands of this folder where the servers are; see `join`."""
        self._write({"private": str(private), "environ": dict(environ)})

    def close(self) -> None:
        """Remove what only this run needed."""
        self._remove_leftover()

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _write(self, state: Mapping[str, object]) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(state))
        fresh.rename(self._file)

    def _remove_leftover(self) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            private = Path(json.loads(self._file.read_text())["private"])
            if private.name.startswith(_PREFIX) and private.stat().st_uid == os.geteuid():
                shutil.rmtree(private, ignore_errors=True)
        self._file.unlink(missing_ok=True)


def secret(var: Path, name: str, length_bytes: int = 48) -> str:
    """Return a secret of this installation, generated on first use and kept in var/secrets (mode 0600)."""
    path = var / "secrets" / name
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(length_bytes))
        fresh.rename(path)
    return path.read_text()


def join(var: Path) -> None:
    """Let a command of this folder (`manage.py warm_cache`) use the servers of the run that lives in it.

    Does nothing when no run lives in var, or when the environment already names a server.
    """
    if any(name in os.environ for name in ("DATABASE_URL", "REDIS_URL", "AMQP_URL", "LINKLAYER_EMBEDDED")):
        return
    with contextlib.suppress(OSError, ValueError):
        state = json.loads((var / "session.json").read_text())
        if _is_alive(int((var / "lock").read_text())):
            os.environ.update(
                {name: value for name, value in state.get("environ", {}).items() if name not in os.environ}
            )


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise EmbeddedError(
            f"the disk is full: {folder} has {free // 2**20} MB left, Link Layer needs {FREE_BYTES // 2**20} MB"
        )


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
