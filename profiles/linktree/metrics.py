"""Prometheus metrics of the Linktree client (contract section 11.3). Labels are route templates, never ids."""

from prometheus_client import Counter, Histogram

api_seconds = Histogram(
    "linktree_api_duration_seconds",
    "Duration of one HTTP exchange with Linktree; status 0: no answer",
    ["endpoint", "status"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 5),
)
rate_limits = Counter("linktree_rate_limits", "Answers 429 from Linktree")
retries = Counter("linktree_retries", "Attempts beyond the first", ["endpoint"])
