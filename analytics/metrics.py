"""Prometheus counters of the ledger: everything that is dropped, damaged, sent again or set aside is counted here."""

from prometheus_client import Counter, Gauge

clicks_dropped = Counter("linklayer_clicks_dropped", "Events that fell out of the memory ring while the spool failed")
clicks_failed = Counter("linklayer_clicks_failed", "Events that could not be captured because of an error of ours")
spool_ring = Gauge(
    "linklayer_spool_ring", "Events held in memory because the spool failed", multiprocess_mode="livesum"
)
spool_bytes = Gauge("linklayer_spool_bytes", "Bytes in the spool folder", multiprocess_mode="mostrecent")
spool_segments = Gauge("linklayer_spool_segments", "Segments in the spool folder", multiprocess_mode="mostrecent")
clicks_stored = Counter("linklayer_clicks_stored", "Events stored")
clicks_dead_lettered = Counter("linklayer_clicks_dead_lettered", "Events set aside as dead letters")
batches_repeated = Counter("linklayer_batches_repeated", "Batches refused because they were stored already")
segments_adopted = Counter("linklayer_segments_adopted", "Open segments of dead processes that were sealed for them")
spool_damaged_bytes = Counter("linklayer_spool_damaged_bytes", "Bytes of sealed segments that belong to no record")
batches_sent = Counter("linklayer_batches_sent", "Batches sent to the broker", ["again"])
