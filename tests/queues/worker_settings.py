"""The settings of the workers that these tests start: the product's, with handlers that need no other app."""

from tests.settings import *  # noqa: F403 - settings are extended that way

EVENT_HANDLERS = ["tests.queues.effects.handlers"]
ANNOUNCEMENT_SWEEPERS = []
