"""`manage.py create_api_key NAME --scope links:write`: prints a new key, once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from linklayer.errors import InvalidInput
from linklayer.keys import SCOPES, create_api_key


class Command(BaseCommand):
    help = "Create an API key and print it; it is stored hashed and cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="whose key it is")
        parser.add_argument("--scope", action="append", default=[], choices=SCOPES, dest="scopes")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _, text = create_api_key(name=options["name"], scopes=options["scopes"])
        except InvalidInput as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text)
