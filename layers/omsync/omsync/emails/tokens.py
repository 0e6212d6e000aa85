"""Signed links: who they are for and what they may do, in the link itself, under our HMAC. A link for one purpose opens no other door."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from omsync.platform.errors import Permanent

type Purpose = Literal["verify", "unsubscribe"]

VERIFY_SECONDS: Final = 72 * 3600


class BadToken(Permanent):
    """Not ours, not for this, or too old."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: the patient, a hash of the address it was sent to (verify), and when it ends (epoch seconds; 0: never)."""

    purpose: Purpose
    patient: str
    address: str
    expires: int
    identity: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Makes and reads tokens. `keys`: the current key first; older ones are still read."""

    keys: tuple[bytes, ...]
    now: Callable[[], float]

    def make(self, purpose: Purpose, patient: str, *, address: str, identity: str) -> str:
        """A token. `identity` makes it one of its kind: a token used up is known by it."""
        expires = int(self.now()) + VERIFY_SECONDS if purpose == "verify" else 0
        said = {"u": purpose, "p": patient, "a": self.fingerprint(address), "x": expires, "i": identity}
        body = _encode(json.dumps(said, separators=(",", ":")).encode())
        return f"{body}.{_encode(self._sign(self.keys[0], body))}"

    def read(self, token: str, purpose: Purpose) -> Claims:
        """What a token says. Raises BadToken."""
        body, _, signature = token.partition(".")
        try:
            given = _decode(signature)
            if not any(hmac.compare_digest(given, self._sign(key, body)) for key in self.keys):
                raise BadToken("the link is not ours", code="emails.token")
            said = json.loads(_decode(body))
        except ValueError:
            raise BadToken("the link is not readable", code="emails.token") from None
        if said["u"] != purpose:
            raise BadToken("the link is for something else", code="emails.token")
        if said["x"] and said["x"] < self.now():
            raise BadToken("the link is too old", code="emails.token_expired")
        return Claims(purpose, said["p"], said["a"], said["x"], said["i"])

    def fingerprint(self, address: str) -> str:
        """An address, recognisable and not readable."""
        return hmac.new(self.keys[0], f"address:{address.strip().lower()}".encode(), hashlib.sha256).hexdigest()[:32]

    def _sign(self, key: bytes, body: str) -> bytes:
        return hmac.new(key, f"token:{body}".encode(), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
