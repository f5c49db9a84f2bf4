"""What crosses the border of webhooks: an event that came in, and who looks after its type."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class InboundEvent:
    """One event of Linktree's, in the envelope of contract 9.2 whatever form it came in.

    timestamp: when the change happened, aware, UTC. profile_id, username: "" where the event names none. data: JSON;
    its texts may be stored as they are (NUL and lone surrogates are spelled out).
    """

    id: str
    type: str
    profile_id: str
    username: str
    timestamp: datetime
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventHandler:
    """What a higher app does about a type of event; registered in `settings.EVENT_HANDLERS`.

    on_receipt: runs in the transaction that stores the receipt, before the sender has its 200: forget what the event
    outdates, nothing slow. process: runs in a worker, at least once, in any order: read again and apply. An error of
    the TRANSIENT kind means later; any other counts as one of three tries.
    """

    on_receipt: Callable[[InboundEvent], None]
    process: Callable[[InboundEvent], None]
