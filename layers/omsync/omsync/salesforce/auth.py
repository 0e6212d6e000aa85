"""OAuth 2.0 for Salesforce: the JWT bearer flow, with the token kept until it is refused.

Source: "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration" (Salesforce Help). The audience is the My Domain URL:
SOAP login and the shared log-in hosts are on their way out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt
import requests

from omsync.platform.errors import Permanent, Retryable
from omsync.platform.http import TimeoutSession

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
#: seconds an assertion is valid: the flow allows at most 3 minutes
_ASSERTION_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Connection:
    """Where and as whom we log in. `ca_file` is a PEM bundle for an org behind a private CA, else None."""

    instance_url: str
    consumer_key: str
    username: str
    private_key: str = field(repr=False)
    ca_file: str | None = None


class TokenSource:
    """Hands out an access token; a refused one is replaced once, however many threads ask at the same time."""

    def __init__(self, connection: Connection, session: TimeoutSession, now: Callable[[], float] = time.time) -> None:
        self.connection = connection
        self._session = session
        self._now = now
        self._lock = threading.Lock()
        self._token: str | None = None

    def token(self) -> str:
        """The current token, fetched on first use."""
        with self._lock:
            if self._token is None:
                self._token = self._fetch()
            return self._token

    def replace(self, refused: str) -> str:
        """A token other than `refused`."""
        with self._lock:
            if self._token is None or self._token == refused:
                self._token = self._fetch()
            return self._token

    def _fetch(self) -> str:
        claims: dict[str, object] = {
            "iss": self.connection.consumer_key,
            "sub": self.connection.username,
            "aud": self.connection.instance_url,
            "exp": int(self._now()) + _ASSERTION_SECONDS,
        }
        assertion = jwt.encode(claims, self.connection.private_key, algorithm="RS256")
        try:
            response = self._session.post(
                f"{self.connection.instance_url}/services/oauth2/token", data={"grant_type": _GRANT, "assertion": assertion}
            )
        except requests.RequestException as fault:
            raise Retryable(f"log-in to Salesforce: {type(fault).__name__}", code="salesforce.not_connected") from fault
        if response.status_code >= 500 or response.status_code == 429:
            raise Retryable(f"log-in to Salesforce answered {response.status_code}", code="salesforce.login")
        if response.status_code != 200:
            raise Permanent(f"Salesforce refuses our log-in: {_reason(response)}", code="salesforce.login")
        return str(response.json()["access_token"])


def _reason(response: requests.Response) -> str:
    try:
        body = response.json()
        return f"{body['error']}: {body.get('error_description', '')}"
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
