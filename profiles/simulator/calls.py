"""One authenticated call as an endpoint sees it."""

from dataclasses import dataclass, field
from typing import Any

from profiles.simulator.answers import ApiError, Json
from profiles.simulator.world import Profile, Token, World


@dataclass(slots=True)
class Call:
    """params: the path's parts by name. query: the last value of each name. body: parsed JSON, {} without one.

    faults: names of faults that an endpoint itself must play (`bulk-partial`, `theme-noop`).
    """

    world: World
    token: Token
    params: dict[str, str]
    query: dict[str, str]
    body: Json
    faults: frozenset[str] = field(default_factory=frozenset)

    @property
    def account(self) -> str:
        return self.token.account

    def profile(self, ref: Any = None) -> Profile:
        """Return the named profile, or the token's default one."""
        return self.world.profile(self.account, str(ref) if ref else self.token.default_profile)


def page_size(query: dict[str, str]) -> int:
    """Return `limit`, 1..100, 50 when absent; larger values are clamped (section 4.3)."""
    text = query.get("limit", "50")
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise ApiError(400, "INVALID_FILTER", "limit must be an integer of at least 1")
    return min(int(text), 100)
