"""Standard Webhooks: our check and the reference library agree, and every kind of forgery is told apart."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from omsync.oms.signature import TOLERANCE_SECONDS, BadSignature, sign, verify

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret of 24 bytes..").decode()
NOW = 1_790_000_000


def headers(body: bytes, *, secret: str = SECRET, at: int = NOW) -> dict[str, str]:
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(at), "Webhook-Signature": sign(secret, "msg_1", at, body)}


def test_a_signed_body_is_accepted_and_its_id_returned() -> None:
    assert verify(headers(b"{}"), b"{}", [SECRET], now=NOW) == "msg_1"


def test_while_a_secret_is_rotated_either_one_is_good() -> None:
    assert verify(headers(b"{}", secret=OTHER), b"{}", [SECRET, OTHER], now=NOW)


@given(st.binary(max_size=200))
def test_the_reference_library_signs_as_we_do(body: bytes) -> None:
    text = body.hex()
    theirs = Webhook(SECRET).sign("msg_1", datetime.fromtimestamp(NOW, UTC), text)
    assert theirs == sign(SECRET, "msg_1", NOW, text.encode())


def test_the_reference_library_accepts_what_we_sign() -> None:
    at = int(time.time())
    Webhook(SECRET).verify('{"a":1}', headers(b'{"a":1}', at=at))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Webhook-Signature": "v1,AAAA"}, "does not match"),
        ({"Webhook-Signature": "v1,é"}, "does not match"),
        ({"Webhook-Timestamp": "yesterday"}, "seconds since 1970"),
        ({"Webhook-Timestamp": "٣"}, "seconds since 1970"),
        ({"Webhook-Timestamp": str(NOW - TOLERANCE_SECONDS - 1)}, "sign every attempt anew"),
        ({"Webhook-Timestamp": str(NOW + TOLERANCE_SECONDS + 1)}, "sign every attempt anew"),
        ({"Webhook-Id": "msg_2"}, "does not match"),
    ],
)
def test_a_forged_or_old_request_is_refused_with_its_reason(change: dict[str, str], says: str) -> None:
    with pytest.raises(BadSignature, match=says):
        verify({**headers(b"{}"), **change}, b"{}", [SECRET], now=NOW)


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify(headers(b"{}"), b"{ }", [SECRET], now=NOW)


def test_a_missing_header_is_named() -> None:
    with pytest.raises(BadSignature, match="webhook-id"):
        verify({}, b"{}", [SECRET], now=NOW)
