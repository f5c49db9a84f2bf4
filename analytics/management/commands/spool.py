"""`manage.py spool`: what waits in this host's spool."""

import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from analytics.segments import OPEN, SEALED, list_segments, read_segment


class Command(BaseCommand):
    help = "Show the segments in the spool with age, size, records and writer."

    def handle(self, *args: Any, **options: Any) -> None:
        segments = list_segments(settings.SPOOL_DIR, OPEN, SEALED)
        for segment in segments:
            try:
                read = read_segment(segment.path)
            except FileNotFoundError:
                continue  # stored in the meantime
            writer = f"{read.header.host} pid {read.header.pid}" if read.header else "unknown writer"
            records = sum(batch.records for batch in read.batches)
            self.stdout.write(
                f"{segment.path.name}  {time.time() - segment.changed_at:7.1f} s  {segment.size:9,} bytes"
                f"  {records:6,} records  {writer}"
                + (f"  {read.damaged_bytes} damaged bytes" * bool(read.damaged_bytes))
            )
        size = sum(segment.size for segment in segments)
        share = size / settings.SPOOL_MAX_BYTES
        self.stdout.write(f"{len(segments)} segments, {size:,} bytes, {share:.1%} of the cap, in {settings.SPOOL_DIR}")
