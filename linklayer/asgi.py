"""The web process: the front door before Django's synchronous stack.

`get_asgi_application()` is not used: its sync views make under a thousand requests a second.
"""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linklayer.settings")
_django = get_wsgi_application()

from django.conf import settings  # noqa: E402 - the apps must be loaded before the public reads are

from linklayer.checks import refuse_unsafe_settings  # noqa: E402 - as above
from linklayer.front_door import FrontDoor  # noqa: E402 - as above
from linklayer.lane import DjangoLane  # noqa: E402 - as above

refuse_unsafe_settings()
application = FrontDoor(DjangoLane(_django, threads=settings.DJANGO_THREADS))
# What is loaded by now stays: the collector need not look through it again, while visitors wait.
gc.collect()
gc.freeze()
