"""Where a visitor came from: the registrable domain of a referrer, and the campaign that a query names."""

from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

from publicsuffixlist import PublicSuffixList

KNOWN_REFERRERS = 20_000
UTM_CHARACTERS = 100
DOMAIN_CHARACTERS = 253  # of a name (RFC 1035, section 2.3.4)

_suffixes = PublicSuffixList()


@lru_cache(maxsize=KNOWN_REFERRERS)
def referrer_domain(referrer: str) -> str:
    """Return the domain that somebody registered (`bbc.co.uk`), the address of a bare host, "" if there is none.

    Source: the Public Suffix List, private section included: `someone.github.io` is a registrable domain.
    """
    try:
        host = urlsplit(referrer).hostname or ""
    except ValueError:
        return ""
    host = host.rstrip(".")[:DOMAIN_CHARACTERS]
    if not host or ":" in host or host.replace(".", "").isdigit():
        return host
    return _suffixes.privatesuffix(host) or host


@lru_cache(maxsize=KNOWN_REFERRERS)
def campaign(query: str) -> tuple[str, str, str]:
    """Return (utm_source, utm_medium, utm_campaign) of a query string, cropped; "" for what it does not name."""
    if "utm_" not in query:
        return "", "", ""
    named: dict[str, str] = {}
    for name, value in parse_qsl(query, errors="replace", max_num_fields=None):
        named.setdefault(name, value.replace("\0", "").strip()[:UTM_CHARACTERS])
    return named.get("utm_source", ""), named.get("utm_medium", ""), named.get("utm_campaign", "")
