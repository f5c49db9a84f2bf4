"""What `make run` says when it is ready: where to look, what to paste, who may sign in."""

from collections.abc import Mapping
from pathlib import Path

from linklayer.embedded.prepare import ADMIN, ADMIN_PASSWORD
from linklayer.embedded.session import secret


def text(url: str, settings: Mapping[str, str], var: Path) -> str:
    """Return the table of addresses and commands. url: of the front door. settings: of our programs."""
    simulator = settings.get("LINKTREE_BASE_URL")
    rows = [
        ("home", f"{url}/"),
        ("profile", f"{url}/@myusername"),
        ("API", f"{url}/api/docs"),
        ("admin", f"{url}/admin/"),
        ("", f"user {ADMIN}, password {secret(var, ADMIN_PASSWORD, 12)}"),
        *([("Linktree", f"{simulator} (simulator)")] if simulator else []),
        ("logs", str(var / "log")),
    ]
    commands = [
        f"curl {url}/api/profiles/myusername",
        f"curl -X POST {url}/api/cache/invalidate/myusername",
        f"""curl -X POST {url}/api/links -H 'Content-Type: application/json' -d '{{"url": "https://example.com/"}}'""",
    ]
    width = max(len(name) for name, _ in rows)
    table = [f"  {name:<{width}}  {value}" for name, value in rows]
    return "\n".join(["", *table, "", *(f"  {command}" for command in commands), "", "  Ctrl-C stops everything.", ""])
