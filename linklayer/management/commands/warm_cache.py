"""`manage.py warm_cache`: fill tier 2 with what is most read, before the visitors do."""

import sys
from typing import Any

import click
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from linklayer import registries
from linklayer.tier2 import CacheDown, answers
from linklayer.warming import Warmer, warmed

PER_SECOND = 1000  # links: busy a tenth of the time (measured: 0.11 ms each); profiles, 7 ms each, come to 70 a second


class Command(BaseCommand):
    help = "Fill the cache from the database, most read first, with a progress bar."

    def add_arguments(self, parser: CommandParser) -> None:
        for warmer in _warmers():
            parser.add_argument(
                f"--{warmer.name}", type=int, default=warmer.hottest, help=f"at most so many {warmer.name}"
            )
        parser.add_argument("--all", action="store_true", help="everything there is")
        parser.add_argument("--rate", type=int, default=PER_SECOND, help="at most so many a second (%(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rate"] < 1:
            raise CommandError("--rate is a number from 1")
        try:
            answers()
            written = {
                warmer.name: self._warm(warmer, None if options["all"] else options[warmer.name], options["rate"])
                for warmer in _warmers()
            }
        except CacheDown as error:
            raise CommandError("The cache (REDIS_URL) does not answer; what was written so far stays.") from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database (DATABASE_URL) does not answer: {error}") from error
        counts = ", ".join(f"{count} {name}" for name, count in written.items())
        self.stdout.write(f"Wrote {sum(written.values())} entries: {counts}.")

    def _warm(self, warmer: Warmer, limit: int | None, rate: int) -> int:
        total = warmer.count() if limit is None else min(limit, warmer.count())
        written = 0
        with click.progressbar(length=total, label=f"{warmer.name:>10}", file=sys.stderr) as bar:
            for count in warmed(warmer, total, per_second=rate):
                written += count
                bar.update(count)
        return written


def _warmers() -> list[Warmer]:
    return registries.load(settings.CACHE_WARMERS)
