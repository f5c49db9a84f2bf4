"""Read, replay and discard dead letters at the terminal."""

import argparse
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from linklayer import dead_letters
from linklayer.errors import LinkLayerError, Unavailable
from linklayer.models import DeadLetter
from linklayer.storable import shown_text


class Command(BaseCommand):
    help = "List, show, replay or discard dead letters."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        listing = actions.add_parser("list", help="the newest letters, one per line")
        listing.add_argument("--state", choices=DeadLetter.State.values, default=DeadLetter.State.NEW)
        listing.add_argument("--limit", type=int, default=50)
        show = actions.add_parser("show", help="one letter with its headers and the first 4 KiB of its body")
        show.add_argument("id", type=int)
        replay = actions.add_parser("replay", help="send letters again to where they came from")
        _add_choice_of_letters(replay)
        discard = actions.add_parser("discard", help="put letters aside for good")
        _add_choice_of_letters(discard)
        discard.add_argument("--reason", required=True)

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        try:
            getattr(self, f"_{action}")(options)
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database (DATABASE_URL) does not answer: {error}") from error

    def _list(self, options: dict[str, Any]) -> None:
        letters = DeadLetter.objects.filter(state=options["state"]).order_by("-first_seen_at")
        for letter in letters[: options["limit"]]:
            reason = letter.reason.splitlines()[0][:100] if letter.reason else ""
            self.stdout.write(f"{letter.pk}\t{letter.first_seen_at:%Y-%m-%d %H:%M:%S}\t{letter.source}\t{reason}")
        self.stdout.write(f"{letters.count()} {options['state']}")

    def _show(self, options: dict[str, Any]) -> None:
        letter = DeadLetter.objects.filter(pk=options["id"]).first()
        if letter is None:
            raise CommandError(f"no dead letter {options['id']}")
        self.stdout.write(f"{letter.source}  {letter.state}  replayed {letter.replays} times")
        self.stdout.write(f"first seen {letter.first_seen_at:%Y-%m-%d %H:%M:%S}, last {letter.last_seen_at:%H:%M:%S}")
        self.stdout.write(letter.reason)
        self.stdout.write(json.dumps(letter.headers, indent=2, sort_keys=True))
        self.stdout.write(shown_text(bytes(letter.body)))

    def _replay(self, options: dict[str, Any]) -> None:
        self._each(options, dead_letters.replay, "replayed")

    def _discard(self, options: dict[str, Any]) -> None:
        self._each(options, lambda letter_id: dead_letters.discard(letter_id, options["reason"]), "discarded")

    def _each(self, options: dict[str, Any], act: Any, done_word: str) -> None:
        """Act on each chosen letter, with progress; refusals are named, a broker that is away ends the run."""
        letter_ids = options["ids"] or list(
            DeadLetter.objects.filter(state=DeadLetter.State.NEW).order_by("id").values_list("pk", flat=True)
        )
        done = 0
        for number, letter_id in enumerate(letter_ids, start=1):
            try:
                act(letter_id)
                done += 1
            except Unavailable as error:
                raise CommandError(f"{done} of {len(letter_ids)} {done_word}, then: {error.detail}") from error
            except LinkLayerError as error:
                self.stderr.write(error.detail)
            if self.stderr.isatty():
                self.stderr.write(f"\r{number}/{len(letter_ids)}", ending="\n" if number == len(letter_ids) else "")
        self.stdout.write(f"{done} of {len(letter_ids)} {done_word}")
        if done < len(letter_ids):
            sys.exit(1)


def _add_choice_of_letters(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("ids", type=int, nargs="*", default=[])
    choice.add_argument("--all", action="store_true", help="every new letter")
