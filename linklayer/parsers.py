"""How the API reads a body: strictly, and no more than it is allowed to be."""

import json
from typing import Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from linklayer.errors import InvalidInput, TooLarge

MAX_DEPTH = 20


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 has it: no NaN, at most 20 levels, no text that PostgreSQL or UTF-8 cannot hold."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read(settings.API_BODY_BYTES + 1)
        if len(body) > settings.API_BODY_BYTES:
            raise TooLarge(f"at most {settings.API_BODY_BYTES} bytes are accepted here")
        try:
            data = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidInput({"": ["the body is not valid JSON"]}) from error
        _check_text(data, path="", depth=0)
        return data


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _check_text(data: Any, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInput({path: ["nested too deeply"]})
    if isinstance(data, str):
        _check_string(data, path)
    elif isinstance(data, list):
        for position, item in enumerate(data):
            _check_text(item, f"{path}.{position}".lstrip("."), depth + 1)
    elif isinstance(data, dict):
        for name, item in data.items():
            _check_string(name, path)
            _check_text(item, f"{path}.{name}".lstrip("."), depth + 1)


def _check_string(text: str, path: str) -> None:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput({path: ["contains a NUL or an unpaired surrogate"]})
