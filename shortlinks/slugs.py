"""The short part of a short link: what it may look like, and how one is made.

A slug is ASCII, so that nothing NFKC-equal can stand beside it, and no two slugs differ only in case (a unique index
over the lower-cased slug). Reserved words keep our own addresses free, now and later.
"""

import re
import secrets
import unicodedata

from linklayer.errors import InvalidInput

MIN_LENGTH = 3
MAX_LENGTH = 50
PATTERN = rf"[A-Za-z0-9_-]{{{MIN_LENGTH},{MAX_LENGTH}}}"

# Without 0, O, I and l, which people confuse. 58**7 = 2.2e12 slugs: guessing finds nothing.
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_RANDOM_LENGTH = 7
_IS_SLUG = re.compile(PATTERN, re.ASCII)

# First segments of our own paths (tests/shortlinks/test_slugs.py walks the URLconf), and those we may want one day.
RESERVED = frozenset(
    {
        *{"admin", "api", "static", "media", "metrics", "webhooks"},
        *{"health", "healthz", "livez", "readyz", "ready", "live", "status"},
        *{"robots.txt", "favicon.ico", ".well-known", "sitemap", "security"},
        *{"login", "logout", "signin", "signup", "register", "account", "accounts", "settings", "dashboard"},
        *{"docs", "schema", "about", "help", "support", "contact", "abuse", "report", "terms", "privacy", "legal"},
        *{"preview", "links", "profile", "profiles", "stats", "www", "null", "undefined"},
    }
)


def random_slug() -> str:
    """Return 7 base58 characters from the system's random source; never a reserved word."""
    while True:
        slug = "".join(secrets.choice(_BASE58) for _ in range(_RANDOM_LENGTH))
        if slug.lower() not in RESERVED:
            return slug


def is_slug(text: str) -> bool:
    """Return whether a short link may live under this text; asks no database."""
    return _IS_SLUG.fullmatch(text) is not None and text.lower() not in RESERVED


def check_slug(slug: str) -> None:
    """Raise InvalidInput, naming the field "slug" and the rule, for a text that no short link may have."""
    if _IS_SLUG.fullmatch(slug) is None:
        raise InvalidInput({"slug": [_format_problem(slug)]})
    if slug.lower() in RESERVED:
        raise InvalidInput({"slug": ["This word is reserved."]})


def _format_problem(slug: str) -> str:
    if not MIN_LENGTH <= len(slug) <= MAX_LENGTH:
        return f"A slug has {MIN_LENGTH} to {MAX_LENGTH} characters."
    if _IS_SLUG.fullmatch(unicodedata.normalize("NFKC", slug)):
        return "A slug has plain letters only: this one looks like another slug and is not the same."
    return "A slug has letters a to z, digits, hyphens and underscores only."
