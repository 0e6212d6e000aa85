"""Standard Webhooks: is this request from the OMS, unaltered, and fresh?

Source: the Standard Webhooks specification (signature scheme `v1`: HMAC-SHA256 over `id.timestamp.body`, base64).
Several secrets may be valid while one is rotated; several signatures may stand in the header, separated by spaces.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from omsync.platform.errors import Permanent

#: seconds a signature is good for, either way
TOLERANCE_SECONDS = 300


class BadSignature(Permanent):
    """The request is not what the OMS signed, or it is too old."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="webhook.signature")


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header for a body. `secret` is `whsec_` and base64."""
    mac = hmac.new(_key(secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], *, now: float) -> str:
    """Return the message's id, or raise `BadSignature` with what is wrong. Header names are matched in lower case."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp, signatures = (lower[f"webhook-{part}"] for part in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise BadSignature(f"the header {missing.args[0]} is missing") from None
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        raise BadSignature("webhook-timestamp must be seconds since 1970")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise BadSignature(f"webhook-timestamp is more than {TOLERANCE_SECONDS} seconds off our clock: sign every attempt anew")
    expected = [sign(secret, message_id, int(timestamp), body).encode() for secret in secrets]
    given = [part.encode() for part in signatures.split(" ")]
    if not any(hmac.compare_digest(one, other) for one in expected for other in given):
        raise BadSignature("webhook-signature does not match: check the shared secret")
    return message_id


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise Permanent("the webhook secret must be `whsec_` followed by base64", code="webhook.secret") from None
