"""A process that sends tasks on command, so that a test may watch it from outside while it breaks the broker.

Each line on stdin is one send of `webhooks.requeue_due`; each line on stdout is "<outcome> <seconds>".
"""

import sys
import time

import django

django.setup()

from linklayer import queues  # noqa: E402 - Django first
from linklayer.errors import Unavailable  # noqa: E402 - Django first

for _line in sys.stdin:
    started = time.monotonic()
    try:
        queues.send("webhooks.requeue_due")
        outcome = "sent"
    except Unavailable:
        outcome = "unavailable"
    print(outcome, round(time.monotonic() - started, 3), flush=True)  # noqa: T201 - the protocol of this process
