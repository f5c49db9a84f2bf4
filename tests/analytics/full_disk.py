"""A process whose disk takes no more than ROOM bytes for a while:
`python -m tests.analytics.full_disk FOLDER BEFORE DURING ROOM recover|end`.

The records while it is full come together, as those of one turn of the event loop do, if there is room for some.

The limit on the size of a file stands in for the full disk (EFBIG instead of ENOSPC, from the same write). Prints the
counts of the spool while the disk is full, and when everything is closed, before which the disk may come back.
"""

import resource
import signal
import sys
import time
from pathlib import Path

from analytics.frames import record_frame
from analytics.segments import OPEN
from analytics.spool import Spool


def main(folder: str, before: int, during: int, room: int, ending: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    spool = Spool(Path(folder), max_bytes=1 << 30)
    for number in range(before):
        spool.append(record_frame(str(number).encode()))
    frames = [record_frame(str(number).encode()) for number in range(before, before + during)]
    if room:
        (segment,) = Path(folder).glob(f"*{OPEN}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + room, resource.RLIM_INFINITY))
        spool.append(*frames)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        for frame in frames:
            spool.append(frame)
    counts = spool.counts()
    sys.stdout.write(f"counts {counts.accepted} {counts.ring} {counts.dropped}\n")
    if ending == "recover":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while spool.counts().ring:
            time.sleep(0.01)
    spool.close()
    counts = spool.counts()
    sys.stdout.write(f"counts {counts.accepted} {counts.ring} {counts.dropped}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
