"""The settings of the test run: the product's, with private servers and a secret that is not one.

`tests/servers/addresses.py` decides where the servers stand, `tests/conftest.py` starts them.
"""

from tests.servers import addresses

addresses.export()

from linklayer.settings import *  # noqa: E402, F403 - the product's settings, after the environment is set

DATABASES["default"]["TEST"] = {"NAME": addresses.DATABASE}  # the one that programs started by a test see
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
