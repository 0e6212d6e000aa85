"""The HTTP session all our calls go through: every request has a time-out, and trust comes from us alone."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError

#: seconds to connect, seconds between two bytes of the answer
DEFAULT_TIMEOUT = (5.0, 60.0)


class TimeoutSession(requests.Session):
    """A `requests.Session` whose requests cannot wait for ever.

    `trust_env` is off: an environment's REQUESTS_CA_BUNDLE would silently replace `ca_file`, and proxies or .netrc
    credentials have no business in a call that carries health data.
    """

    def __init__(self, ca_file: str | None = None, timeout: tuple[float, float] = DEFAULT_TIMEOUT, pool: int = 10) -> None:
        super().__init__()
        self.trust_env = False
        self.timeout = timeout
        if ca_file:
            self.verify = ca_file
        adapter = HTTPAdapter(
            pool_connections=pool, pool_maxsize=pool, max_retries=0
        )  # retries are decided above, where idempotency is known
        self.mount("https://", adapter)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As `requests.Session.request`, with our time-out unless the caller brings one."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.timeout
        return super().request(method, url, *args, **kwargs)


def never_sent(fault: requests.RequestException) -> bool:
    """No connection came about: the other side knows nothing of this request, which after a lost answer nobody can say."""
    if isinstance(fault, requests.ConnectTimeout):
        return True
    cause = fault.args[0] if fault.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)
