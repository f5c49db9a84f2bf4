"""`manage.py demo_data`: create what a new installation shows, as far as it is not there yet."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from linklayer import registries


class Command(BaseCommand):
    help = "Create the demo data of every app; repeatable."

    def handle(self, *args: Any, **options: Any) -> None:
        for create in registries.load(settings.DEMO_DATA):
            self.stdout.write(create())
