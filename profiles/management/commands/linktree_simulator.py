"""`manage.py linktree_simulator`: run the bundled Linktree simulator until SIGTERM or Ctrl-C."""

import os
import signal
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from profiles.simulator.application import Simulator
from profiles.simulator.clock import SimulatorClock
from profiles.simulator.seed import ALL_SCOPES
from profiles.simulator.sender import Secrets, WebhookSender
from profiles.simulator.server import SimulatorServer
from profiles.simulator.webhook_endpoints import EVENT_TYPES
from profiles.simulator.world import Subscription, Token

DEFAULT_SUBSCRIPTION = "wh_default00001"
WEBHOOK_URL_VARIABLE = "LINKTREE_SIMULATOR_WEBHOOK_URL"


class Command(BaseCommand):
    help = "Serve the assumed Linktree API (with faults and signed webhooks) on loopback."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=3005, help="0 takes a free one and prints it")
        parser.add_argument(
            "--webhook-url",
            default=os.environ.get(WEBHOOK_URL_VARIABLE, ""),
            help=f"receiver of every event, subscribed from the start (default: {WEBHOOK_URL_VARIABLE})",
        )
        parser.add_argument("--state", type=Path, default=None, help="JSON file that keeps the data between runs")
        parser.add_argument("--limit-scale", type=float, default=1.0, help="multiplies every rate limit")

    def handle(self, *args: Any, **options: Any) -> None:
        clock = SimulatorClock()
        sender = WebhookSender(
            clock, Secrets(settings.LINKTREE_WEBHOOK_SECRET, settings.LINKTREE_WEBHOOK_SECRET_PREVIOUS)
        )
        simulator = Simulator(clock, sender, state_path=options["state"], limit_scale=options["limit_scale"])
        _configure(simulator, options["webhook_url"])
        try:
            server = SimulatorServer((options["host"], options["port"]), simulator)
        except OSError as error:
            raise CommandError(f"cannot listen on {options['host']}:{options['port']}: {error.strerror}") from error
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        sender.start()
        host, port = server.server_address[:2]
        self.stdout.write(f"Linktree simulator on http://{host!s}:{port}")
        self.stdout.flush()
        with server:
            server.serve_forever(poll_interval=0.1)
        sender.stop()


def _configure(simulator: Simulator, webhook_url: str) -> None:
    """Add the operator's own token and receiver to the seeded data."""
    world = simulator.world
    key = settings.LINKTREE_API_KEY
    if key and key not in world.tokens:
        world.tokens[key] = Token(key, "acct_1", "pro", ALL_SCOPES, "prof_demo00000001")
    if webhook_url:
        world.subscriptions[DEFAULT_SUBSCRIPTION] = Subscription(
            DEFAULT_SUBSCRIPTION, "acct_1", webhook_url, [*EVENT_TYPES[:4]], "active", world.now()
        )
