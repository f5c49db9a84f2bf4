"""The frozen values of profiles that cross borders, and the names under which they are cached; plain Python."""

import re
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

USERNAME_PATTERN = r"[0-9A-Za-z._-]{1,64}"
_USERNAME = re.compile(USERNAME_PATTERN, re.ASCII)


def is_username(text: str) -> bool:
    """Whether the text could be a username; ids that stand in a username's place have the same form."""
    return _USERNAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """What is to change in one link. id: the link's public id; what is None stays as it is."""

    id: str
    title: str | None = None
    url: str | None = None
    position: int | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkProblem:
    """Why one link could not be changed. index: its place in the request, from 0."""

    index: int
    id: str
    code: str
    message: str

    def to_json(self) -> Json:
        return {"index": self.index, "id": self.id, "code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUpdate:
    """The outcome of a bulk change: the ids that changed, and what could not be changed."""

    changed: list[str] = field(default_factory=list)
    problems: list[LinkProblem] = field(default_factory=list)


def profile_cache_key(profile_id: int) -> str:
    """The one entry that a profile has; its page and its JSON are made from it."""
    return f"profile:{profile_id}"


def links_cache_key(profile_id: int) -> str:
    return f"profile-links:{profile_id}"


def username_cache_key(username: str) -> str:
    """The pointer from a username, in any case, to the profile's id."""
    return f"username:{username.lower()}"
