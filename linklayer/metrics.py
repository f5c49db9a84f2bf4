"""Prometheus counters of the base. Every drop, stale answer, retry and dead letter is counted somewhere."""

from prometheus_client import Counter, Gauge

# Without the front door's hits in tier 1, which are counted once only, in front_door_answers.
cache_reads = Counter("linklayer_cache_reads", "Cached reads by where the answer came from", ["namespace", "source"])
cache_loads = Counter("linklayer_cache_loads", "Calls to the loader behind the caches", ["namespace"])
cache_loads_refused = Counter(
    "linklayer_cache_loads_refused", "Loads that got no place before the database in time", ["namespace"]
)
cache_corrupt = Counter("linklayer_cache_corrupt", "Values in the cache that could not be read and were deleted")
cache_errors = Counter("linklayer_cache_errors", "Calls to the cache that failed")
cache_breaker_open = Gauge("linklayer_cache_breaker_open", "1 while the cache is not asked", multiprocess_mode="max")
front_door_answers = Counter(
    "linklayer_front_door_answers", "Requests answered in the event loop", ["namespace", "status"]
)
edge_refused = Counter("linklayer_edge_refused", "Requests refused unseen, by status; full: connections", ["reason"])
parked_refused = Counter("linklayer_parked_refused", "Requests refused because the load they waited for failed")
lane_refused = Counter("linklayer_lane_refused", "Requests refused because the Django lane was full")
rate_limited = Counter("linklayer_rate_limited", "Requests refused by a rate limit", ["group"])
