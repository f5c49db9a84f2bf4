"""Linktree's JSON made into frozen values: one alias table, snake_case and camelCase alike (contract section 10).

Nothing is trusted: text is cut and made storable, numbers are bounded, unknown fields are ignored. What lacks an id is
no profile and no link: BadResponse.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from linklayer.storable import MAX_DEPTH, storable_text
from profiles.linktree.errors import BadResponse

Json = Mapping[str, Any]

# Read in this order; the first name is the one that we write.
ALIASES: dict[str, tuple[str, ...]] = {
    "display_name": ("display_name", "displayName"),
    "avatar_url": ("avatar_url", "avatarUrl", "profile_image_url", "profileImageUrl"),
    "updated_at": ("updated_at", "updatedAt", "last_modified", "lastModified"),
    "profile_id": ("profile_id", "profileId"),
    "click_count": ("click_count", "clickCount"),
    "thumbnail_url": ("thumbnail_url", "thumbnailUrl", "thumbnail"),
    "is_active": ("is_active", "isActive", "enabled", "active"),
    "has_more": ("has_more", "hasMore"),
    "existing_link_id": ("existing_link_id", "existingLinkId"),
}
_TITLE_MAX = 300
_TEXT_MAX = 2000
_URL_MAX = 8192
# As many as the pages of a list may hold; what has more shows its first ones, and no reader waits for ten thousand.
LINKS_MAX = 2000
_COUNT_MAX = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class LinktreeLink:
    """A link as Linktree has it. url: None for a header. click_count: None if unknown, which is not zero."""

    id: str
    title: str
    url: str | None
    position: int
    is_enabled: bool
    click_count: int | None
    type: str
    thumbnail_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinktreeProfile:
    """A profile as Linktree has it; missing texts are empty. updated_at: aware, None if it was not given."""

    id: str
    username: str
    display_name: str
    bio: str
    avatar_url: str
    theme: dict[str, Any]
    links: tuple[LinktreeLink, ...]
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class LinkPage:
    links: tuple[LinktreeLink, ...]
    cursor: str | None
    has_more: bool


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why one item of a bulk update failed. index: its place in what was sent."""

    index: int
    id: str
    code: str
    message: str


def field(document: Json, name: str) -> Any:
    """Return the value under the name or its first alias that is present, else None."""
    return next((document[alias] for alias in ALIASES.get(name, (name,)) if alias in document), None)


def unwrapped(document: Any) -> Any:
    """Return the content of a sole top-level `data` object, else the document."""
    if isinstance(document, dict) and set(document) == {"data"} and isinstance(document["data"], dict):
        return document["data"]
    return document


def read_profile(document: Any) -> LinktreeProfile:
    document = unwrapped(document)
    if not isinstance(document, dict):
        raise BadResponse("the profile is not an object")
    theme = document.get("theme")
    links = document.get("links")
    links = links[:LINKS_MAX] if isinstance(links, list) else []
    return LinktreeProfile(
        id=_id(document, "profile"),
        username=_text(document.get("username"), 64),
        display_name=_text(field(document, "display_name"), 200),
        bio=_text(document.get("bio"), _TEXT_MAX),
        avatar_url=_text(field(document, "avatar_url"), 2048),
        theme=_storable_json(theme) if isinstance(theme, dict) else {},
        links=tuple(read_link(item, place) for place, item in enumerate(links)),
        updated_at=read_time(field(document, "updated_at")),
    )


def read_link(document: Any, place: int = 0) -> LinktreeLink:
    """place: the position of a link that names none."""
    if not isinstance(document, dict):
        raise BadResponse("a link is not an object")
    url = document.get("url")
    position = _count(document.get("position"))
    return LinktreeLink(
        id=_id(document, "link"),
        title=_text(document.get("title"), _TITLE_MAX),
        url=storable_text(url)[:_URL_MAX] if isinstance(url, str) and url else None,
        position=place if position is None else min(position, 2**31 - 1),
        is_enabled=_is_enabled(document),
        click_count=_count(field(document, "click_count")),
        type=_text(document.get("type"), 40) or "classic",
        thumbnail_url=_text(_thumbnail(document), 2048),
    )


def read_link_page(document: Any) -> LinkPage:
    """A page is `{"data": [...]}`, `{"links": [...]}`, or a bare array, which is the last page."""
    if isinstance(document, list):
        return LinkPage(tuple(read_link(item, place) for place, item in enumerate(document)), None, has_more=False)
    if not isinstance(document, dict):
        raise BadResponse("the list of links is not a list")
    items = document.get("data", document.get("links"))
    if not isinstance(items, list):
        raise BadResponse("the list of links is not a list")
    cursor = document.get("cursor")
    links = tuple(read_link(item, place) for place, item in enumerate(items))
    return LinkPage(links, cursor if isinstance(cursor, str) else None, field(document, "has_more") is True)


def read_item_errors(document: Any, sent_ids: list[str]) -> list[ItemError]:
    """Return the errors of a bulk answer. sent_ids: the ids in the order in which they were sent."""
    errors = document.get("errors") if isinstance(document, dict) else None
    found = []
    for item in errors if isinstance(errors, list) else []:
        index = _count(item.get("index")) if isinstance(item, dict) else None
        if index is None or index >= len(sent_ids):
            raise BadResponse("a bulk error names no item")
        code, message = _text(item.get("code"), 64) or "UNKNOWN", _text(item.get("message"), 300)
        found.append(ItemError(index, sent_ids[index], code, message))
    return found


def read_time(value: Any) -> datetime | None:
    """Return an ISO-8601 time as an aware one; without an offset it is UTC. None for anything else."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _is_enabled(document: Json) -> bool:
    flag = field(document, "is_active")
    if isinstance(flag, bool):
        return flag
    return document.get("archived") is not True


def _thumbnail(document: Json) -> Any:
    own = field(document, "thumbnail_url")
    metadata = document.get("metadata")
    return field(metadata, "thumbnail_url") if own is None and isinstance(metadata, dict) else own


def _id(document: Json, kind: str) -> str:
    """Ids are opaque: a string or an integer, kept as a string."""
    value = document.get("id")
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text or len(text) > 100 or text != storable_text(text):
        raise BadResponse(f"the {kind} has no usable id")
    return text


def _text(value: Any, limit: int) -> str:
    return storable_text(value)[:limit] if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _COUNT_MAX else None


def _storable_json(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {storable_text(name): _storable_json(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_storable_json(item, depth + 1) for item in value]
    return value
