"""Delivers the outbox to omsync: CloudEvents batches, at least once, as soon as they are committed.

One dispatcher works at a time (an advisory lock); it sleeps in LISTEN and is woken by the commit. What is delivered leaves
`outbox_pending`. Order is not kept across failures and needn't be: events carry versions.

    202            delivered
    400, 422       the events it names are parked with the reason, the rest goes again; if it names none, the batch is halved
    413            the batch is halved; a single event too large is parked
    anything else  the same batch again, after a growing pause with jitter (or what Retry-After says)
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import random
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import httpx
import psycopg

from omsync.platform.errors import OmsyncError, Permanent, Retryable

from .delivery import CHANNEL, EVENTS, DeliveryFile, Target
from .store import Connection
from .writes import prune

log = logging.getLogger("oms.dispatcher")

BATCH = 200
BATCH_BYTES = 3_500_000  # the receiver's limits leave 4 MB a request
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
LOCK = 7_340_021
MAINTENANCE_SECONDS = 3600.0

PENDING = """
    SELECT seq, id, event FROM (
        SELECT o.seq, o.id::text, cloud_event(o)::text AS event,
               sum(pg_column_size(o.row) + 600) OVER (ORDER BY o.seq) AS size, row_number() OVER (ORDER BY o.seq) AS place
        FROM (SELECT seq FROM outbox_pending ORDER BY seq LIMIT %s) p JOIN outbox o USING (seq)) batch
    WHERE size <= %s OR place = 1
    ORDER BY seq
