"""The codec of the spool: whatever happens to the bytes, every whole record is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.frames import RECORD_MARK, from_text, header_frame, record_frame, scan, to_text

payloads = st.lists(st.binary(max_size=300), min_size=1, max_size=20)


def read(data: bytes) -> list[bytes]:
    return [frame.payload(data) for frame in scan(data) if frame.mark == RECORD_MARK]


@given(payloads, st.data())
def test_any_truncation_keeps_every_whole_record_before_it(written: list[bytes], data: st.DataObject) -> None:
    frames = [record_frame(payload) for payload in written]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    kept = 0
    while kept < len(frames) and sum(map(len, frames[: kept + 1])) <= cut:
        kept += 1
    assert read(whole[:cut])[:kept] == written[:kept]
    assert len(read(whole[:cut])) == kept


@given(payloads, st.data())
def test_a_flipped_bit_costs_one_record_and_no_other(written: list[bytes], data: st.DataObject) -> None:
    frames = [record_frame(payload) for payload in written]
    hit = data.draw(st.integers(0, len(frames) - 1))
    at = data.draw(st.integers(0, len(frames[hit]) * 8 - 1))
    broken = bytearray(frames[hit])
    broken[at // 8] ^= 1 << at % 8
    found = read(b"".join([*frames[:hit], bytes(broken), *frames[hit + 1 :]]))
    others = written[:hit] + written[hit + 1 :]
    assert found[:hit] == others[:hit]
    assert found[len(found) - len(others[hit:]) :] == others[hit:]


@given(payloads)
def test_a_record_torn_in_the_middle_of_a_segment_is_skipped(written: list[bytes]) -> None:
    torn = record_frame(b"x" * 400)[:100]
    assert read(torn + b"".join(record_frame(payload) for payload in written)) == written


def test_text_of_a_visitor_cannot_pass_for_a_frame() -> None:
    forged = record_frame(b"forged").decode("latin-1").encode()
    assert read(record_frame(b"torn" + forged)[:-1]) == []


def test_the_header_is_no_record() -> None:
    assert read(header_frame(b"{}") + record_frame(b"one")) == [b"one"]


@given(st.binary(max_size=2000))
def test_frames_survive_the_way_through_the_broker(frames: bytes) -> None:
    assert from_text(to_text(frames)) == frames


@pytest.mark.parametrize("text", ["", "not base64!", "AAAA", to_text(b"cut" * 100)[:-8], to_text(bytes(5 << 20))])
def test_a_text_that_is_no_batch_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_text(text)
