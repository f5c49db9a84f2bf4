"""The desk process: Django alone, for the admin, the owner's pages and API writes."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linklayer.settings")
application = get_wsgi_application()

from linklayer import warming  # noqa: E402 - as above
from linklayer.checks import refuse_unsafe_settings  # noqa: E402 - the settings must be loaded first
from linklayer.tier1 import tier1  # noqa: E402 - as above

refuse_unsafe_settings()
tier1.start(on_data_lost=warming.begin)
