"""What every test of webhooks starts from: our secret, and handlers that remember."""

import pytest
from pytest_django.fixtures import Settings

from tests.webhooks import recording
from tests.webhooks.sender import SECRET


@pytest.fixture(autouse=True)
def _receiver(settings: Settings) -> None:
    recording.clear()
    settings.EVENT_HANDLERS = ["tests.webhooks.recording.handlers"]
    settings.LINKTREE_WEBHOOK_SECRET = SECRET
    settings.LINKTREE_WEBHOOK_SECRET_PREVIOUS = ""
