"""What the base calls upward, by dotted name, so that it imports no app."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django.utils.module_loading import import_string


def load(dotted_names: Iterable[str]) -> list[Any]:
    """Return the objects behind the names, in their order; a wrong name is an ImportError at once."""
    return [_loaded(name) for name in dotted_names]


@lru_cache(maxsize=256)
def _loaded(dotted_name: str) -> Any:
    return import_string(dotted_name)
