"""The frozen values of short links that cross borders; plain Python, JSON in and out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import msgspec


class Ending(StrEnum):
    """Why a short link does not redirect any more."""

    DISABLED = "disabled"
    RETIRED = "retired"
    EXPIRED = "expired"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortLinkRecord:
    """A short link as stored: what the API, the admin and other apps may see. Moments are aware, UTC."""

    id: int
    slug: str
    destination: str
    status_code: int
    is_active: bool
    is_anonymous: bool
    profile_id: int | None
    expires_at: datetime | None
    retired_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name; moments in ISO 8601."""
        values = asdict(self)
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild what to_json gave. Raises TypeError or ValueError for anything else."""
        moments = {
            name: datetime.fromisoformat(value)
            for name, value in values.items()
            if name in {"expires_at", "retired_at", "created_at", "updated_at"} and value is not None
        }
        return cls(**{**values, **moments})


class Destination(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a slug leads, as cached. expires_at: seconds since 1970, UTC; ending: why it does not redirect, if so.

    A msgspec struct: a hundred thousand of them are held, which the garbage collector need not look through.
    """

    link_id: int
    profile_id: int | None
    url: str
    status_code: int
    expires_at: float | None
    ending: Ending | None

    def ending_at(self, now: float) -> Ending | None:
        """Return why the link does not redirect at this moment (seconds since 1970), or None if it does."""
        if self.ending is None and self.expires_at is not None and now >= self.expires_at:
            return Ending.EXPIRED
        return self.ending

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.link_id,
            "profile": self.profile_id,
            "url": self.url,
            "status": self.status_code,
            "expires": self.expires_at,
            "ending": self.ending,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild what to_json gave. Raises KeyError or ValueError for anything else."""
        return cls(
            link_id=value["id"],
            profile_id=value["profile"],
            url=value["url"],
            status_code=value["status"],
            expires_at=value["expires"],
            ending=None if value["ending"] is None else Ending(value["ending"]),
        )
