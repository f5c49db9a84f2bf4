"""Foreign values made fit for PostgreSQL and JSON: no NUL, no lone surrogates, no bytes, no dates, no NaN."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
MAX_DEPTH = 16
MAX_ITEMS = 200
MAX_TEXT = 4096


def storable_text(text: str) -> str:
    r"""Return the text with NUL and lone surrogates spelled out (`\x00`, `\ud800`); equal texts stay equal."""
    return _UNSTORABLE.sub(_spelled_out, text)


def shown_text(raw: bytes, *, limit_bytes: int = MAX_TEXT) -> str:
    r"""Return the beginning of any bytes as text for a person: UTF-8, everything else spelled out (`\xff`, `\x00`)."""
    text = raw[:limit_bytes].decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
    return f"{text}… ({len(raw)} bytes)" if len(raw) > limit_bytes else text


def storable(value: Any, depth: int = 0) -> Any:
    """Return a JSON value close to any value that a message's headers may hold.

    Cut to 16 levels, 200 items a level and 4,096 characters a text: headers are foreign, their size is not ours.
    """
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return shown_text(bytes(value))
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {storable_text(str(key))[:MAX_TEXT]: storable(held, depth + 1) for key, held in _some(value.items())}
    if depth < MAX_DEPTH and isinstance(value, list | tuple):
        return [storable(held, depth + 1) for held in _some(value)]
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return storable_text(text)[:MAX_TEXT]


def _some(items: Any) -> list[Any]:
    return list(items)[:MAX_ITEMS]


def _spelled_out(match: re.Match[str]) -> str:
    character = match.group()
    return "\\x00" if character == "\x00" else f"\\u{ord(character):04x}"
