"""What the code, `docker-compose.yml` and `.env.example` say about environment variables, read from their sources."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("linklayer", "profiles", "shortlinks", "analytics", "webhooks")
# Read, but not settings of ours: what the operating system, Python or Django set for every process.
FOREIGN = {"DJANGO_SETTINGS_MODULE", "HOME", "PATH", "CI", "TERM", "NO_COLOR", "PWD", "TMPDIR"}
# django-environ's name of a type: no name of a variable stands in the first place of other methods.
CASTS = {"str", "int", "bool", "float", "list", "db", "url", "json", "bytes"}


@dataclass(frozen=True, slots=True)
class Reading:
    """One place where the code reads a variable. default: a plain value, or None where it is computed or absent."""

    name: str
    default: str | int | bool | None
    place: str


@cache
def readings() -> list[Reading]:
    """Return every reading of an environment variable in the five packages, in file order."""
    sources = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [reading for path in sources for reading in _readings_of(path) if reading.name not in FOREIGN]


def _readings_of(path: Path) -> Iterator[Reading]:
    place = str(path.relative_to(ROOT))
    module = ast.parse(path.read_text())
    constants = _named_constants(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _reads_environment(node.func) and node.args:
            name, default = _constant(node.args[0], constants), _default(node)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_environ(node.value):
            name, default = _constant(node.slice, constants), None
        else:
            continue
        if isinstance(name, str):
            yield Reading(name, default, place)


def _named_constants(module: ast.Module) -> dict[str, str | int | bool | None]:
    """Return the plain values that a module gives names to: a variable's name may stand in one."""
    return {
        target.id: _constant(statement.value, {})
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _reads_environment(function: ast.expr) -> bool:
    """`env.int(...)`, `os.environ.get(...)` or `os.getenv(...)`; setting a default for others is no reading."""
    if not isinstance(function, ast.Attribute):
        return False
    owner = function.value
    if isinstance(owner, ast.Name) and owner.id == "env":
        return function.attr in CASTS
    if isinstance(owner, ast.Name) and owner.id == "os":
        return function.attr == "getenv"
    return _is_environ(owner) and function.attr == "get"


def _is_environ(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def _default(call: ast.Call) -> str | int | bool | None:
    given = call.args[1:2] or [word.value for word in call.keywords if word.arg == "default"]
    return _constant(given[0], {}) if given else None


def _constant(node: ast.expr, names: dict[str, str | int | bool | None]) -> str | int | bool | None:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str | int) else None


@dataclass(frozen=True, slots=True)
class Documented:
    """One variable of `.env.example`. value: what stands behind the `=`. meaning: the comment above it."""

    name: str
    value: str
    meaning: str
    required: bool


def documented(text: str | None = None) -> list[Documented]:
    """Return the variables of `.env.example` (or of the given text of that form), in order."""
    lines = (text if text is not None else (ROOT / ".env.example").read_text()).splitlines()
    found, comment = [], ""
    for line in lines:
        if match := re.fullmatch(r"(#?)([A-Z][A-Z0-9_]*)=(.*)", line):
            found.append(Documented(match[2], match[3], comment.strip(), required=not match[1]))
            comment = ""
        elif line.startswith("# ") and not line.startswith("# ---"):
            comment += line[1:]
        else:
            comment = ""
    return found


def compose_variables(text: str) -> set[str]:
    """Return the names that Compose puts into the text for `${NAME}`, `${NAME:-default}` and `${NAME:?message}`."""
    return set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", text))
