"""Which process the Caddyfile sends a request to, and every address of the project that there is."""

import re
from collections.abc import Iterator

from django.urls import URLPattern, URLResolver, get_resolver

from tests.deploy.compose import CADDYFILE

NOBODY = "nobody"  # answered by the proxy itself
_SAMPLES = {"slug": "abc1234", "username": "ada"}


def process_for(method: str, path: str) -> str:
    """Return the upstream of the first `handle` that takes the request, or NOBODY."""
    for matcher, block in re.findall(r"^\thandle (?:@(\w+) )?\{\n(.*?)^\t\}", CADDYFILE, re.MULTILINE | re.DOTALL):
        if not matcher or _matches(matcher, method, path):
            upstream = re.search(r"reverse_proxy (\w+):", block)
            return upstream[1] if upstream else NOBODY
    raise AssertionError("the Caddyfile has a handle for all that is left")


def _matches(matcher: str, method: str, path: str) -> bool:
    definition = re.search(rf"^\t@{matcher} (not method|path) (.+)$", CADDYFILE, re.MULTILINE)
    assert definition, f"no matcher @{matcher}"
    kind, values = definition[1], definition[2].split()
    return method not in values if kind == "not method" else any(_is_path(pattern, path) for pattern in values)


def _is_path(pattern: str, path: str) -> bool:
    """Caddy's rule for paths: no case; a `*` at the end takes everything, elsewhere what is within two slashes."""
    start = pattern.removesuffix("*")
    expression = re.escape(start).replace(r"\*", "[^/]*") + (".*" if start != pattern else "")
    return re.fullmatch(expression, path, re.IGNORECASE) is not None


def routes() -> dict[str, str]:
    """Return all routes of the project with an example of each; the admin's hundred are one, `admin/`."""
    return {route: _example(route) for route in _routes(get_resolver().url_patterns, "")}


def _routes(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver) and pattern.app_name != "admin":
            yield from _routes(pattern.url_patterns, route)
        else:
            yield route


def _example(route: str) -> str:
    named = re.sub(r"<\w+:(\w+)>|\^?\(\?P<(\w+)>.*?\)(?:\\Z)?", lambda found: _SAMPLES[found[1] or found[2]], route)
    return f"/{named}"
