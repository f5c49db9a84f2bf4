"""Prometheus counters of inbound webhooks."""

from prometheus_client import Counter

refused = Counter("linklayer_webhooks_refused", "Deliveries whose signature did not hold, by why", ["verdict"])
received = Counter("linklayer_webhooks_received", "Genuine deliveries, by what they were", ["outcome"])
conflicts = Counter("linklayer_webhooks_conflicts", "Repeated event ids that came with another body")
processed = Counter("linklayer_webhooks_processed", "Attempts to process an event, by how they ended", ["outcome"])
