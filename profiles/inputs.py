"""What the API of profiles takes in: strict fields that coerce nothing; what they do not know is refused by name."""

from typing import Any

from rest_framework import serializers

from profiles.contracts import LinkChange
from profiles.services import TITLE_MAX

LINKS_AT_ONCE_MAX = 50
URL_MAX = 2048
POSITION_MAX = 10_000
_NAMES = ("id", "title", "url", "position", "enabled")


def read_link_changes(data: Any) -> list[LinkChange]:
    """Return the changes that a body `{"links": [{"id", "title"?, "url"?, "position"?, "enabled"?}]}` asks for.

    Raises DRF's ValidationError naming `links.<index>.<field>`.
    """
    if not isinstance(data, dict):
        raise serializers.ValidationError(["The body must be a JSON object."])
    unknown = [name for name in data if name != "links"]
    if unknown:
        raise serializers.ValidationError({str(name)[:100]: ["There is no such field."] for name in unknown[:10]})
    items = data.get("links")
    if not isinstance(items, list) or not 1 <= len(items) <= LINKS_AT_ONCE_MAX:
        raise serializers.ValidationError({"links": [f"Must be a list of 1 to {LINKS_AT_ONCE_MAX} objects."]})
    problems = {f"links.{index}.{name}": [text] for index, item in enumerate(items) for name, text in _problems(item)}
    problems |= _repeated(items, "id") | _repeated(items, "position")
    if problems:
        raise serializers.ValidationError(problems)
    return [LinkChange(**{**item, "title": _trimmed(item.get("title"))}) for item in items]


def _problems(item: Any) -> list[tuple[str, str]]:
    """Return (field, sentence) for everything that is wrong with one item."""
    if not isinstance(item, dict):
        return [("", "Must be an object.")]
    found = [(str(name)[:100], "There is no such field.") for name in item if name not in _NAMES][:10]
    if not _is_text(item.get("id"), 100):
        found.append(("id", "Must be the id of a link."))
    if "title" in item and not _is_text(_trimmed(item["title"]), TITLE_MAX):
        found.append(("title", f"Must be a text of 1 to {TITLE_MAX} characters."))
    if "url" in item and not _is_text(item["url"], URL_MAX):
        found.append(("url", f"Must be a URL of at most {URL_MAX} characters."))
    position = item.get("position", 0)
    if type(position) is not int or not 0 <= position <= POSITION_MAX:
        found.append(("position", f"Must be a whole number from 0 to {POSITION_MAX}."))
    if not isinstance(item.get("enabled", True), bool):
        found.append(("enabled", "Must be true or false."))
    if len(item) == 1 and not found:
        found.append(("", "Says nothing to change."))
    return found


def _repeated(items: list[Any], name: str) -> dict[str, list[str]]:
    seen: set[Any] = set()
    found: dict[str, list[str]] = {}
    for index, item in enumerate(items):
        value = item.get(name) if isinstance(item, dict) else None
        if isinstance(value, str | int) and value in seen:
            found[f"links.{index}.{name}"] = ["Appears twice."]
        elif isinstance(value, str | int):
            seen.add(value)
    return found


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _is_text(value: Any, limit: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= limit
