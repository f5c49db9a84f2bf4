"""The pins: nothing that pip installs for us is left to chance."""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(path: Path) -> dict[str, Requirement]:
    """Return the requirements of a file and of those it includes, by canonical name."""
    found: dict[str, Requirement] = {}
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            found |= pinned(path.parent / line[3:])
        elif line and not line.startswith("#"):
            requirement = Requirement(line)
            found[canonical(requirement.name)] = requirement
    return found


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_everything_is_pinned_also_what_is_needed_by_what_we_need(name: str) -> None:
    pins = pinned(ROOT / name)
    assert all(re.fullmatch(r"==[^*]+", str(pin.specifier)) for pin in pins.values())
    for pin in pins.values():
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        for text in distribution(pin.name).requires or []:
            needed = Requirement(text)
            extras = pin.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                assert canonical(needed.name) in pins, f"{pin.name} needs {needed}"
