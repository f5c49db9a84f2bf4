"""What stands in the broker: queues, exchanges, and which task goes where. Declarations only; nothing here connects.

The same declarations serve RabbitMQ and the Redis transport, which ignores the arguments. Arguments of a queue cannot
be changed once it exists (406 PRECONDITION_FAILED): a change needs a new version in the name.
"""

from kombu import Exchange, Queue

# Five redeliveries: a message that kills its worker each time ends in the dead letters.
DELIVERY_LIMIT = 5
# RabbitMQ 4 drops a quorum message after 20 redeliveries unless told otherwise, and 3.10 knows no "never". Dead
# letters wait through any number of restarts of their consumer.
PRACTICALLY_NEVER = 1_000_000
MAX_QUEUE_BYTES = 512 * 1024 * 1024

# Where our events go for whoever listens: the routing key is the event's type. No listener, no copy.
EVENTS = Exchange("events.v1", type="topic", durable=True)

_DEAD = Exchange("dead.v1", type="direct", durable=True)
DEAD_LETTERS = Queue(
    "dlq.v1",
    exchange=_DEAD,
    routing_key="dlq.v1",
    durable=True,
    queue_arguments={
        "x-queue-type": "quorum",
        "x-delivery-limit": PRACTICALLY_NEVER,
        "x-max-length-bytes": MAX_QUEUE_BYTES,
        "x-overflow": "reject-publish",
    },
)


def _work_queue(name: str) -> Queue:
    return Queue(
        name,
        exchange=Exchange("work.v1", type="direct", durable=True),
        routing_key=name,
        durable=True,
        queue_arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": _DEAD.name,
            "x-dead-letter-routing-key": DEAD_LETTERS.routing_key,
            # At least once: the message stays here until dlq.v1 has confirmed it. Needs reject-publish.
            "x-dead-letter-strategy": "at-least-once",
            "x-max-length-bytes": MAX_QUEUE_BYTES,
            "x-overflow": "reject-publish",
        },
    )


CLICKS, LINKTREE, WEBHOOKS, DEFAULT = "clicks.v1", "linktree.v1", "webhooks.v1", "default.v1"

# Split by how they fail and how fast they must be: a slow Linktree delays no webhook, neither delays a click.
TASK_QUEUES: dict[str, Queue] = {name: _work_queue(name) for name in (CLICKS, LINKTREE, WEBHOOKS, DEFAULT)}

# Each task by name, and its queue. The architecture test holds this against the registered tasks.
ROUTES: dict[str, str] = {
    "analytics.ingest_clicks": CLICKS,
    "analytics.make_partitions": DEFAULT,
    "analytics.prune": DEFAULT,
    "analytics.roll_up": DEFAULT,
    "linklayer.apply_pending_forgets": DEFAULT,
    "linklayer.dispatch_outbox": DEFAULT,
    "linklayer.sweep_announcements": DEFAULT,
    "profiles.refresh_due": DEFAULT,
    "profiles.refresh_profile": LINKTREE,
    "shortlinks.prune_idempotent_creations": DEFAULT,
    "webhooks.process_receipt": WEBHOOKS,
    "webhooks.prune_receipts": DEFAULT,
    "webhooks.requeue_due": DEFAULT,
}
