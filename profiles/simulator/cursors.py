"""Cursor pages (section 4.3): a cursor names the last item seen, so that an insert while paging loses nothing."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from profiles.simulator.answers import ApiError

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Cursor:
    """position: the last item's place when it was served. item_id: its id."""

    position: int
    item_id: str

    def write(self) -> str:
        return base64.urlsafe_b64encode(json.dumps([self.position, self.item_id]).encode()).decode().rstrip("=")

    @staticmethod
    def read(text: str | None) -> "Cursor | None":
        """Raises 400 INVALID_CURSOR for what `write` did not make."""
        if text is None:
            return None
        try:
            position, item_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValueError, TypeError, binascii.Error) as error:
            raise invalid_cursor() from error
        if not isinstance(position, int) or not isinstance(item_id, str) or position < 0:
            raise invalid_cursor()
        return Cursor(position, item_id)


def invalid_cursor() -> ApiError:
    return ApiError(400, "INVALID_CURSOR", "The cursor is not one of ours or has expired")


def page_after(items: Sequence[tuple[str, Item]], cursor: Cursor | None, size: int) -> tuple[list[Item], str | None]:
    """Return up to `size` items behind the cursor, and the next cursor or None on the last page.

    items: (id, item) in order. An item that is gone since is replaced by the place it had.
    """
    start = 0
    if cursor is not None:
        ids = [item_id for item_id, _ in items]
        start = ids.index(cursor.item_id) + 1 if cursor.item_id in ids else cursor.position
    end = start + size
    following = Cursor(end - 1, items[end - 1][0]).write() if end < len(items) else None
    return [item for _, item in items[start:end]], following
