"""The endpoint table of section 4.1: path, limit class, scopes and who answers."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from profiles.simulator import link_endpoints as links
from profiles.simulator import profile_endpoints as profiles
from profiles.simulator import webhook_endpoints as webhooks
from profiles.simulator.answers import ApiError, Reply, not_found
from profiles.simulator.calls import Call

Scopes = tuple[frozenset[str], ...]  # any one of these sets is enough; no set at all asks for nothing

NO_SCOPE: Scopes = ()
READ_PROFILE: Scopes = (frozenset({"profile:read"}),)
WRITE_PROFILE: Scopes = (frozenset({"profile:write"}),)
READ_LINKS: Scopes = (frozenset({"links:read"}), frozenset({"links:write"}), frozenset({"profile:read"}))
WRITE_LINKS: Scopes = (frozenset({"links:write"}),)
MANAGE_WEBHOOKS: Scopes = (frozenset({"webhooks:manage"}), frozenset({"profile:read", "links:write"}))


@dataclass(frozen=True, slots=True)
class Route:
    """is_open: needs no token and costs no slot (E1). needs_plan: refused with 403 on the free plan."""

    method: str
    template: str
    limit_class: str | None
    scopes: Scopes
    endpoint: Callable[[Call], Reply]
    is_open: bool = False
    needs_plan: bool = False

    @property
    def takes_body(self) -> bool:
        return self.method in {"POST", "PATCH", "PUT"} and self.endpoint is not webhooks.ping_subscription


def _update_routes() -> list[Route]:
    """E9 under its three names."""
    named = [("PATCH", "/links/{id}"), ("PUT", "/links/{id}"), ("PATCH", "/profiles/{pid}/links/{id}")]
    return [Route(method, template, "link-write", WRITE_LINKS, links.update_link) for method, template in named]


ROUTES: list[Route] = [
    Route("GET", "/health", None, NO_SCOPE, profiles.health, is_open=True),
    *(Route("GET", path, "profile", READ_PROFILE, profiles.default_profile) for path in ("/profile", "/me", "/user")),
    Route("GET", "/profiles", "profile", READ_PROFILE, profiles.list_profiles),
    Route("GET", "/profiles/{ref}", "profile", READ_PROFILE, profiles.one_profile),
    Route("PATCH", "/profiles/{id}", "profile", WRITE_PROFILE, profiles.update_profile, needs_plan=True),
    Route("GET", "/links", "profile", READ_LINKS, links.list_links),
    Route("GET", "/profiles/{id}/links", "profile", READ_LINKS, links.list_links),
    Route("POST", "/links", "link-write", WRITE_LINKS, links.create_link),
    Route("POST", "/profiles/{id}/links", "link-write", WRITE_LINKS, links.create_link),
    Route("PATCH", "/links/reorder", "link-write", WRITE_LINKS, links.reorder_links),
    Route("GET", "/links/{id}", "profile", READ_LINKS, links.one_link),
    *_update_routes(),
    Route("DELETE", "/links/{id}", "link-write", WRITE_LINKS, links.delete_link),
    Route("DELETE", "/profiles/{pid}/links/{id}", "link-write", WRITE_LINKS, links.delete_link),
    Route("PATCH", "/profiles/{id}/links", "link-write", WRITE_LINKS, links.bulk_update),
    Route("POST", "/webhooks", "webhook-mgmt", MANAGE_WEBHOOKS, webhooks.create_subscription),
    Route("GET", "/webhooks", "webhook-mgmt", MANAGE_WEBHOOKS, webhooks.list_subscriptions),
    Route("GET", "/webhooks/{id}", "webhook-mgmt", MANAGE_WEBHOOKS, webhooks.one_subscription),
    Route("PATCH", "/webhooks/{id}", "webhook-mgmt", MANAGE_WEBHOOKS, webhooks.update_subscription),
    Route("DELETE", "/webhooks/{id}", "webhook-mgmt", MANAGE_WEBHOOKS, webhooks.delete_subscription),
    Route("POST", "/webhooks/{id}/test", "webhook-mgmt", MANAGE_WEBHOOKS, webhooks.ping_subscription),
    Route("GET", "/link-types", "profile", NO_SCOPE, profiles.link_types),
    Route("GET", "/upload/formats", "profile", NO_SCOPE, profiles.upload_formats),
]
_VERSION = re.compile(r"(?:/api)?/(v1|v2)(/.*)")


@dataclass(frozen=True, slots=True)
class Match:
    """A path found in the table; route is None when the path is known and the method is not."""

    route: Route | None
    params: dict[str, str]
    allowed: tuple[str, ...]


def find(method: str, path: str, *, v2: bool = False) -> Match | None:
    """Return the first route for the path, or None when no route has it. Version 2 exists only under its fault."""
    version = _VERSION.fullmatch(path)
    if version is None or (version[1] == "v2" and not v2):
        return None
    hits = [(route, params) for route in ROUTES if (params := _params(route.template, version[2])) is not None]
    if not hits:
        return None
    # `/links/reorder` also looks like `/links/{id}`; the exact template alone answers for it.
    exact = [hit for hit in hits if "{" not in hit[0].template]
    chosen = exact or hits
    for route, params in chosen:
        if route.method == method:
            return Match(route, params, ())
    return Match(None, {}, tuple(sorted({route.method for route, _ in chosen})))


def refuse_unmatched(match: Match | None) -> Route:
    """Return the route; raises 404 for an unknown path and 405 for a known one."""
    if match is None:
        raise not_found("ROUTE")
    if match.route is None:
        allow = {"Allow": ", ".join(match.allowed)}
        raise ApiError(405, "METHOD_NOT_ALLOWED", "This method is not allowed here", headers=allow)
    return match.route


def _params(template: str, path: str) -> dict[str, str] | None:
    parts, given = template.split("/"), path.split("/")
    if len(parts) != len(given):
        return None
    params: dict[str, str] = {}
    for part, value in zip(parts, given, strict=True):
        if part.startswith("{"):
            if not value:
                return None
            params[part[1:-1]] = value
        elif part != value:
            return None
    return params