"""


@dataclass(frozen=True)
class Event:
    """One outbox row: its place, its CloudEvents id, its JSON."""

    seq: int
    id: str
    body: str


@dataclass(frozen=True)
class Verdict:
    """What the receiver said of a batch."""

    delivered: Sequence[Event] = ()
    parked: Sequence[tuple[Event, str]] = ()


class Receiver:
    """omsync's door over HTTP: token, signature, and what its answers mean."""

    def __init__(self, target: Target, client: httpx.Client) -> None:
        self.target = target
        self.client = client
        self._token = ""
        self._token_until = 0.0
        try:
            self._key = base64.b64decode(target.webhook_secret.get_secret_value().removeprefix("whsec_"), validate=True)
        except binascii.Error as fault:
            raise Permanent("webhook_secret must be whsec_ and base64", code="oms.delivery") from fault

    def deliver(self, events: Sequence[Event]) -> Verdict:
        """Offer a batch, in parts where it must be. Raises `Retryable` if nobody can say now."""
        answer = self._post(events)
        if answer.status_code in (200, 202):
            return Verdict(delivered=events)
        if answer.status_code in (400, 422):
            named = _named(answer, events)
            if named:
                return Verdict(parked=[(events[index], reason) for index, reason in named.items()])
        elif answer.status_code != 413:
            if answer.status_code == 401:
                self._token_until = 0.0
            raise Retryable(f"the door answered {answer.status_code}", code="oms.delivery", after=_retry_after(answer))
        if len(events) == 1:
            reason = "too large for the receiver" if answer.status_code == 413 else "refused without a reason"
            return Verdict(parked=[(events[0], reason)])
        middle = len(events) // 2
        return self._both(events[:middle], events[middle:])

    def _both(self, first: Sequence[Event], second: Sequence[Event]) -> Verdict:
        """Two halves. If the second can't be settled now, what is known of the first counts."""
        one = self.deliver(first)
        try:
            two = self.deliver(second)
        except Retryable:
            return one
        return Verdict([*one.delivered, *two.delivered], [*one.parked, *two.parked])

    def _post(self, events: Sequence[Event]) -> httpx.Response:
        body = ("[" + ",".join(event.body for event in events) + "]").encode()
        message = "msg_" + uuid.uuid5(uuid.NAMESPACE_OID, ",".join(event.id for event in events)).hex
        headers = {
            "Authorization": f"Bearer {self._bearer()}",
            "Content-Type": "application/cloudevents-batch+json",
            **sign(self._key, message, int(time.time()), body),
        }
        try:
            return self.client.post(self.target.url.rstrip("/") + "/oms/events", content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise Retryable(f"the door cannot be reached ({type(fault).__name__})", code="oms.delivery") from fault

    def _bearer(self) -> str:
        """The access token, asked for once until shortly before it ends."""
        if time.monotonic() < self._token_until:
            return self._token
        credentials = (self.target.client_id, self.target.client_secret.get_secret_value())
        form = {"grant_type": "client_credentials", "scope": self.target.scope}
        try:
            answer = self.client.post(self.target.token_url, data=form, auth=credentials)
            answer.raise_for_status()
            content = answer.json()
            self._token = str(content["access_token"])
            self._token_until = time.monotonic() + max(0.0, float(content.get("expires_in", 300)) - 60)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as fault:
            raise Retryable(f"no access token ({type(fault).__name__})", code="oms.delivery") from fault
        return self._token


def sign(key: bytes, message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Standard Webhooks headers; made anew for every attempt, since the time is part of what is signed."""
    digest = hmac.new(key, f"{message}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": message, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def _named(answer: httpx.Response, events: Sequence[Event]) -> dict[int, str]:
    """The events a refusal names, by id or index, with field and message."""
    try:
        errors = answer.json().get("errors", [])
    except (ValueError, AttributeError):
        return {}
    places = {event.id: index for index, event in enumerate(events)}
    named: dict[int, str] = {}
    for error in errors if isinstance(errors, list) else []:
        if not isinstance(error, dict):
            continue
        index = places.get(str(error.get("event")), error.get("index"))
        if isinstance(index, int) and 0 <= index < len(events):
            named.setdefault(index, f"{error.get('field') or 'event'}: {error.get('message') or 'refused'}"[:1000])
    return named


def _retry_after(answer: httpx.Response) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


class Dispatcher:
    """The loop: wait for a commit, deliver all there is, pause after a failure."""

    def __init__(self, database_url: str, delivery: DeliveryFile) -> None:
        self.database_url = database_url
        self.delivery = delivery
        self.stopping = threading.Event()
        self.failures = 0
        self.last_error: str | None = None
        self._receiver: Receiver | None = None
        self._client: httpx.Client | None = None
        self._stamp: object = None
        self._next_maintenance = 0.0

    def run(self) -> None:
        """Until `stop`. A lost database is waited for."""
        while not self.stopping.is_set():
            try:
                with psycopg.connect(self.database_url, autocommit=True, application_name="oms-dispatcher") as connection:
                    self._serve(connection)
            except psycopg.Error as fault:
                self.last_error = f"database: {type(fault).__name__}"
                log.warning("the database does not answer: %s", type(fault).__name__)
                self.stopping.wait(1.0)
        if self._client:
            self._client.close()

    def stop(self) -> None:
        """End the loop soon; a request under way is finished first."""
        self.stopping.set()
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("SELECT pg_notify(%s, '')", [CHANNEL])

    def _serve(self, connection: Connection) -> None:
        connection.execute(f"LISTEN {EVENTS}")
        connection.execute(f"LISTEN {CHANNEL}")
        while not self.stopping.is_set() and not self._is_alone(connection):
            self.stopping.wait(1.0)  # another dispatcher delivers
        self._reload()
        while not self.stopping.is_set():
            pause = self._deliver_all(connection)
            self._maintain(connection)
            self._wait(connection, pause)

    @staticmethod
    def _is_alone(connection: Connection) -> bool:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
        return bool(row and row[0])

    def _wait(self, connection: Connection, pause: float | None) -> None:
        """Until something is committed, or for `pause` after a failure; new settings end both."""
        until = time.monotonic() + (pause if pause is not None else 5.0)
        while not self.stopping.is_set():
            left = until - time.monotonic()
            heard = {notice.channel for notice in connection.notifies(timeout=max(0.0, left), stop_after=1)} if left > 0 else set()
            if CHANNEL in heard:
                self._reload()
                return
            if not heard or pause is None:
                return

    def _reload(self) -> None:
        """Take the target anew; its token is asked for anew too."""
        self.failures = 0
        self._receiver = None
        self._stamp = self.delivery.stamp()
        if self._client:
            self._client.close()
            self._client = None
        try:
            target = self.delivery.read()
            if target and not target.paused:
                self._client = httpx.Client(timeout=httpx.Timeout(35, connect=5), verify=target.ca_file or True, follow_redirects=False)
                self._receiver = Receiver(target, self._client)
        except (OmsyncError, OSError) as fault:
            self.last_error = str(fault)
            log.error("%s", fault)

    def _deliver_all(self, connection: Connection) -> float | None:
        """Deliver until nothing is pending. Returns the pause a failure asks for."""
        while self._receiver and not self.stopping.is_set():
            rows = connection.execute(PENDING, [BATCH, BATCH_BYTES]).fetchall()
            if not rows:
                return None
            if self.delivery.stamp() != self._stamp:  # after reading the rows: a change made while paused never goes out
                self._reload()
                continue
            try:
                verdict = self._receiver.deliver([Event(*row) for row in rows])
            except Retryable as fault:
                self.failures += 1
                self.last_error = str(fault)
                pause = backoff(self.failures) if fault.after is None else fault.after
                log.warning("%s; again in %.1f s", fault, pause)
                return pause
            self._settle(connection, verdict)
            self.failures, self.last_error = 0, None
        return None

    @staticmethod
    def _settle(connection: Connection, verdict: Verdict) -> None:
        settled = [event.seq for event in verdict.delivered] + [event.seq for event, _ in verdict.parked]
        with connection.transaction():
            for event, reason in verdict.parked:
                log.error("event %s is parked: %s", event.id, reason)
                connection.execute(
                    "INSERT INTO outbox_parked (seq, event_id, reason) VALUES (%s, %s, %s) ON CONFLICT (seq) DO UPDATE"
                    " SET reason = excluded.reason, parked_at = now()",
                    [event.seq, event.id, reason],
                )
            connection.execute("DELETE FROM outbox_pending WHERE seq = ANY(%s)", [settled])

    def _maintain(self, connection: Connection) -> None:
        if time.monotonic() >= self._next_maintenance:
            self._next_maintenance = time.monotonic() + MAINTENANCE_SECONDS
            prune(connection)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter, at most LONGEST_PAUSE."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 20))
    return random.uniform(longest / 2, longest)


@click.command()
@click.option("--database-url", envvar="OMS_DATABASE_URL", required=True, help="PostgreSQL of the OMS.")
@click.option("--delivery-file", type=click.Path(path_type=Path), required=True, help="JSON with the target (see delivery.py).")
def main(database_url: str, delivery_file: Path) -> None:
    """Deliver the outbox from a process of its own (start the service with --no-dispatcher)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    dispatcher = Dispatcher(database_url, DeliveryFile(delivery_file))
    try:
        dispatcher.run()
    except KeyboardInterrupt:
        dispatcher.stop()


if __name__ == "__main__":
    main()
