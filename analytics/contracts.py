"""The frozen values that leave this app: the event of one click or view, as it stands in the spool and in a batch.

An event is a msgpack array; new fields are appended with a default, so that events of an older version stay readable.
"""

from enum import IntEnum
from typing import Annotated

import msgspec

BIGINT_MAX = 2**63 - 1
USER_AGENT_CHARACTERS = 512
REFERRER_CHARACTERS = 1024
QUERY_CHARACTERS = 1024
LANGUAGE_CHARACTERS = 35  # the longest tag RFC 5646 (section 4.4.1) asks an implementation to hold
PURPOSE_CHARACTERS = 64
ADDRESS_CHARACTERS = 45  # an IPv4-mapped IPv6 address written out

Id = Annotated[int, msgspec.Meta(ge=1, le=BIGINT_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=BIGINT_MAX)]


class Kind(IntEnum):
    """What happened: a short link was followed, or a profile was read."""

    CLICK = 1
    VIEW = 2


class Series(IntEnum):
    """What an aggregate counts, and so whose id its `subject_id` is."""

    LINK_CLICKS = 1
    PROFILE_VIEWS = 2
    PROFILE_CLICKS = 3


class Event(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One click or view, as captured: clean text, bounded numbers, no raw address unless the operator asked for it.

    time: microseconds since 1970, UTC. generation and sequence name the event once and for all: the random number of
    the process that took it, and its place there, from 1 without a gap. visitor: keyed hash of the UTC day, signed
    64 bits; None when the visitor asked not to be followed (is_private), of whom nothing but the user agent's verdict
    is kept. country: ISO 3166-1 alpha-2, "" unknown. query: without the question mark.
    """

    kind: Kind
    time: Count
    generation: Id
    sequence: Id
    link_id: Id | None
    profile_id: Id | None
    slug_version: Count
    visitor: Annotated[int, msgspec.Meta(ge=-BIGINT_MAX - 1, le=BIGINT_MAX)] | None
    is_private: bool
    purpose: str
    country: str
    region: str
    address: str
    user_agent: str
    referrer: str
    language: str
    query: str


encode_event = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Event)


def decode_event(payload: bytes) -> Event:
    """Return the event of a record's payload.

    Raises ValueError when it is none, or a click without link, or a view without profile.
    """
    event = _decoder.decode(payload)  # its errors are ValueErrors
    if (event.link_id if event.kind is Kind.CLICK else event.profile_id) is None:
        raise ValueError(f"a {event.kind.name.lower()} without its {'link' if event.kind is Kind.CLICK else 'profile'}")
    return event


def generation_of(payload: bytes) -> int | None:
    """Return the generation that a bad event names all the same, so that the ledger can say whose it was."""
    try:
        fields = msgspec.msgpack.decode(payload)
    except ValueError:
        return None
    generation = fields[2] if isinstance(fields, list) and len(fields) > 2 else None
    return generation if isinstance(generation, int) and 0 < generation <= BIGINT_MAX else None


def clean_text(text: str, characters: int) -> str:
    """Return text cropped to so many characters, without NUL and lone surrogates, which PostgreSQL refuses."""
    if len(text) > characters:
        text = text[:characters]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "") if "\0" in text else text
