"""The files of the spool: `<random id>.open` while a process writes it, `<random id>.sealed` once it never changes.

The writer holds a `flock` on its open segment for as long as it lives, so a lock that can be had means a dead writer.
Only sealed segments are read. Errors of the disk are OSErrors of the caller.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import msgspec

from analytics import frames

OPEN = ".open"
SEALED = ".sealed"
BATCH_RECORDS = 500
BATCH_BYTES = 512 * 1024  # stays under 1 MiB of broker message even where nothing compresses


class SegmentHeader(msgspec.Struct, frozen=True):
    """Who writes a segment: for people only, nothing is decided by it."""

    host: str
    pid: int
    generation: int


class OpenSegment:
    """A segment of this process. size: bytes written; records: whole frames written after the header."""

    __slots__ = ("_is_renamed", "descriptor", "first_record_at", "path", "records", "size", "synced_size")

    def __init__(self, path: Path, descriptor: int, size: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.size = self.synced_size = size
        self.records = 0
        self.first_record_at = 0.0
        self._is_renamed = False

    def sync(self) -> None:
        """Bring what is written to the disk."""
        size = self.size
        os.fdatasync(self.descriptor)
        self.synced_size = size

    def seal(self) -> None:
        """Give the segment to the shipper; an empty one goes. After an OSError it may be called again.

        Raises FileNotFoundError if somebody deleted the file.
        """
        if not self.records:
            self.path.unlink(missing_ok=True)
        elif not self._is_renamed:
            os.fdatasync(self.descriptor)
            self.path.rename(self.path.with_suffix(SEALED))
            self._is_renamed = True
        _sync_names(self.path.parent)
        self.let_go()

    def let_go(self) -> None:
        """Close the file; where no other process holds it, that frees its lock."""
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Batch:
    """Up to 500 records of a sealed segment; the id depends on nothing but the segment's bytes and name."""

    id: UUID
    records: int
    frames: bytes


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """A sealed segment, read. damaged_bytes: what belonged to no whole frame and was skipped."""

    id: UUID
    header: SegmentHeader | None
    batches: list[Batch]
    damaged_bytes: int


def create_spool(directory: Path) -> None:
    """Make the spool's folder where it is missing, closed to others."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def create_segment(directory: Path, header: SegmentHeader) -> OpenSegment:
    """Open a new, locked segment with its header written; the folder is made where it is missing."""
    head = frames.header_frame(msgspec.json.encode(header))
    create_spool(directory)
    while True:
        path = directory / f"{uuid4()}{OPEN}"
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Between open and lock the shipper may have adopted (and so removed) it: then the next name.
            if _lock(descriptor) and path.exists():
                # A header cut short by a full disk is skipped by the reader, like any torn frame.
                return OpenSegment(path, descriptor, os.write(descriptor, head))
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        os.close(descriptor)


def adopt_segment(path: Path) -> bool:
    """Seal the open segment of a dead process, without its torn tail; False if its writer lives or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # The name is checked under the lock: its writer may have sealed it since we looked.
        if not _lock(descriptor) or not path.exists():
            return False
        found = [frame for frame in frames.scan(path.read_bytes()) if frame.mark == frames.RECORD_MARK]
        if not found:
            path.unlink()
            return True
        os.ftruncate(descriptor, found[-1].end)
        os.fsync(descriptor)
        path.rename(path.with_suffix(SEALED))
        _sync_names(path.parent)
        return True
    finally:
        os.close(descriptor)


def read_segment(path: Path) -> SealedSegment:
    """Read a sealed segment and cut it into its batches, the same ones at every reading.

    Raises ValueError when the file's name is no segment's, OSError when the disk fails.
    """
    data = path.read_bytes()
    found = list(frames.scan(data))
    segment_id = UUID(path.stem)
    return SealedSegment(
        id=segment_id,
        header=_header(data, found),
        batches=list(_batches(segment_id, data, [frame for frame in found if frame.mark == frames.RECORD_MARK])),
        damaged_bytes=len(data) - sum(frame.end - frame.start for frame in found),
    )


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment as the folder lists it. size: bytes; changed_at: Unix time in seconds."""

    path: Path
    size: int
    changed_at: float


def list_segments(directory: Path, *suffixes: str) -> list[SegmentFile]:
    """Return the segments with these endings, the oldest first; a missing folder holds none."""
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(suffixes):
                    # Sealed or deleted while we looked: then it counts under its new name, or no more.
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat()
                        found.append(SegmentFile(Path(entry.path), status.st_size, status.st_mtime))
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda segment: segment.changed_at)


def delete_segment(path: Path) -> None:
    """Remove a segment whose records are all stored."""
    path.unlink(missing_ok=True)


def _batches(segment_id: UUID, data: bytes, records: list[frames.Frame]) -> Iterator[Batch]:
    taken: list[bytes] = []
    size = number = 0
    for record in records:
        taken.append(data[record.start : record.end])
        size += record.end - record.start
        if len(taken) == BATCH_RECORDS or size >= BATCH_BYTES:
            yield Batch(uuid5(segment_id, str(number)), len(taken), b"".join(taken))
            number += 1
            taken, size = [], 0
    if taken:
        yield Batch(uuid5(segment_id, str(number)), len(taken), b"".join(taken))


def _header(data: bytes, found: list[frames.Frame]) -> SegmentHeader | None:
    for frame in found:
        if frame.mark == frames.HEADER_MARK:
            try:
                return msgspec.json.decode(frame.payload(data), type=SegmentHeader)
            except ValueError:
                return None
    return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_names(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
