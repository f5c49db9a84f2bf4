"""The signature of Linktree's webhooks: bytes in, verdict out. Never raises, whatever the headers hold.

Source: contract 9.3 to 9.5. Lower-case hex HMAC-SHA256 over `<timestamp header>.<raw body>`, key = the secret's UTF-8.
"""

import enum
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime

# [0-9] and not \d, fullmatch and not $: no Arabic digits, signs, underscores or newlines.
_TIMESTAMP = re.compile(r"[0-9]{10}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


class Verdict(enum.StrEnum):
    """GENUINE, or why not. For logs and metrics only: a sender gets the same answer for every other one."""

    GENUINE = "genuine"
    MALFORMED = "malformed"
    OUT_OF_WINDOW = "out_of_window"
    MISMATCH = "mismatch"


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature header for a body; timestamp: Unix seconds in decimal ASCII, as in its header."""
    return hmac.new(secret.encode(), timestamp.encode("ascii") + b"." + body, hashlib.sha256).hexdigest()


def verify(
    body: bytes, *, signature: str, timestamp: str, secrets: Sequence[str], tolerance_seconds: int, now: datetime
) -> Verdict:
    """Judge one delivery. secrets: current, then previous; every one is tried, none may be empty. now: aware."""
    if not (_TIMESTAMP.fullmatch(timestamp) and _SIGNATURE.fullmatch(signature)):
        return Verdict.MALFORMED
    if abs(int(now.timestamp()) - int(timestamp)) > tolerance_seconds:
        return Verdict.OUT_OF_WINDOW
    given = signature.encode("ascii")
    matches = [hmac.compare_digest(given, sign(secret, timestamp, body).encode("ascii")) for secret in secrets]
    return Verdict.GENUINE if any(matches) else Verdict.MISMATCH
