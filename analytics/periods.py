"""What a caller may ask the numbers for: a period that ends now, in a timezone of theirs, cut into buckets."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from linklayer.errors import InvalidInput

DEFAULT_PERIOD = "30d"
DEFAULT_TIMEZONE = "UTC"
_DAYS = {"7d": 7, "30d": 30, "90d": 90, "365d": 365}
PERIODS = ("24h", *_DAYS)


@dataclass(frozen=True, slots=True)
class Period:
    """bucket_starts: aware moments, ascending, without a hole; the last bucket ends after `now`. granularity: "hour"
    or "day". Days are days of the timezone, also where summer time makes them 23 or 25 hours long."""

    name: str
    timezone: str
    granularity: str
    bucket_starts: tuple[datetime, ...]
    ends_at: datetime

    @property
    def starts_at(self) -> datetime:
        return self.bucket_starts[0]

    @property
    def utc_days(self) -> tuple[date, date]:
        """The first and the last UTC day that the period touches."""
        return self.starts_at.astimezone(UTC).date(), (self.ends_at - timedelta(microseconds=1)).astimezone(UTC).date()


def check_period(name: str, timezone: str) -> None:
    """Raises InvalidInput, naming `period` or `timezone`, for what we do not know."""
    errors: dict[str, list[str]] = {}
    if name not in PERIODS:
        errors["period"] = [f"Must be one of {', '.join(PERIODS)}."]
    if timezone not in _timezones():
        errors["timezone"] = ['Must be a name of the IANA time zone database, such as "Europe/Zurich".']
    if errors:
        raise InvalidInput(errors)


def period_until(now: datetime, name: str, timezone: str) -> Period:
    """Return the period that ends with the hour or day of now (aware). Raises InvalidInput as `check_period`."""
    check_period(name, timezone)
    zone = ZoneInfo(timezone)
    if name == "24h":
        last = now.astimezone(zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)
        starts = [last - timedelta(hours=hours) for hours in range(23, -1, -1)]
        return Period(name, timezone, "hour", tuple(starts), last + timedelta(hours=1))
    today = now.astimezone(zone).date()
    days = _DAYS[name]
    starts = [_midnight(today - timedelta(days=back), zone) for back in range(days - 1, -1, -1)]
    return Period(name, timezone, "day", tuple(starts), _midnight(today + timedelta(days=1), zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


@lru_cache(maxsize=1)
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())
