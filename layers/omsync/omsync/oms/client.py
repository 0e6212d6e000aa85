"""Client of the OMS's API: rows by id, creates and patches with their preconditions, the change feed and the outbox.

Every call may be repeated: reads by nature, creates because they bring their id, patches because they bring an Idempotency-Key
(a repeated one gets the first answer). So a lost answer is asked for again, a bounded number of times.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from omsync.oms.errors import NotFound, from_response
from omsync.platform.errors import Permanent, Retryable
from omsync.platform.http import TimeoutSession

type Row = dict[str, Any]

#: ids in one batch-get
BATCH_IDS = 500
#: ids in one filter: they travel in the address, which servers take up to 8 KB of
FILTER_IDS = 100
ATTEMPTS = 4
BACKOFF_SECONDS = (0.1, 0.4, 1.5)
#: who the OMS notes in `changed_by`: its events come back to us with it
CHANGED_BY = "sync:salesforce"


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the OMS is, and our OAuth client."""

    base_url: str
    client_id: str
    client_secret: str = field(repr=False)
    ca_file: str | None = None
    #: names the caller to the OMS, whose operators see which of our functions asks for what
    agent: str = "omsync"


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change feed."""

    id: str
    version: int
    changed_by: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A page of one table's change feed. `next` is the cursor to save; `more` says that a further page is there now."""

    changes: tuple[Change, ...]
    next: str
    more: bool


@dataclass(frozen=True, slots=True)
class OutboxPage:
    """A page of the outbox: CloudEvents as the OMS pushes them, and the cursor behind the last."""

    events: tuple[dict[str, Any], ...]
    next: str


