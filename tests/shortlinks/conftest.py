"""Three callers of the API: nobody in particular, an editor and an analyst."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from linklayer.keys import create_api_key

Call = Callable[..., Any]  # the test client's response: status_code, content, json(), headers by name


@pytest.fixture
def editor(db: None) -> str:
    """The text of a key with the scope links:write."""
    return create_api_key(name="editor", scopes=["links:write"])[1]


@pytest.fixture
def analyst(db: None) -> str:
    """The text of a key with the scope analytics:read."""
    return create_api_key(name="analyst", scopes=["analytics:read"])[1]


@pytest.fixture
def call(client: Client) -> Call:
    """Ask the API: call("POST", "/api/links", {"url": ...}, key=editor); a body of bytes goes as it is."""

    def send(method: str, path: str, body: Any = None, *, key: str = "", **headers: str) -> Any:
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return client.generic(method, path, data, content_type="application/json", headers=headers)

    return send
