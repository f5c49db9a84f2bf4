#!/usr/bin/env python
"""Django's command line for Link Layer; beside a running `make run` it works on that one's servers."""

import os
import sys
from pathlib import Path


def main() -> None:
    from linklayer.embedded import session

    base = Path(__file__).resolve().parent
    session.join(Path(os.environ.get("LINKLAYER_VAR") or base / "var"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linklayer.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
