"""`manage.py warm_cache`: fill tier 2 with what is most read, before the visitors do."""

import itertools
import sys
from typing import Any

import click
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from linklayer import registries
from linklayer.errors import LinkLayerError
from linklayer.tier2 import CacheDown, answers
from linklayer.warming import Warmer


class Command(BaseCommand):
    help = "Fill the cache from the database, most clicked first, with a progress bar."

    def add_arguments(self, parser: CommandParser) -> None:
        for warmer in _warmers():
            parser.add_argument(
                f"--{warmer.name}", type=int, default=warmer.default_limit, help=f"at most so many {warmer.name}"
            )
        parser.add_argument("--all", action="store_true", help="everything there is")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            answers()
        except CacheDown as error:
            raise CommandError("The cache (REDIS_URL) does not answer: nothing was written.") from error
        try:
            written = {
                warmer.name: self._warm(warmer, None if options["all"] else options[warmer.name])
                for warmer in _warmers()
            }
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database (DATABASE_URL) does not answer: {error}") from error
        counts = ", ".join(f"{count} {name}" for name, count in written.items())
        self.stdout.write(f"Wrote {sum(written.values())} entries: {counts}.")

    def _warm(self, warmer: Warmer, limit: int | None) -> int:
        total = warmer.count() if limit is None else min(limit, warmer.count())
        written = 0
        keys = itertools.islice(warmer.keys(), total)
        with click.progressbar(keys, length=total, label=f"{warmer.name:>10}", file=sys.stderr) as bar:
            for key in bar:
                try:
                    written += warmer.reads.refresh(key) is not None
                except LinkLayerError as error:
                    self.stderr.write(f"{key}: {error}")
        return written


def _warmers() -> list[Warmer]:
    return registries.load(settings.CACHE_WARMERS)
