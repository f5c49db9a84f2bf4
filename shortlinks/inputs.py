"""What the API of short links takes in: strict serializers that coerce nothing and refuse what they do not know."""

import re
from typing import Any

from rest_framework import serializers

from shortlinks import destinations, slugs
from shortlinks.models import ShortLink

_MAX_UNKNOWN_NAMED = 10
_CURSOR = re.compile(r"[0-9a-f]{1,15}", re.ASCII)


class StrictSerializer(serializers.Serializer[dict[str, Any]]):
    """Refuses fields that it does not have, naming up to ten of them."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            unknown = sorted(str(name) for name in data if name not in self.fields)[:_MAX_UNKNOWN_NAMED]
            if unknown:
                raise serializers.ValidationError({name[:100]: ["There is no such field."] for name in unknown})
        return dict(super().to_internal_value(data))


class TextField(serializers.CharField):
    """A JSON string; numbers do not become text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and data is not None and not isinstance(data, str):
            self.fail("invalid")
        return super().run_validation(data)


class FlagField(serializers.BooleanField):
    """JSON true or false; no "yes", no 1."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StatusCodeField(serializers.ChoiceField):
    """301, 302, 307 or 308, as a JSON number."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=ShortLink.Status.choices, **options)

    def to_internal_value(self, data: Any) -> Any:
        if type(data) is not int or data not in ShortLink.Status.values:
            raise serializers.ValidationError(["A short link answers 301, 302, 307 or 308."])
        return data


class MomentField(serializers.DateTimeField):
    """ISO 8601 with a zone; without one it is UTC."""

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.fail("invalid", format="YYYY-MM-DDThh:mm:ssZ")
        return super().to_internal_value(value)


class CursorField(serializers.CharField):
    """The text that the page before gave as nextCursor."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str) or _CURSOR.fullmatch(data) is None:
            raise serializers.ValidationError(["This is not a cursor that a page gave."])
        return int(data, 16)


def cursor_text(before_id: int | None) -> str | None:
    return None if before_id is None else format(before_id, "x")


class NewLink(StrictSerializer):
    url = TextField(help_text="http or https, at most 2048 characters", max_length=destinations.MAX_LENGTH)
    slug = TextField(required=False, allow_null=True, help_text=f"{slugs.PATTERN}; random when absent")
    statusCode = StatusCodeField(required=False)
    expiresAt = MomentField(required=False, allow_null=True)


class LinkChanges(StrictSerializer):
    url = TextField(required=False, max_length=destinations.MAX_LENGTH)
    statusCode = StatusCodeField(required=False)
    isActive = FlagField(required=False)
    expiresAt = MomentField(required=False, allow_null=True, help_text="null: never")


class LinkQuery(StrictSerializer):
    search = serializers.CharField(required=False, allow_blank=True, max_length=200, default="")
    limit = serializers.IntegerField(required=False, min_value=1, max_value=100, default=50)
    cursor = CursorField(required=False, default=None)


class StatsQuery(StrictSerializer):
    """Which periods and timezones there are is for analytics to say."""

    period = serializers.CharField(required=False, max_length=20, help_text="24h, 7d, 30d, 90d or 365d, up to now")
    timezone = serializers.CharField(required=False, max_length=64, help_text="IANA name, as in Europe/Zurich")
    fresh = serializers.BooleanField(default=False, help_text="true, with a key: read the breakdowns now")
