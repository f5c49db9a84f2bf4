"""Prometheus counters of the broker's side: what was not published, tried again, let go, buried."""

from prometheus_client import Counter

publish_failures = Counter("linklayer_publish_failures", "Publishes that the broker did not confirm")
task_retries = Counter("linklayer_task_retries", "Tries of a task after the first", ["task"])
tasks_let_go = Counter("linklayer_tasks_let_go", "Tasks given up because something was down; asked for again", ["task"])
dead_letters = Counter("linklayer_dead_letters", "Messages and rows that became a dead letter", ["source"])
outbox_published = Counter("linklayer_outbox_published", "Events of ours that the broker has confirmed")
