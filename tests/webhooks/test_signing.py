"""The verifier against the vectors of contract 9.4, and against headers that no sender of good will sends."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.signing import Verdict, sign, verify

SECRET = "whsec_test_0123456789abcdef"
TIMESTAMP = "1768478400"
NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
BODY = (
    '{"id":"evt_0001","type":"link.created","timestamp":"2026-01-15T12:00:00Z","profile_id":"prof_1",'
    '"data":{"link_id":"lnk_1","title":"Café","url":"https://example.com/","position":0}}'
).encode()
PING = b'{"id":"evt_0002","type":"ping","timestamp":"2026-01-15T12:00:00Z","data":{}}'
SIGNATURE = "5169d6ac0fc900397164a00a8aa03f9eb5507dc2d6b2280bb27f0bdddecc7540"


def judge(
    body: bytes = BODY,
    *,
    signature: str = SIGNATURE,
    timestamp: str = TIMESTAMP,
    secrets: tuple[str, ...] = (SECRET,),
    now: datetime = NOW,
) -> Verdict:
    return verify(body, signature=signature, timestamp=timestamp, secrets=secrets, tolerance_seconds=300, now=now)


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (BODY, SIGNATURE),
        (b"", "72ffbb8292ae4f98809042bd435d91596b11849ae690236ba7b9821a8e09a641"),
        (PING, "63e37ec1e8894a92bca47f7d62edf45f8f21949f334b6e6945fded587049bad8"),
    ],
)
def test_the_vectors_of_the_contract_verify(body: bytes, signature: str) -> None:
    assert sign(SECRET, TIMESTAMP, body) == signature
    assert judge(body, signature=signature) is Verdict.GENUINE


@pytest.mark.parametrize(
    "signature",
    [
        "5d589fa57c07b261e37b70cbff3bda640a00f0696900613acc952783012ecaf0",  # over the re-serialised body
        "0fa4893cce3203b99cef0a21b687c820726161a911e39ff800054b32593f8ca2",  # over the body alone
    ],
)
def test_the_wrong_vectors_of_the_contract_fail(signature: str) -> None:
    assert len(BODY) == 181
    assert judge(signature=signature) is Verdict.MISMATCH


@pytest.mark.parametrize(
    "signature",
    [
        "",
        SIGNATURE[:-1],
        SIGNATURE + "0",
        SIGNATURE.upper(),
        "sha256=" + SIGNATURE,
        "é" * 64,
        SIGNATURE + "\n",
        f"{SIGNATURE},{SIGNATURE}",
        "UWnWrA/JADlxZKAKiqA/nrVQfcLWsigLsn8L3d7MdUA=",
        "0123456789",
    ],
)
def test_a_signature_of_another_form_is_malformed(signature: str) -> None:
    assert judge(signature=signature) is Verdict.MALFORMED


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "nan",
        "1e9",
        "1768478400.0",
        "1_768_478_400",
        "١٧٦٨٤٧٨٤٠٠",
        "+768478400",
        " 768478400",
        "1" * 400,
        "1768478400000",
        "-768478400",
        "0",
        "1768478400\n",
        "0x69680000",
    ],
)
def test_a_timestamp_of_another_form_is_malformed(timestamp: str) -> None:
    assert judge(timestamp=timestamp) is Verdict.MALFORMED


@pytest.mark.parametrize(
    ("skew_seconds", "is_in"), [(-301, False), (-300, True), (-299, True), (300, True), (301, False)]
)
def test_the_window_is_300_seconds_both_ways(skew_seconds: int, is_in: bool) -> None:
    verdict = judge(now=NOW + timedelta(seconds=skew_seconds))
    assert verdict is (Verdict.GENUINE if is_in else Verdict.OUT_OF_WINDOW)


def test_the_previous_secret_holds_while_it_is_configured() -> None:
    assert judge(secrets=("new", SECRET)) is Verdict.GENUINE
    assert judge(secrets=("new",)) is Verdict.MISMATCH


def test_without_a_secret_nothing_is_genuine() -> None:
    assert judge(secrets=()) is Verdict.MISMATCH


@given(st.binary(max_size=64), st.text(max_size=80), st.text(max_size=20))
def test_it_never_raises_and_never_believes_garbage(body: bytes, signature: str, timestamp: str) -> None:
    assert judge(body, signature=signature, timestamp=timestamp) is not Verdict.GENUINE
