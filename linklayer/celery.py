"""The Celery application: `celery -A linklayer worker`, `celery -A linklayer beat`.

One configuration for publishers and workers, RabbitMQ and the Redis transport. Every time-out that bounds a publish is
here: none of them may be removed alone, each closes a way to hang for ever.
"""

import os
from datetime import timedelta
from typing import Any

from celery import Celery, signals
from celery.schedules import crontab
from django.conf import settings
from kombu import Connection

from linklayer.topology import DEFAULT, ROUTES, TASK_QUEUES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linklayer.settings")

# Longest wait of one publish for the broker's confirm; with the time-outs below, `queues.send` ends within 1.5 s.
CONFIRM_TIMEOUT_SECONDS = 0.5

CONSUMER_TIMEOUT_SECONDS = 5.0

# Shorter than the visibility time-out: on the Redis transport a task that runs longer would be delivered twice.
SOFT_TIME_LIMIT_SECONDS = 45
HARD_TIME_LIMIT_SECONDS = 55
VISIBILITY_TIMEOUT_SECONDS = 60

_AMQP_OPTIONS: dict[str, Any] = {
    "confirm_publish": True,
    # Bound the clean-up after a confirm that never came: it waits for the frozen broker's CloseOk.
    "read_timeout": 0.25,
    "write_timeout": 0.25,
    # One try to connect; who sends decides about another.
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
_REDIS_OPTIONS: dict[str, Any] = {
    "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
    # Look for messages of killed workers every 10 s, not every 100 s.
    "unacked_restore_throttle": 1,
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    "max_retries": 0,
    "interval_start": 0,
}


def is_amqp(url: str) -> bool:
    """Tell whether the broker is RabbitMQ (amqp, amqps, pyamqp) and not the Redis transport."""
    return "amqp" in url.partition("://")[0]


def _tick(task: str, every: timedelta) -> dict[str, Any]:
    """One beat entry. A tick that finds no worker expires with the next one due: ticks do not pile up."""
    return {"task": task, "schedule": every, "options": {"expires": every.total_seconds()}}


BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "dispatch the outbox": _tick("linklayer.dispatch_outbox", timedelta(seconds=5)),
    "settle announcements": _tick("linklayer.sweep_announcements", timedelta(seconds=30)),
    "apply pending forgets": _tick("linklayer.apply_pending_forgets", timedelta(seconds=5)),
    "refresh due profiles": _tick("profiles.refresh_due", timedelta(seconds=10)),
    "requeue due receipts": _tick("webhooks.requeue_due", timedelta(seconds=10)),
    "roll up clicks": _tick("analytics.roll_up", timedelta(seconds=60)),
    # By the clock, not by an interval: beats that are restarted within the hour would never reach its end.
    "prune clicks": {"task": "analytics.prune", "schedule": crontab(minute="3")},
    "make partitions": {"task": "analytics.make_partitions", "schedule": crontab(minute="7")},
    "prune creations": {"task": "shortlinks.prune_idempotent_creations", "schedule": crontab(minute="11")},
    "prune receipts": {"task": "webhooks.prune_receipts", "schedule": crontab(minute="17")},
}

app = Celery("linklayer", task_cls="linklayer.worker:SafeTask", strict_typing=True)
app.conf.update(
    broker_url=settings.AMQP_URL,
    broker_transport_options=_AMQP_OPTIONS if is_amqp(settings.AMQP_URL) else _REDIS_OPTIONS,
    broker_connection_timeout=0.5,
    broker_connection_retry_on_startup=True,
    broker_heartbeat=30,  # seconds: a worker notices within a minute that its broker is gone without a word
    broker_pool_limit=10,
    broker_pool_acquire_timeout=0.25,
    # kombu's own repeat publishes duplicates and leaks its policy into later calls; our callers repeat with an id.
    task_publish_retry=False,
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_queues=list(TASK_QUEUES.values()),
    task_routes={task: {"queue": queue} for task, queue in ROUTES.items()},
    task_default_queue=DEFAULT,
    task_create_missing_queues=False,
    # Acknowledged when done; what raises is rejected to the dead-letter exchange; a lost worker's task comes again.
    task_acks_late=True,
    task_acks_on_failure=False,
    task_acks_on_timeout=False,
    task_acks_on_failure_or_timeout=False,
    task_reject_on_worker_lost=True,
    task_soft_time_limit=SOFT_TIME_LIMIT_SECONDS,
    task_time_limit=HARD_TIME_LIMIT_SECONDS,
    worker_consumer="linklayer.worker:SafeConsumer",
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_soft_shutdown_timeout=3.0,
    # Connections live over many tasks; SafeTask checks and drops them (without this, one connect per task).
    CELERY_DB_REUSE_MAX=1_000_000,
    beat_schedule=BEAT_SCHEDULE,
    beat_scheduler="linklayer.beat:Ticker",
    beat_max_loop_interval=5,
    timezone="UTC",
    enable_utc=True,
)
app.autodiscover_tasks(["linklayer", "webhooks", "analytics", "shortlinks", "profiles"])


def consuming_connection(*, heartbeat_seconds: float | None = None) -> Connection:
    """Return a connection for a consumer, not yet open: it may wait for a busy broker where a publisher may not.

    Declaring quorum queues takes RabbitMQ longer than a publisher's read time-out when it has much to do.
    """
    options = {"read_timeout": CONSUMER_TIMEOUT_SECONDS, "write_timeout": CONSUMER_TIMEOUT_SECONDS}
    return app.connection_for_read(
        heartbeat=heartbeat_seconds,
        connect_timeout=CONSUMER_TIMEOUT_SECONDS,
        transport_options=options if is_amqp(settings.AMQP_URL) else {},
    )


@signals.setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Django has configured logging (linklayer.logs); a receiver of this signal keeps Celery from doing it again."""


@signals.before_task_publish.connect
def _let_workers_judge_expiry(properties: dict[str, Any], **_: object) -> None:
    """Take the message time-to-live that Celery derives from `expires`.

    The worker drops an expired tick; the broker would make a dead letter of it.
    """
    properties.pop("expiration", None)
