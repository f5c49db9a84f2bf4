"""The simulator's data: accounts' tokens, profiles, links and subscriptions, kept in memory and in one JSON file."""

import json
import secrets
import string
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from profiles.simulator.answers import Json, not_found
from profiles.simulator.clock import iso

_ID_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(slots=True)
class Token:
    """expires_at: Unix seconds, or None for never."""

    value: str
    account: str
    plan: str
    scopes: list[str]
    default_profile: str
    expires_at: float | None = None


@dataclass(slots=True)
class Link:
    """A link of a profile; its position is its place in the profile's list of ids."""

    id: str
    profile_id: str
    title: str
    url: str | None
    is_active: bool = True
    type: str = "classic"
    thumbnail_url: str | None = None
    metadata: Json = field(default_factory=dict)
    click_count: int | None = None
    created_at: str = ""
    updated_at: str = ""


@dataclass(slots=True)
class Profile:
    id: str
    account: str
    username: str
    display_name: str | None
    bio: str | None
    avatar_url: str | None
    tier: str
    theme: Json | None
    created_at: str
    updated_at: str
    is_deactivated: bool = False
    link_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Subscription:
    """failing_since: Unix seconds of the first failure after the last success, or None."""

    id: str
    account: str
    url: str
    events: list[str]
    status: str
    created_at: str
    failing_since: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an account's data (section 9.1)."""

    id: str
    type: str
    timestamp: str
    account: str
    profile_id: str | None
    data: Json


class World:
    """All data of the simulator. Not locked: the application handles one request at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.tokens: dict[str, Token] = {}
        self.profiles: dict[str, Profile] = {}
        self.links: dict[str, Link] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.events: list[Event] = []

    def now(self) -> str:
        return iso(self.clock())

    def profile(self, account: str, ref: str) -> Profile:
        """Return a profile by id, else by username in any case; raises 404 for another account's too."""
        found = self.profiles.get(ref) or next(
            (profile for profile in self.profiles.values() if profile.username == ref.lower()), None
        )
        if found is None or found.account != account or found.is_deactivated:
            raise not_found("PROFILE")
        return found

    def link(self, account: str, link_id: str) -> Link:
        found = self.links.get(link_id)
        if found is None or self.profiles[found.profile_id].account != account:
            raise not_found("LINK")
        return found

    def links_of(self, profile: Profile) -> list[Link]:
        return [self.links[link_id] for link_id in profile.link_ids]

    def subscription(self, account: str, subscription_id: str) -> Subscription:
        found = self.subscriptions.get(subscription_id)
        if found is None or found.account != account:
            raise not_found("WEBHOOK")
        return found

    def announce(self, event_type: str, profile: Profile, data: Json) -> None:
        """Raise an event; the application hands it to the webhook sender after the answer is decided."""
        self.events.append(
            Event(
                id=new_id("evt"),
                type=event_type,
                timestamp=self.now(),
                account=profile.account,
                profile_id=profile.id,
                data={**data, "username": profile.username},
            )
        )

    def take_events(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def save(self, path: Path) -> None:
        """Write everything to the file, whole or not at all."""
        document = {name: [asdict(item) for item in getattr(self, name).values()] for name in _TABLES}
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(document))
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Read what `save` wrote. Raises ValueError or OSError when the file is not ours."""
        document = json.loads(path.read_text())
        for name, (kind, key) in _TABLES.items():
            rows = [kind(**row) for row in document[name]]
            setattr(self, name, {getattr(row, key): row for row in rows})


_TABLES: dict[str, tuple[type, str]] = {
    "tokens": (Token, "value"),
    "profiles": (Profile, "id"),
    "links": (Link, "id"),
    "subscriptions": (Subscription, "id"),
}


def new_id(prefix: str) -> str:
    """Return an opaque id: the prefix and 12 characters."""
    return f"{prefix}_{''.join(secrets.choice(_ID_ALPHABET) for _ in range(12))}"
