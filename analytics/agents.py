"""What a user agent string tells: a person's browser, or which sort of machine.

Worked out by the ingest, never in a visitor's request: a new string costs up to 0.5 ms, a known one a lookup.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

import ua_parser
from crawleruseragents import CRAWLER_USER_AGENTS_DATA
from is_bot import Bots

KNOWN_AGENTS = 20_000
_is_bot = Bots().is_bot

# The first tag that an entry of crawler-user-agents carries decides; our words, shown in the stats.
_KINDS = {
    "social-preview": "preview",
    "ai-crawler": "ai",
    "search-engine": "search",
    "monitoring": "monitor",
    "feed-reader": "feed",
    "scanner": "scanner",
    "seo": "seo",
    "advertising": "advertising",
    "archiver": "archiver",
    "academic": "academic",
    "browser-automation": "automation",
    "http-library": "library",
}
_DESKTOPS = {"Windows", "Mac OS X", "Linux", "Ubuntu", "Fedora", "Debian", "Chrome OS", "FreeBSD", "OpenBSD"}


@dataclass(frozen=True, slots=True)
class Agent:
    """bot_kind: "" for a person, else one word ("preview", "ai", "search", "prefetch", "empty", "other", ...).

    browser, os: family names, "" unknown and for bots. device: "mobile", "tablet", "desktop" or "".
    """

    bot_kind: str
    browser: str = ""
    os: str = ""
    device: str = ""

    @property
    def is_bot(self) -> bool:
        return self.bot_kind != ""


PREFETCH = Agent("prefetch")
PREVIEW = Agent("preview")


def agent_of(user_agent: str, purpose: str) -> Agent:
    """Return who asked. purpose: the request's Sec-Purpose, Purpose or X-Moz header, "" if none.

    A page fetched ahead (Fetch standard, section 2.2.5: `Sec-Purpose: prefetch`) was not visited.
    """
    if purpose:
        word = purpose.lower()
        if "prefetch" in word or "prerender" in word:
            return PREFETCH
        if "preview" in word:
            return PREVIEW
    return _known(user_agent)


@lru_cache(maxsize=KNOWN_AGENTS)
def _known(user_agent: str) -> Agent:
    if not user_agent.strip():
        return Agent("empty")
    if _is_bot(user_agent):
        return Agent(_bot_kind(user_agent))
    parsed = ua_parser.parse(user_agent)
    os = parsed.os.family if parsed.os else ""
    return Agent("", parsed.user_agent.family if parsed.user_agent else "", os, _device(user_agent, os))


def _bot_kind(user_agent: str) -> str:
    for pattern, kind in _crawlers():
        if pattern.search(user_agent):
            return kind
    return "other"


@cache
def _crawlers() -> list[tuple[re.Pattern[str], str]]:
    entries = []
    for entry in CRAWLER_USER_AGENTS_DATA:
        tags = [tag for tag in _KINDS if tag in entry.get("tags", ())]
        entries.append((re.compile(entry["pattern"]), _KINDS[tags[0]] if tags else "other"))
    return entries


def _device(user_agent: str, os: str) -> str:
    if "iPad" in user_agent or "Tablet" in user_agent or ("Android" in user_agent and "Mobile" not in user_agent):
        return "tablet"
    if "Mobi" in user_agent or "iPhone" in user_agent:
        return "mobile"
    return "desktop" if os in _DESKTOPS else ""
