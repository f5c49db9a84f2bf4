"""Dead letters: messages and rows whose data failed, kept whole in a table, read and replayed by an operator.

Written from two sides, our task wrapper (both modes) and the consumer of the broker's `dlq.v1`; a letter that comes
twice is one row. A letter that was replayed and failed again is that same row, new again, with its replays counted.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone
from kombu.message import Message

from linklayer import queue_metrics, queues
from linklayer.errors import Conflict, NotFound
from linklayer.models import DeadLetter
from linklayer.storable import storable, storable_text

log = structlog.get_logger(__name__)

MAX_REPLAYS = 5
# Our own headers on a replayed message. `x-death` of the broker is no count to rely on.
KEY_HEADER = "x-dead-letter-key"
REPLAYS_HEADER = "x-replay-count"
_BROKERS_OWN = ("x-death", "x-first-death-", "x-last-death-")


def bury(source: str, body: bytes, headers: Mapping[str, Any], reason: str, *, dedupe_key: str) -> None:
    """Keep one dead letter; may be part of a transaction.

    source: the queue or task that gave up. body: the message as it was, any bytes; to be replayable, a task message
    (`task_body`), with at least `task` and `id` in the headers. dedupe_key: at most 64 characters; the same key is the
    same letter: a repeat only moves `last_seen_at`, unless it comes back from the latest replay: then it is new again.
    """
    key = str(headers.get(KEY_HEADER) or dedupe_key)[:64]
    reason = storable_text(reason)
    letter, is_first = DeadLetter.objects.get_or_create(
        dedupe_key=key,
        defaults={"source": storable_text(source)[:100], "reason": reason, "body": body, "headers": storable(headers)},
    )
    if not is_first:
        same = DeadLetter.objects.filter(pk=letter.pk)
        same.update(last_seen_at=timezone.now())
        same.filter(state=DeadLetter.State.REPLAYED, replays=_replay_count(headers)).update(
            state=DeadLetter.State.NEW, reason=reason
        )
    queue_metrics.dead_letters.labels(source=letter.source).inc()
    log.error("dead_letter", letter=letter.pk, source=letter.source, reason=reason[:200], is_first=is_first)


def bury_task(
    task_name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    reason: str,
    *,
    task_id: str,
    replayed_as: Mapping[str, Any],
) -> None:
    """Keep a task that used up its tries. replayed_as: the headers of its message that a replay had set, if any."""
    body = task_body(*args, **kwargs)
    headers = {"lang": "py", "task": task_name, "id": task_id, **replayed_as}
    bury(task_name, body, headers, reason, dedupe_key=_digest(body, task_name, task_id))


def bury_message(message: Message, *, queue: str, reason: str) -> None:
    """Keep a message of the broker as it is.

    The same message dead-lettered twice by RabbitMQ (its strategy is at-least-once) has the same task id and time of
    death, and is one letter; so is one that the Redis transport delivers twice under its own tag.
    """
    headers: Mapping[str, Any] = message.headers or {}
    raw: object = message.body
    body = raw if isinstance(raw, bytes) else str(raw).encode("utf-8", "surrogatepass")
    tag = (message.properties or {}).get("delivery_tag")
    key = _digest(body, queue, headers.get("task"), headers.get("id"), _latest_death(headers).get("time"), tag)
    bury(queue, body, headers, reason, dedupe_key=key)


def task_body(*args: Any, **kwargs: Any) -> bytes:
    """Return the body of a task message (Celery protocol 2): JSON bytes of [args, kwargs, embedded]."""
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return json.dumps([args, kwargs, embedded], separators=(",", ":"), default=str).encode()


@transaction.atomic
def replay(letter_id: int) -> None:
    """Send a letter again to the queue it came from, with its ids, and mark it once the broker has confirmed.

    A crash between the two leaves the letter new: sent twice, which every task bears. The row stays locked for the
    one bounded publish, so a letter that dies again at once finds it marked. Raises NotFound; Conflict if the letter
    is being replayed by somebody else, is discarded, was replayed 5 times or names no queue of ours; Unavailable.
    """
    letter = DeadLetter.objects.select_for_update(skip_locked=True).filter(pk=letter_id).first()
    if letter is None:
        if DeadLetter.objects.filter(pk=letter_id).exists():
            raise Conflict(f"dead letter {letter_id} is being replayed")
        raise NotFound(f"no dead letter {letter_id}")
    if letter.state == DeadLetter.State.DISCARDED:
        raise Conflict(f"dead letter {letter_id} was discarded")
    if letter.replays >= MAX_REPLAYS:
        raise Conflict(f"dead letter {letter_id} was replayed {letter.replays} times; {MAX_REPLAYS} is the limit")
    letter.replays += 1
    queues.publish_message(_queue_of(letter), bytes(letter.body), _headers_for_replay(letter))
    letter.state = DeadLetter.State.REPLAYED
    letter.save(update_fields=["state", "replays"])
    log.info("dead_letter_replayed", letter=letter_id, source=letter.source, replays=letter.replays)


def discard(letter_id: int, reason: str) -> None:
    """Put a letter aside for good, and note why; a repeat changes nothing. Raises NotFound."""
    with transaction.atomic():
        letter = DeadLetter.objects.select_for_update().filter(pk=letter_id).first()
        if letter is None:
            raise NotFound(f"no dead letter {letter_id}")
        if letter.state == DeadLetter.State.DISCARDED:
            return
        letter.state = DeadLetter.State.DISCARDED
        letter.reason = f"{letter.reason}\nDiscarded: {storable_text(reason)}"
        letter.save(update_fields=["state", "reason"])
    log.info("dead_letter_discarded", letter=letter_id, reason=reason)


def broker_reason(headers: Mapping[str, Any]) -> tuple[str, str]:
    """Return (queue, sentence) for a message that the broker dead-lettered, from its latest `x-death` entry."""
    latest = _latest_death(headers)
    queue = str(latest.get("queue") or headers.get("x-first-death-queue") or "unknown")
    return queue, f"{latest.get('reason') or 'unknown'} in {queue}, {latest.get('count') or 1} times"


def _latest_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return deaths[0]
    return {}


def _digest(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def _queue_of(letter: DeadLetter) -> str:
    for name in (letter.source, queues.ROUTES.get(letter.source), queues.ROUTES.get(str(letter.headers.get("task")))):
        if name in queues.TASK_QUEUES:
            return str(name)
    raise Conflict(f"dead letter {letter.pk} came from {letter.source}, which is no queue or task of ours")


def _headers_for_replay(letter: DeadLetter) -> dict[str, Any]:
    kept = {name: value for name, value in letter.headers.items() if not name.startswith(_BROKERS_OWN)}
    return {**kept, "retries": 0, KEY_HEADER: letter.dedupe_key, REPLAYS_HEADER: letter.replays}


def _replay_count(headers: Mapping[str, Any]) -> int:
    count = headers.get(REPLAYS_HEADER)
    return count if isinstance(count, int) else 0
