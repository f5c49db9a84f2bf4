"""Brings the database to what the code expects: migrations, the admin user, demo data. Run as a program; repeatable.

The password of a new admin user stands in `var/secrets/admin_password`.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from linklayer.embedded.session import secret

ADMIN = "admin"
ADMIN_PASSWORD = "admin_password"  # noqa: S105 - the name of the secret
_PACKAGES = ("linklayer", "profiles", "shortlinks", "analytics", "webhooks")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Says for which code something was prepared: while the code stays, it need not be done again."""

    project: Path
    file: Path

    def is_current(self) -> bool:
        return self.file.exists() and self.file.read_text() == self._fingerprint()

    def set(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(self._fingerprint())

    def _fingerprint(self) -> str:
        """Return a digest of the pinned packages and of each file's name, size and time of change."""
        digest = hashlib.sha256((self.project / "requirements.txt").read_bytes())
        for package in _PACKAGES:
            for path in sorted((self.project / package).rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    facts = path.stat()
                    digest.update(f"{path}\0{facts.st_mtime_ns}\0{facts.st_size}\n".encode())
        return digest.hexdigest()


def main() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linklayer.settings")
    os.environ["DATABASE_STATEMENT_TIMEOUT_MS"] = "0"  # a migration may take as long as it takes
    django.setup()
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
    users = get_user_model()
    if not users.objects.filter(username=ADMIN).exists():
        password = secret(settings.VAR_DIR, ADMIN_PASSWORD, 12)
        users.objects.create_superuser(username=ADMIN, password=password)
    call_command("demo_data", skip_checks=True)


if __name__ == "__main__":
    main()
