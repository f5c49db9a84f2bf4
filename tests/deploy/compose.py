"""`docker-compose.yml`, the Dockerfile and the Caddyfile as values that tests can compare with the code."""

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from tests.deploy.environment import ROOT

CADDYFILE = (ROOT / "docs/deploy/Caddyfile").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the compose file. command and probe: argument lists, empty where the image's own stand."""

    name: str
    command: tuple[str, ...]
    probe: tuple[str, ...]
    ours: bool
    settings: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.settings.get("environment", {}).items()}

    def option(self, *names: str) -> str:
        """Return what follows an option in the command; raises ValueError where the option is missing."""
        place = next(self.command.index(name) for name in names if name in self.command)
        return self.command[place + 1]


def services() -> dict[str, Service]:
    """Return every service by its name; `ours` are those that run the image of our Dockerfile."""
    return {name: _service(name, settings) for name, settings in COMPOSE["services"].items()}


def our_services() -> list[Service]:
    return [service for service in services().values() if service.ours]


def _service(name: str, settings: dict[str, Any]) -> Service:
    probe = settings.get("healthcheck", {}).get("test", [])
    arguments = shlex.split(probe[1].replace("$$", "$")) if probe[:1] == ["CMD-SHELL"] else probe[1:]
    command = tuple(str(word) for word in settings.get("command", []))
    return Service(name, command, tuple(arguments), "build" in settings, settings)


def dockerfile_words(instruction: str) -> list[str]:
    """Return the arguments of the last such instruction in JSON form, without options: CMD, or HEALTHCHECK's CMD."""
    joined = DOCKERFILE.replace("\\\n", " ")
    found = re.findall(rf"^{instruction}\b.*?(\[.*\])\s*$", joined, flags=re.MULTILINE)
    return [str(word) for word in json.loads(found[-1])]


def dockerfile_environment() -> dict[str, str]:
    """Return what the last stage's ENV sets."""
    last_stage = DOCKERFILE.replace("\\\n", " ").rsplit("\nFROM ", 1)[1]
    return dict(
        pair.split("=", 1) for line in re.findall(r"^ENV (.*)$", last_stage, re.MULTILINE) for pair in line.split()
    )


def caddy_paths(matcher: str) -> list[str]:
    """Return the path patterns of a named matcher of the Caddyfile."""
    line = re.search(rf"^\s*@{matcher} path (.+)$", CADDYFILE, re.MULTILINE)
    assert line, f"no matcher @{matcher}"
    return line[1].split()


def caddy_upstreams() -> set[tuple[str, int]]:
    """Return (service, port) of every reverse_proxy in the Caddyfile."""
    return {(name, int(port)) for name, port in re.findall(r"reverse_proxy (\S+):(\d+)", CADDYFILE)}
