"""The cached lookups behind every read of a profile, and the answers made from them.

A profile has one entry, by id; usernames in any case point to it. Behind the cache stands the snapshot in PostgreSQL;
Linktree is asked only when that is over-age or known to be outdated, and the snapshot serves as stale when it fails.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache, partial

from django.utils import timezone

from analytics.recorder import record_view
from analytics.selectors import busiest_profiles
from linklayer.cache import BeforeLoading, CachedReads, Found, Lifetime, Loaded
from linklayer.errors import NotFound
from linklayer.forgetting import current_version
from linklayer.problems import CONTENT_TYPE as PROBLEM_JSON
from linklayer.problems import problem
from linklayer.public_reads import Answer
from linklayer.tier1 import Entry
from linklayer.visitor import VisitorFacts
from linklayer.warming import Thing, WarmEntry, Warmer, most_read_first
from profiles import mirroring, selectors
from profiles.contracts import Json, is_username
from profiles.page import no_page_answer, page_answer

DAY_SECONDS = 24 * 3600.0
# The cache shortens a soft lifetime by up to a tenth and may refresh early: the snapshot must be due by then.
DUE_SHARE = 0.85
PROFILE_LIFETIME = Lifetime(soft_seconds=240, serve_behind_seconds=300, hard_seconds=DAY_SECONDS, deadline_seconds=2.0)
LINKS_LIFETIME = Lifetime(soft_seconds=120, serve_behind_seconds=150, hard_seconds=DAY_SECONDS, deadline_seconds=2.0)
USERNAME_LIFETIME = Lifetime(
    soft_seconds=3600, serve_behind_seconds=DAY_SECONDS, hard_seconds=DAY_SECONDS, deadline_seconds=0.5
)
FIRST_SIGHT_LIFETIME = Lifetime(soft_seconds=30, serve_behind_seconds=30, hard_seconds=30, deadline_seconds=2.0)

_BUSIEST_PROFILES = 10_000
_COUNTED = ("clickCount",)


def _load_id(username: str) -> Loaded | None:
    version = current_version(f"username:{username}")
    profile_id = selectors.find_profile_id(username)
    return None if profile_id is None else Loaded(version, {"id": profile_id})


def _key_of(value: Json) -> str:
    return str(value["id"])


def _load_first_sight(username: str) -> Loaded | None:
    profile_id = mirroring.mirror_profile(username)
    return None if profile_id is None else Loaded(0, {"id": profile_id})


def _load(lifetime: Lifetime, namespace: str, shape: Callable[[Json], Json], key: str) -> Loaded | None:
    """Read the snapshot, after asking Linktree if it is due; say how old it is, and whether the source failed."""
    profile_id, full_key = int(key), f"{namespace}:{key}"
    # Before what it versions: an event that comes in between makes this value too old to be kept, never too new.
    version, age = current_version(full_key), selectors.sync_age(profile_id, now=timezone.now())
    if age is None or not age.is_public:
        return None
    is_stale = False
    if age.is_mirrored and (age.is_outdated or age.age_seconds >= lifetime.soft_seconds * DUE_SHARE):
        is_stale = age.is_waiting or not mirroring.refresh_for_reader(profile_id)
        version_then, version = version, current_version(full_key)
        age = selectors.sync_age(profile_id, now=timezone.now()) or age
        if age.is_outdated and not is_stale:
            version = version_then  # an event came while we asked: the next reader asks again
    profile = selectors.public_profile(profile_id)
    if profile is None:
        return None
    return Loaded(version, {**shape(profile), "id": profile_id}, age_seconds=age.age_seconds, is_stale=is_stale)


def _whole(profile: Json) -> Json:
    return {"profile": profile, "etag": _etag(profile)}


def _links_only(profile: Json) -> Json:
    document = {
        "profileId": profile["id"],
        "username": profile["username"],
        "links": profile["links"],
        "lastModified": profile["lastModified"],
        "lastSyncedAt": profile["lastSyncedAt"],
    }
    return {"profile": document, "etag": _etag(document)}


def _etag(profile: Json) -> str:
    """Weak, and blind to what changes without an edit: click counts and the moment of the last sync."""
    links = [{name: value for name, value in link.items() if name not in _COUNTED} for link in profile["links"]]
    shown = {**profile, "links": links, "lastSyncedAt": None}
    digest = hashlib.sha256(json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return f'W/"{digest[:24]}"'


profile_reads = CachedReads("profile", PROFILE_LIFETIME, partial(_load, PROFILE_LIFETIME, "profile", _whole))
links_reads = CachedReads("profile-links", LINKS_LIFETIME, partial(_load, LINKS_LIFETIME, "profile-links", _links_only))
username_reads = CachedReads("username", USERNAME_LIFETIME, _load_id, _key_of)
first_sight_reads = CachedReads("first-sight", FIRST_SIGHT_LIFETIME, _load_first_sight, _key_of)


def resolve_id(username: str, *, before_loading: BeforeLoading, before_asking: Callable[[], None]) -> str | None:
    """Return the cache key of the profile that a username (or id) means, None if there is none.

    before_loading: as in CachedReads.resolve. before_asking: called before Linktree is asked about a name that we do
    not know; it may raise, so that strangers cannot spend the quota. Raises Unavailable if neither database nor
    Linktree can answer.
    """
    if not is_username(username):
        return None
    found = username_reads.resolve(username.lower(), before_loading=before_loading)
    if found is None:
        if not first_sight_reads.is_absent(username.lower()):
            before_asking()
        found = first_sight_reads.resolve(username.lower())
    key: str | None = None if found is None else found.value
    return key


def _is_known_absent(username: str) -> bool:
    """Tell whether this process knows that neither we nor Linktree have the name."""
    name = username.lower()
    return is_username(username) and username_reads.is_absent(name) and first_sight_reads.is_absent(name)


@cache
def no_json_answer() -> Answer:
    document = problem(NotFound("There is no such profile."))
    return Answer(404, (("Content-Type", PROBLEM_JSON),), json.dumps(document).encode())


def json_answer(found: Found) -> Answer:
    body = json.dumps(found.value["profile"], ensure_ascii=False, separators=(",", ":")).encode()
    headers = (
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-cache"),
        ("ETag", found.value["etag"]),
        ("Vary", "Authorization"),
    )
    return Answer(200, headers, body)


class ProfileRead:
    """The public read of `GET /api/profiles/<username>`: the brief's Profile."""

    reads = profile_reads
    shows_cache = True
    prefix = "/api/profiles/"

    def peek(self, path: str) -> Entry | None:
        key = self.key(path)
        return None if key is None else self.reads.peek(key)

    def key(self, path: str) -> str | None:
        named = self.name(path)
        entry = None if named is None else username_reads.peek(named[1])
        return None if entry is None else entry.value

    def name(self, path: str) -> tuple[CachedReads, str] | None:
        username = path[len(self.prefix) :] if path.startswith(self.prefix) else ""
        return (username_reads, username.lower()) if is_username(username) else None

    def absent(self, path: str) -> Answer | None:
        if not path.startswith(self.prefix):
            return None
        key, username = self.key(path), path[len(self.prefix) :]
        is_absent = _is_known_absent(username) if key is None else self.reads.is_absent(key)
        return self.not_there() if is_absent else None

    def not_there(self) -> Answer:
        """Return the answer where no profile is, or none that everybody may see."""
        return no_json_answer()

    def answer(self, found: Found) -> Answer:
        return json_answer(found)

    def expires_at(self, found: Found) -> float | None:
        return None

    def record(self, found: Found, answer: Answer, facts: VisitorFacts) -> None:
        record_view(profile_id=found.value["id"], facts=facts)


