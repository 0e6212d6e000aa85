"""The one way to call Salesforce's REST API: simple-salesforce, with what it lacks put right around it.

Time-outs on every call, the API version pinned, one token refresh that keeps the request's headers, bounded retries with jitter
of calls that may be repeated, the API budget read from every answer, and errors as omsync's own types.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from simple_salesforce.api import Salesforce

from omsync.platform.errors import OmsyncError, Retryable
from omsync.platform.http import TimeoutSession, never_sent
from omsync.salesforce.auth import Connection, TokenSource
from omsync.salesforce.errors import RequestLimit, from_response
from omsync.sync.limits import Usage

__all__ = ["API_VERSION", "SalesforceClient", "Usage"]

API_VERSION = "67.0"
#: tries of one call that may be repeated, and the longest pause before the n-th repeat, in seconds
ATTEMPTS = 4
#: for so long what an answer said of the API budget is taken for true
USAGE_SECONDS = 60.0
BACKOFF_SECONDS = (0.2, 0.8, 2.0)


class SalesforceClient(Salesforce):
    """An authenticated client of one org. Thread-safe as far as `requests.Session` is: one per thread is the safe choice."""

    def __init__(
        self, connection: Connection, *, session: TimeoutSession | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        own = session or TimeoutSession(connection.ca_file)
        self.connection = connection
        self.tokens = TokenSource(connection, own)
        self.usage: Usage | None = None
        self._usage_at = 0.0
        self.calls = 0
        self._sleep = sleep
        self._jitter = random.SystemRandom()
        super().__init__(instance_url=connection.instance_url, session_id="", session=own, version=API_VERSION, object_pairs_hook=dict)
        self.root = connection.instance_url.rstrip("/")

    def _call_salesforce(
        self, method: str, url: str, name: str = "", retries: int = 0, max_retries: int = 3, **kwargs: Any
    ) -> requests.Response:
        """What simple-salesforce's own methods call: the same way as ours, so that they gain time-outs, refresh and errors."""
        return self.send(method, url, repeatable=method == "GET", **kwargs)

    def send(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool,
        headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Send one request and return its successful answer (status below 300).

        `path` is absolute, or relative to `/services/data/v67.0/`. `repeatable` says that sending it twice does no harm: only then is it
        repeated after a lost connection or a transient refusal. Raises the types of `omsync.salesforce.errors`.
        """
        url = self._address(path)
        for attempt in range(ATTEMPTS):
            try:
                return self._once(method, url, dict(headers or {}), **kwargs)
            except RequestLimit:
                raise
            except Retryable:
                if not repeatable or attempt == ATTEMPTS - 1:
                    raise
            self._sleep(self._jitter.uniform(0, BACKOFF_SECONDS[attempt]))
        raise AssertionError("unreachable")

    def _address(self, path: str) -> str:
        if path.startswith("https://"):
            return path
        return f"{self.root}{path}" if path.startswith("/") else f"{self.root}/services/data/v{API_VERSION}/{path}"

    def _once(self, method: str, url: str, headers: dict[str, str], **kwargs: Any) -> requests.Response:
        token = self.tokens.token()
        response = self._exchange(method, url, headers, token, **kwargs)
        if response.status_code == 401:  # expired: once more with a new token and the very same headers
            response = self._exchange(method, url, headers, self.tokens.replace(token), **kwargs)
        if response.status_code >= 300 and response.status_code != 304:
            raise _fault(response)
        return response

    def _exchange(self, method: str, url: str, headers: dict[str, str], token: str, **kwargs: Any) -> requests.Response:
        # Sforce-Call-Options: or change data capture's changeOrigin names no client
        sent = {"Content-Type": "application/json", "Sforce-Call-Options": "client=omsync", **headers, "Authorization": f"Bearer {token}"}
        self.calls += 1
        if isinstance(body := kwargs.get("data"), io.IOBase):
            body.seek(0)  # a stream that an earlier, refused attempt has read
        try:
            response = self.session.request(method, url, headers=sent, **kwargs)
        except requests.RequestException as fault:
            code = "not_connected" if never_sent(fault) else "unreachable"
            raise Retryable(f"no answer from Salesforce: {type(fault).__name__}", code=f"salesforce.{code}") from fault
        self._note_usage(response)
        return response

    def _note_usage(self, response: requests.Response) -> None:
        parsed = self.parse_api_usage(response.headers.get("Sforce-Limit-Info", "")).get("api-usage")
        if parsed is not None:
            self.usage, self._usage_at = Usage(int(parsed.used), int(parsed.total)), time.monotonic()

    def get_json(self, path: str, *, params: Mapping[str, str] | None = None) -> Any:
        """GET, parsed."""
        return self.send("GET", path, repeatable=True, params=params).json()

    def post_json(self, path: str, body: object, *, repeatable: bool, headers: Mapping[str, str] | None = None) -> Any:
        """POST a JSON body; the answer parsed, or None where it has no body."""
        response = self.send("POST", path, repeatable=repeatable, json=body, headers=headers)
        return response.json() if response.content else None

    def budget(self) -> Usage:
        """The API budget, asked of `/limits` (one call)."""
        daily = self.get_json("limits")["DailyApiRequests"]
        self.usage, self._usage_at = Usage(int(daily["Max"]) - int(daily["Remaining"]), int(daily["Max"])), time.monotonic()
        return self.usage

    def recent_usage(self, seconds: float = USAGE_SECONDS) -> Usage:
        """What an answer said within the last seconds, else asked: whoever pauses for want of budget calls nobody, and would never know."""
        if self.usage is not None and time.monotonic() - self._usage_at <= seconds:
            return self.usage
        return self.budget()


def _fault(response: requests.Response) -> OmsyncError:
    try:
        body: object = response.json()
    except ValueError:
        body = response.text
    return from_response(response.status_code, body)
