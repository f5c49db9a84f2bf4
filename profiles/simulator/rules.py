"""What the simulator accepts in a field (section 10.5): URL syntax is 400, every other semantic error 422."""

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from profiles.simulator.answers import ApiError, Json, invalid_fields, invalid_url

TITLE_MAX = 100
BIO_MAX = 160
DISPLAY_NAME_MAX = 60
URL_MAX = 2048
LINKS_MAX = 500
LINK_TYPES = ("classic", "header", "music", "video", "commerce", "scheduling")
IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_IMAGE_PATH = re.compile(r"\.(png|jpe?g|gif)$", re.IGNORECASE)


def clean_url(value: Any) -> str:
    """Return the URL as it was given; raises 400 INVALID_URL, or 422 when it is too long."""
    if not isinstance(value, str):
        raise invalid_fields({"url": ["must be a string"]})
    if len(value) > URL_MAX:
        raise invalid_fields({"url": [f"must have at most {URL_MAX} characters"]})
    if _CONTROL.search(value):
        raise invalid_url("URL holds a space or a control character")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise invalid_url("URL is malformed") from error
    if parts.scheme.lower() not in _DEFAULT_PORTS or not parts.hostname or port == 0:
        raise invalid_url("URL must begin with http:// or https:// and name a host")
    if "@" in parts.netloc:
        raise invalid_url("URL must not hold credentials")
    return value


def same_url_key(url: str) -> str:
    """Return the form in which two URLs of one profile are compared (section 4.4)."""
    parts = urlsplit(url)
    host = parts.netloc.lower()
    default = _DEFAULT_PORTS.get(parts.scheme.lower())
    host = host.removesuffix(f":{default}")
    return urlunsplit((parts.scheme.lower(), host, parts.path or "/", parts.query, parts.fragment))


def clean_title(value: Any) -> str:
    title = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(title) <= TITLE_MAX:
        raise invalid_fields({"title": [f"must have 1 to {TITLE_MAX} characters"]})
    return title


def clean_position(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid_fields({"position": ["must be an integer, zero or more"]})
    return value


def clean_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid_fields({name: ["must be true or false"]})
    return value


def clean_text(name: str, value: Any, limit: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit:
        raise invalid_fields({name: [f"must be a string of at most {limit} characters"]})
    return value


def clean_object(name: str, value: Any) -> Json:
    if not isinstance(value, dict):
        raise invalid_fields({name: ["must be an object"]})
    return value


def clean_image(name: str, value: Any) -> str | None:
    """Return an http(s) URL of a PNG, JPG or GIF, or None."""
    if value is None:
        return None
    try:
        url = clean_url(value)
    except ApiError as error:
        raise invalid_fields({name: [error.message]}) from error
    if not _IMAGE_PATH.search(urlsplit(url).path):
        raise invalid_fields({name: ["must lead to a PNG, JPG or GIF"]})
    return url


def clean_link_type(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 40:
        raise invalid_fields({"type": ["must be the name of a link type"]})
    return value
