"""A process that records clicks until it is killed: `python -m tests.analytics.writer FOLDER RECORDS`.

Prints the sequence of each click once it is kept.
"""

import sys
import time
from pathlib import Path

from analytics.contracts import encode_event
from analytics.frames import record_frame
from analytics.spool import Spool
from tests.analytics.makers import make_event


def main(folder: str, records: int) -> None:
    spool = Spool(Path(folder), max_bytes=1 << 30)
    for number in range(1, records + 1):
        spool.append(record_frame(encode_event(make_event(sequence=number))))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
    time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