class OmsClient:
    """An authenticated client of the OMS."""

    def __init__(
        self,
        connection: Connection,
        *,
        session: TimeoutSession | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.connection = connection
        self.calls = 0
        self._session = session or TimeoutSession(connection.ca_file)
        self._session.headers["User-Agent"] = connection.agent
        self._now, self._sleep = now, sleep
        self._jitter = random.SystemRandom()
        self._lock = threading.Lock()
        self._token: str | None = None
        self._expires = 0.0

    def get(self, table: str, row_id: str) -> Row | None:
        """The row now, or None."""
        try:
            return dict(self._json("GET", f"/v1/{table}/{row_id}", record=f"{table}/{row_id}"))
        except NotFound:
            return None

    def batch_get(self, table: str, ids: Sequence[str]) -> dict[str, Row]:
        """`{id: row}` of those that exist, soft-deleted ones included."""
        found: dict[str, Row] = {}
        for start in range(0, len(ids), BATCH_IDS):
            answer = self._json("POST", f"/v1/{table}/batch-get", json={"ids": list(ids[start : start + BATCH_IDS])})
            found |= {row["id"]: row for row in answer["items"]}
        return found

    def rows(self, table: str, **where: str | Sequence[str]) -> Iterator[Row]:
        """All rows of a table in id order, page by page; `where` compares reference columns with an id, or any of several: `patient_id=...`."""
        after: str | None = None
        while True:
            page = self._json("GET", f"/v1/{table}", params={"limit": "500", **where, **({"after": after} if after else {})})
            yield from page["items"]
            after = page["next"]
            if not after:
                return

    def children(self, table: str, column: str, parent: str) -> Iterator[Row]:
        """The rows whose `column` refers to `parent`."""
        return self.rows(table, **{column: parent})

    def children_of(self, table: str, column: str, parents: Sequence[str]) -> Iterator[Row]:
        """The rows whose `column` refers to one of `parents`."""
        for start in range(0, len(parents), FILTER_IDS):
            yield from self.rows(table, **{column: parents[start : start + FILTER_IDS]})

    def create(self, table: str, row: Mapping[str, object], *, key: str) -> Row:
        """Create under the id the row brings; a second time it is the same row. Raises `Rejected`."""
        record = f"{table}/{row.get('id', '?')}"
        return dict(self._json("POST", f"/v1/{table}", json=dict(row), headers=self._writing(key), record=record))

    def patch(self, table: str, row_id: str, values: Mapping[str, object], *, version: int | None, key: str) -> Row:
        """Change columns of the row that has `version` (None: a command, which needs none).

        Returns the row as this patch left it, also when repeated. Raises `Stale` (the row moved on) or `Rejected`.
        """
        headers = self._writing(key)
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        path = f"/v1/{table}/{row_id}"
        return dict(self._json("PATCH", path, json=dict(values), headers=headers, record=f"{table}/{row_id}"))

    def changes(self, table: str, after: str | None, *, limit: int = 1000) -> ChangePage:
        """What changed behind a cursor, in `(change_xid, id)` order within one window of finished transactions."""
        params = {"table": table, "limit": str(limit), **({"after": after} if after else {})}
        body = self._json("GET", "/v1/changes", params=params)
        items = tuple(Change(row["id"], int(row["version"]), row["changed_by"], row["deleted_at"] is not None) for row in body["items"])
        return ChangePage(items, str(body["next"]), bool(body["more"]))

    def outbox(self, after: str | None, *, limit: int = 200, subject: str | None = None) -> OutboxPage:
        """Events as pushed, by cursor: for whoever must not miss one. `subject`: those of one record, `table/id`, where the OMS can tell."""
        params = {"limit": str(limit), **({"after": after} if after else {}), **({"subject": subject} if subject else {})}
        body = self._json("GET", "/v1/outbox", params=params)
        return OutboxPage(tuple(body["events"]), str(body["next"]))

    def now_cursor(self) -> str:
        """The oldest transaction still running: where a sweep that starts today begins."""
        return str(self._json("GET", "/v1/cursor")["xmin"])

    def healthy(self) -> bool:
        """Does the OMS answer? Never raises."""
        try:
            return self._session.get(f"{self.connection.base_url}/healthz", timeout=(2.0, 3.0)).status_code == 200
        except requests.RequestException:
            return False

    def _writing(self, key: str) -> dict[str, str]:
        return {"Idempotency-Key": key, "X-Changed-By": CHANGED_BY}

    def _json(self, method: str, path: str, *, record: str | None = None, **kwargs: Any) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                return self._once(method, path, record, **kwargs)
            except Retryable:
                if attempt == ATTEMPTS - 1:
                    raise
            self._sleep(self._jitter.uniform(0, BACKOFF_SECONDS[attempt]))
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, record: str | None, **kwargs: Any) -> Any:
        token = self._bearer()
        response = self._exchange(method, path, token, **kwargs)
        if response.status_code == 401:
            response = self._exchange(method, path, self._bearer(refused=token), **kwargs)
        if response.status_code >= 400:
            raise from_response(response, record)
        return response.json()

    def _exchange(self, method: str, path: str, token: str, **kwargs: Any) -> requests.Response:
        headers = {**(kwargs.pop("headers", None) or {}), "Authorization": f"Bearer {token}"}
        self.calls += 1
        try:
            return self._session.request(method, self.connection.base_url + path, headers=headers, **kwargs)
        except requests.RequestException as fault:
            raise Retryable(f"no answer from the OMS: {type(fault).__name__}", code="oms.unreachable") from fault

    def _bearer(self, refused: str | None = None) -> str:
        with self._lock:
            if self._token is None or self._token == refused or self._now() >= self._expires:
                self._token, self._expires = self._log_in()
            return self._token

    def _log_in(self) -> tuple[str, float]:
        try:
            response = self._session.post(
                f"{self.connection.base_url}/oauth/token",
                data={"grant_type": "client_credentials"},
                auth=(self.connection.client_id, self.connection.client_secret),
            )
        except requests.RequestException as fault:
            raise Retryable(f"log-in to the OMS: {type(fault).__name__}", code="oms.unreachable") from fault
        if response.status_code >= 500 or response.status_code == 429:
            raise Retryable(f"log-in to the OMS answered {response.status_code}", code="oms.login")
        if response.status_code != 200:
            raise Permanent(f"the OMS refuses our client (status {response.status_code})", code="oms.login")
        body = response.json()
        # a minute early, so that a token never expires on its way
        return str(body["access_token"]), self._now() + max(5.0, float(body.get("expires_in", 300)) - 60)
