"""`manage.py create_api_key NAME --scope links:write`: prints a new key, once."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from linklayer.errors import InvalidInput
from linklayer.keys import SCOPES, create_api_key


class Command(BaseCommand):
    help = "Create an API key and print it; it is stored hashed and cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="whose key it is")
        parser.add_argument("--scope", action="append", default=[], choices=SCOPES, dest="scopes")
        parser.add_argument("--days", type=int, help="how many days it is valid (default: until it is revoked)")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        try:
            _, text = create_api_key(name=options["name"], scopes=options["scopes"], expires_at=expires_at)
        except InvalidInput as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text)