class PageRead(ProfileRead):
    """The public read of `GET /@<username>`: the profile page."""

    prefix = "/@"

    def not_there(self) -> Answer:
        return no_page_answer()

    def answer(self, found: Found) -> Answer:
        return page_answer(found.value["profile"], etag=found.value["etag"])


class LinksRead(ProfileRead):
    """The read of `GET /api/profiles/<username>/links`; the front door leaves it to Django."""

    reads = links_reads

    def record(self, found: Found, answer: Answer, facts: VisitorFacts) -> None:
        """A list of links is no view of the profile."""


profile_read = ProfileRead()
page_read = PageRead()
links_read = LinksRead()


def _batches(at_once: int) -> Iterator[list[Thing]]:
    """Yield profiles: those with the most views of late first, then the newest."""
    for rows in most_read_first(selectors.visible_profiles(), busiest_profiles(_BUSIEST_PROFILES), at_once):
        yield [_to_warm(str(row.pk), row.username.lower()) for row in rows]


def _to_warm(key: str, username: str) -> Thing:
    """Return what a profile's first visitor needs, from the snapshot alone: a warm-up spends none of Linktree's quota.

    An outdated snapshot is left to a visitor, who asks Linktree.
    """
    version, age = current_version(f"profile:{key}"), selectors.sync_age(int(key), now=timezone.now())
    profile = selectors.public_profile(int(key))
    known_as = _load_id(username)
    if age is None or age.is_outdated or age.age_seconds >= DAY_SECONDS or profile is None or known_as is None:
        return []
    loaded = Loaded(version, {**_whole(profile), "id": int(key)}, age_seconds=age.age_seconds)
    return [WarmEntry(profile_reads, key, loaded), WarmEntry(username_reads, username, known_as)]


warm = Warmer("profiles", _batches, lambda: selectors.visible_profiles().count(), hottest=100)
