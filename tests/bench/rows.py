"""What stands in the database and the cache while we measure: links by number, and profiles by number.

Written in bulk, past the services: the reads under measure see no difference, and a million creations would take long.
Needs the settings of `product.start_servers` and django.setup() before any of the writing is called.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # models need django.setup() first
    from profiles.models import Profile

DESTINATION = "https://example.com/some/long/path/"
PROFILES = 100
# With this bio and so many links our JSON is as long as linklift's, a little longer: ours says more about each link.
_BIO = "A bio of ordinary length, long enough to be real. " * 4
_LINKS_PER_PROFILE = 6
# A statement of ours may take 10 s (DATABASE_STATEMENT_TIMEOUT_MS).
_INSERTED_AT_ONCE = 100_000
_PIPELINED = 10_000
_PATIENCE_SECONDS = 10.0
TIER_2_BYTES = 1 << 30

_INSERT_LINKS = """
INSERT INTO shortlinks_shortlink
  (slug, destination, status_code, is_active, is_anonymous, also_forget, version, policy_version)
SELECT 's' || lpad(number::text, greatest(5, length(number::text)), '0'), %s || number,
  302, true, false, '', 1, %s
FROM generate_series(%s::int, %s::int) AS number
"""


def slug(number: int) -> str:
    return f"s{number:05d}"


def destination(number: int) -> str:
    return f"{DESTINATION}{number}"


def username(number: int) -> str:
    return f"p{number:05d}"


def insert_links(first: int, last: int) -> None:
    """Insert the short links of these numbers, both included."""
    from django.db import connection

    from shortlinks.destinations import POLICY_VERSION

    with connection.cursor() as cursor:
        for low in range(first, last + 1, _INSERTED_AT_ONCE):
            high = min(low + _INSERTED_AT_ONCE - 1, last)
            cursor.execute(_INSERT_LINKS, [DESTINATION, POLICY_VERSION, low, high])
        cursor.execute("ANALYZE shortlinks_shortlink")


def cache_links(numbers: Iterable[int]) -> None:
    """Put the short links of these numbers into tier 2, each as a read of it would have left it there.

    Tier 2 is given the memory for them first: whoever has a million links gives Redis room for their hot part at least.
    """
    from django.conf import settings
    from redis import Redis

    from linklayer.tier2 import Envelope, EnvelopeSerializer, made_key
    from shortlinks.contracts import Destination
    from shortlinks.models import ShortLink
    from shortlinks.resolver import LINK_LIFETIME, redirect_reads

    serializer, now = EnvelopeSerializer({}), time.time()
    redis = Redis.from_url(settings.REDIS_URL, socket_timeout=_PATIENCE_SECONDS)  # more than a visitor's 100 ms
    redis.config_set("maxmemory", TIER_2_BYTES)
    ids = dict(ShortLink.objects.values_list("slug", "pk"))
    pipeline = redis.pipeline(transaction=False)
    for number in numbers:
        found = Destination(
            link_id=ids[slug(number)],
            profile_id=None,
            url=destination(number),
            status_code=302,
            expires_at=None,
            ending=None,
        )
        envelope = Envelope(1, found.to_json(), now, now + LINK_LIFETIME.soft_seconds, load_seconds=0.001)
        key = made_key(redirect_reads.full_key(slug(number)))
        pipeline.set(key, serializer.dumps(envelope), ex=int(LINK_LIFETIME.hard_seconds))
        if len(pipeline) == _PIPELINED:
            pipeline.execute()
    pipeline.execute()
    redis.close()


def insert_profiles() -> None:
    """Insert the own profiles, each with its links, which are short links as well."""
    from profiles.contracts import profile_cache_key
    from profiles.models import Profile, ProfileLink
    from shortlinks.models import ShortLink

    profiles = Profile.objects.bulk_create(
        Profile(
            username=username(number),
            display_name=f"Person {number}",
            bio=_BIO,
            avatar_url="https://example.com/a.png",
            theme={"id": "mineral", "mode": "light", "background_color": "#ffffff"},
        )
        for number in range(1, PROFILES + 1)
    )
    short_links = ShortLink.objects.bulk_create(
        ShortLink(
            slug=f"{profile.username}l{place}",
            destination=destination(place),
            profile_id=profile.pk,
            also_forget=profile_cache_key(profile.pk),
        )
        for profile, place in _places(profiles)
    )
    ProfileLink.objects.bulk_create(
        ProfileLink(
            profile=profile,
            short_link=short_link,
            title=f"Link number {place}",
            url=short_link.destination,
            position=place,
        )
        for (profile, place), short_link in zip(_places(profiles), short_links, strict=True)
    )


def _places(profiles: "Sequence[Profile]") -> "Iterator[tuple[Profile, int]]":
    return ((profile, place) for profile in profiles for place in range(_LINKS_PER_PROFILE))
