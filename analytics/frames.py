"""The bytes of a spool segment: `mark | length | crc32 | payload`, one frame after the other.

A torn or flipped frame costs itself only: the scan goes on at the next mark whose checksum holds. The mark starts with
0xFF, a byte that no UTF-8 text contains, so nothing that a visitor sends can pass for a frame.
"""

import base64
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

HEADER_MARK = b"\xffH"
RECORD_MARK = b"\xffR"
BATCH_TEXT_BYTES = 4 << 20  # far above any batch of ours: a message that unpacks to more is none

_HEAD = struct.Struct("<2sHI")
_HEAD_BYTES = _HEAD.size
_MARKS = {HEADER_MARK, RECORD_MARK}


class Frame(NamedTuple):
    """A whole frame found in data[start:end]."""

    mark: bytes
    start: int
    end: int

    def payload(self, data: bytes) -> bytes:
        return data[self.start + _HEAD_BYTES : self.end]


def record_frame(payload: bytes) -> bytes:
    """Return the frame of a record. Raises struct.error for more than 65,535 bytes."""
    return _HEAD.pack(RECORD_MARK, len(payload), crc32(payload)) + payload


def header_frame(payload: bytes) -> bytes:
    """Return the frame that opens a segment."""
    return _HEAD.pack(HEADER_MARK, len(payload), crc32(payload)) + payload


def scan(data: bytes) -> Iterator[Frame]:
    """Yield every frame of data whose checksum holds, in order, whatever stands between them."""
    position = 0
    while position >= 0:
        found = _frame_at(data, position)
        if found is None:
            position = data.find(b"\xff", position + 1)
        else:
            yield found
            position = found.end


def to_text(frames: bytes) -> str:
    """Return whole frames as the ASCII text in which they travel through the broker: zlib, then base64."""
    return base64.b64encode(zlib.compress(frames, level=1)).decode("ascii")


def from_text(text: str) -> bytes:
    """Return the frames of a message. Raises ValueError when it is none, or unpacks to more than 4 MiB."""
    unpacker = zlib.decompressobj()
    try:
        frames = unpacker.decompress(base64.b64decode(text, validate=True), BATCH_TEXT_BYTES)
    except zlib.error as error:
        raise ValueError(f"not a batch: {error}") from error
    if not unpacker.eof:
        raise ValueError("not a batch: cut off or too long")
    return frames


def _frame_at(data: bytes, start: int) -> Frame | None:
    if len(data) - start < _HEAD_BYTES:
        return None
    mark, length, checksum = _HEAD.unpack_from(data, start)
    end = start + _HEAD_BYTES + length
    if mark not in _MARKS or end > len(data) or crc32(data[start + _HEAD_BYTES : end]) != checksum:
        return None
    return Frame(mark, start, end)
