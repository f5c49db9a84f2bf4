"""Where a slug leads: the cached lookup behind every redirect, and the answers made from it.

What is cached is a Destination per slug, also for ended links; expiry is judged when the answer is made, so that an
entry cached before the moment does not redirect after it. Nothing here waits for more than the cache and one query.
"""

import time
from collections.abc import Iterator

from analytics.recorder import record_click
from analytics.selectors import busiest_links
from linklayer.cache import CachedReads, Found, Lifetime, Loaded
from linklayer.public_reads import Answer
from linklayer.tier1 import Entry
from linklayer.visitor import VisitorFacts
from linklayer.warming import Thing, WarmEntry, Warmer, most_read_first
from shortlinks.contracts import Destination, Ending
from shortlinks.destinations import POLICY_VERSION, is_current_destination
from shortlinks.models import ShortLink
from shortlinks.pages import page
from shortlinks.slugs import is_slug

LINK_LIFETIME = Lifetime(
    soft_seconds=3600, serve_behind_seconds=24 * 3600, hard_seconds=24 * 3600, deadline_seconds=0.5
)
_BUSIEST_LINKS = 10_000
# A browser asks again each time: an edit is seen at once and every click is counted, whatever the status code.
_NOT_KEPT = ("Cache-Control", "private, max-age=0")


def _load(slug: str) -> Loaded | None:
    short_link = ShortLink.objects.filter(slug=slug).first()
    return None if short_link is None else _loaded(short_link)


def _loaded(short_link: ShortLink) -> Loaded:
    destination = Destination(
        link_id=short_link.pk,
        profile_id=short_link.profile_id,
        url=short_link.destination,
        status_code=short_link.status_code,
        expires_at=short_link.expires_at.timestamp() if short_link.expires_at else None,
        ending=_ending(short_link),
    )
    return Loaded(short_link.version, destination.to_json())


def _ending(short_link: ShortLink) -> Ending | None:
    if short_link.retired_at is not None:
        return Ending.RETIRED
    if not short_link.is_active:
        return Ending.DISABLED
    if short_link.policy_version < POLICY_VERSION and not is_current_destination(short_link.destination):
        return Ending.REFUSED
    return None


redirect_reads = CachedReads("link", LINK_LIFETIME, _load, Destination.from_json)


class RedirectRead:
    """The public read of `GET /<slug>`: 302 (or the link's own 301, 307, 308), 410 once it ended."""

    reads = redirect_reads
    shows_cache = False

    def peek(self, path: str) -> Entry | None:
        return self.reads.peek(path[1:])  # what is no slug is not there

    def key(self, path: str) -> str | None:
        slug = path[1:]
        return slug if is_slug(slug) else None

    def name(self, path: str) -> None:
        return None

    def absent(self, path: str) -> Answer | None:
        slug = path[1:]
        return page(404) if is_slug(slug) and self.reads.is_absent(slug) else None

    def answer(self, found: Found) -> Answer:
        destination: Destination = found.value
        if destination.ending_at(time.time()) is not None:
            return page(410)
        return Answer(destination.status_code, (("Location", destination.url), _NOT_KEPT))

    def expires_at(self, found: Found) -> float | None:
        """Return the moment of the link's expiry (Unix seconds) while it lies ahead."""
        destination: Destination = found.value
        lies_ahead = destination.expires_at is not None and destination.ending_at(time.time()) is None
        return destination.expires_at if lies_ahead else None

    def record(self, found: Found, answer: Answer, facts: VisitorFacts) -> None:
        if 300 <= answer.status < 400:
            destination: Destination = found.value
            record_click(
                link_id=destination.link_id,
                profile_id=destination.profile_id,
                slug_version=found.version,
                facts=facts,
            )


redirect_read = RedirectRead()


def _batches(at_once: int) -> Iterator[list[Thing]]:
    """Yield links: those with the most clicks of late first, then the newest."""
    for rows in most_read_first(ShortLink.objects.all(), busiest_links(_BUSIEST_LINKS), at_once):
        yield [[WarmEntry(redirect_reads, row.slug, _loaded(row))] for row in rows]


warm = Warmer("links", _batches, ShortLink.objects.count, hottest=1000)
