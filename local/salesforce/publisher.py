"""What leaves the org: the platform event's subscriber (`ChangeNotice` in the Apex), or Event Relay in its place.

Reads `Record_Changed__e` events in commit order and hands them on within milliseconds: to omsync's API through the Named
Credential (OAuth client credentials, token kept until it expires), or to an EventBridge partner event bus, as the org's
configuration says. As in the Apex: batches of at most 200, five attempts with growing delays, a failed batch holds up
nobody, what the door names as bad is left out of the next attempt, and after the last attempt the sweep is the safety net.
The org's delays are minutes; here they are seconds.
"""

from __future__ import annotations

import heapq
import itertools
import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx

from local.salesforce.dml_types import Stored
from local.salesforce.store import Store

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

log = logging.getLogger("salesforce.publisher")

EVENT = "Record_Changed__e"
MOST_EVENTS = 200
MOST_RELAYED = 10  # EventBridge takes ten entries a call
DELIVERED = "publisher.delivered"  # the store's note of the last replay id handed on
MAY_PASS = frozenset({401, 403, 408, 429})
TIMEOUT = 20.0
IDLE = 60.0

type Hint = dict[str, object]


@dataclass(frozen=True, slots=True)
class NamedCredential:
    """Where the org calls out. `delays` are seconds before each further attempt; `mode` is `api` or `relay`."""

    mode: str = "api"
    url: str = ""  # our API's base, e.g. https://localhost:4566/prod
    token_url: str = ""
    client_id: str = ""
    client_secret: str = ""
    scope: str = "salesforce/write"
    ca: str | None = None  # PEM file of the authority behind the endpoints' certificates
    delays: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    aws_endpoint: str = ""
    aws_region: str = "us-east-1"
    bus: str = ""  # partner event source, `aws.partner/salesforce.com/<org>/<channel>`
    account: str = "000000000000"

    def problem(self) -> str | None:
        """What keeps this configuration from working, in one line."""
        if self.mode not in {"api", "relay"}:
            return f"mode is '{self.mode}': use api or relay"
        missing = [name for name in (("aws_endpoint", "bus") if self.mode == "relay" else ("url",)) if not getattr(self, name)]
        if self.mode == "api" and self.token_url and not (self.client_id and self.client_secret):
            missing.append("client_id and client_secret")
        return f"{', '.join(missing)} missing" if missing else None

    @classmethod
    def load(cls, path: Path) -> NamedCredential:
        return cls.of(json.loads(path.read_text())) if path.exists() else cls()

    @classmethod
    def of(cls, values: Mapping[str, object]) -> NamedCredential:
        """From JSON; unknown keys are refused by name."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(cls.__dataclass_fields__)}")
        delays = values.get("delays")
        if delays is not None and not (isinstance(delays, (list, tuple)) and all(isinstance(d, (int, float)) for d in delays)):
            raise ValueError("delays must be a list of seconds")
        wrong = [name for name, value in values.items() if name not in {"delays", "ca"} and not isinstance(value, str)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be text")
        return replace(cls(), **(dict(values) | ({"delays": tuple(delays)} if isinstance(delays, (list, tuple)) else {})))  # type: ignore[arg-type]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))
        path.chmod(0o600)


class Lane(Protocol):
    """One way out. `send` answers the hints worth another attempt."""

    def send(self, hints: Sequence[Hint]) -> list[Hint]: ...

    def close(self) -> None: ...


class ApiLane:
    """`POST {url}/salesforce/changes` with a client-credentials token."""

    def __init__(self, credential: NamedCredential, clock: Callable[[], float] = time.monotonic) -> None:
        self.credential = credential
        self.clock = clock
        trust = ssl.create_default_context(cafile=credential.ca) if credential.ca else True
        self.http = httpx.Client(verify=trust, timeout=TIMEOUT, trust_env=False)
        self._token = ""
        self._expires = 0.0

    def close(self) -> None:
        self.http.close()

    def send(self, hints: Sequence[Hint]) -> list[Hint]:
        try:
            answer = self.http.post(
                f"{self.credential.url.rstrip('/')}/salesforce/changes", json={"events": hints}, headers=self._headers()
            )
        except httpx.HTTPError as unreachable:
            log.warning("callout failed: %s", type(unreachable).__name__)
            return list(hints)
        if answer.status_code in {401, 403}:
            self._expires = 0.0  # a token that no longer counts is fetched anew
        if answer.status_code == 400:
            return _without_bad(hints, answer)
        if answer.status_code >= 500 or answer.status_code in MAY_PASS:
            log.warning("callout answered %d", answer.status_code)
            return list(hints)
        if answer.status_code >= 300:
            log.error("callout refused for good: %d", answer.status_code)
        return []

    def _headers(self) -> dict[str, str]:
        if not self.credential.token_url:
            return {}
        if self.clock() >= self._expires:
            form = {"grant_type": "client_credentials", "scope": self.credential.scope}
            basic = httpx.BasicAuth(self.credential.client_id, self.credential.client_secret)
            granted = self.http.post(self.credential.token_url, data=form, auth=basic).raise_for_status().json()
            self._token = str(granted["access_token"])
            self._expires = self.clock() + max(0.0, float(granted.get("expires_in", 3600)) - 60)
        return {"Authorization": f"Bearer {self._token}"}


def _without_bad(hints: Sequence[Hint], answer: httpx.Response) -> list[Hint]:
    """The door takes all or nothing and names what is bad: `{"errors": [{"index": 3, ...}]}`."""
    try:
        bad = {int(error["index"]) for error in answer.json()["errors"]}
    except (ValueError, KeyError, TypeError):
        return []  # not our door's answer: nothing to learn from it
    return [hint for index, hint in enumerate(hints) if index not in bad] if bad else []


class RelayLane:
    """`PutPartnerEvents`, as Event Relay delivers a channel: detail-type is the event's name, detail its payload."""

    def __init__(self, credential: NamedCredential, client: EventBridgeClient | None = None) -> None:
        self.credential = credential
        self.client = client or _events_client(credential)

    def close(self) -> None:
        self.client.close()

    def send(self, hints: Sequence[Hint]) -> list[Hint]:
        from botocore.exceptions import BotoCoreError, ClientError

        left: list[Hint] = []
        for start in range(0, len(hints), MOST_RELAYED):
            part = hints[start : start + MOST_RELAYED]
            entries = [{"Source": self.credential.bus, "DetailType": EVENT, "Detail": json.dumps(_relayed(hint))} for hint in part]
            try:
                outcome = self.client.put_partner_events(Entries=entries)["Entries"]  # type: ignore[arg-type]
            except (BotoCoreError, ClientError) as error:
                log.warning("relay failed: %s", type(error).__name__)
                left.extend(hints[start:])
                break
            left.extend(hint for hint, result in zip(part, outcome, strict=False) if result.get("ErrorCode"))
        return left


def _events_client(credential: NamedCredential) -> EventBridgeClient:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "events",
        endpoint_url=credential.aws_endpoint,
        region_name=credential.aws_region,
        aws_access_key_id="relay",
        aws_secret_access_key="relay",  # the embedded stack asks for none
        config=Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=TIMEOUT),
    )


_HINT_FIELDS = (
    ("Object__c", "object"),
    ("Record_Id__c", "id"),
    ("Change__c", "change"),
    ("Record_Type__c", "record_type"),
    ("Save__c", "save"),
    ("Master_Id__c", "master_id"),
    ("At__c", "at"),
)


def hint_of(payload: Mapping[str, Stored]) -> Hint:
    """A platform event as the API's hint (`ChangeNotice.Hint`)."""
    hint: Hint = {key: payload.get(name) for name, key in _HINT_FIELDS}
    if isinstance(hint["save"], (int, float)):
        hint["save"] = int(hint["save"])
    return hint


def _relayed(hint: Hint) -> dict[str, object]:
    """A hint back in the event's own fields, in the envelope a relayed platform event has."""
    return {"id": hint.get("uuid"), "replayId": hint.get("replay"), "payload": {name: hint[key] for name, key in _HINT_FIELDS}}


@dataclass(order=True, slots=True)
class _Job:
    """A batch on its way: when it is due, and which attempt comes next."""

    due: float
    number: int
    attempt: int = field(compare=False)
    hints: list[Hint] = field(compare=False)


@dataclass
class Deliveries:
    """What became of events: for the admin page and tests."""

    delivered: int = 0
    retried: int = 0
    given_up: int = 0
    lost: int = 0
    last_error: str = ""


class Publisher:
    """The subscriber's thread. `tamper` may lose, repeat or delay an event (faults on demand): it answers the delays of its copies."""

    def __init__(
        self,
        store: Store,
        credential: NamedCredential,
        *,
        tamper: Callable[[Mapping[str, Stored]], Sequence[float]] = lambda _: (0.0,),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.tamper = tamper
        self.clock = clock
        self.deliveries = Deliveries()
        self._credential = credential
        self._lane: Lane | None = None
        self._jobs: list[_Job] = []
        self._numbers = itertools.count()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._lane_lock = threading.Lock()
        self._read_upto = int(store.state(DELIVERED) or 0)
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        store.on_events(self._wake.set)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=TIMEOUT + 5)
        self._close_lane()

    @property
    def credential(self) -> NamedCredential:
        return self._credential

    def configure(self, credential: NamedCredential) -> None:
        """Take another Named Credential; events that waited for one go out now."""
        self._credential = credential
        self._close_lane()
        self._wake.set()

    def backlog(self) -> int:
        """Batches that wait for another attempt."""
        return len(self._jobs)

    def _close_lane(self) -> None:
        with self._lane_lock:
            if self._lane is not None:
                self._lane.close()
            self._lane = None

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            if self._credential.problem() is None:
                self._round()
            due = self._jobs[0].due - self.clock() if self._jobs else IDLE
            self._wake.wait(max(0.0, min(due, IDLE)))

    def _round(self) -> None:
        """Everything new, then every batch that is due."""
        while events := self.store.events_after(self._read_upto, MOST_EVENTS):
            self._take(events)
            self._send_due()
            if self._stopped.is_set():
                return
        self._send_due()

    def _take(self, events: Sequence[tuple[int, str, str, dict[str, Stored], str]]) -> None:
        """New events into batches, by when their copies are due."""
        batches: dict[float, list[Hint]] = {}
        for replay, uuid, name, payload, _ in events:
            self._read_upto = replay
            if name != EVENT:
                continue
            delays = self.tamper(payload)
            self.deliveries.lost += not delays
            for delay in delays:
                hint = hint_of(payload)
                if self._credential.mode == "relay":
                    hint |= {"uuid": uuid, "replay": replay}
                batches.setdefault(delay, []).append(hint)
        for delay, hints in batches.items():
            heapq.heappush(self._jobs, _Job(self.clock() + delay, next(self._numbers), 1, hints))

    def _send_due(self) -> None:
        while self._jobs and self._jobs[0].due <= self.clock() and not self._stopped.is_set():
            job = heapq.heappop(self._jobs)
            left = self._attempt(job.hints)
            self.deliveries.delivered += len(job.hints) - len(left)
            if left and job.attempt <= len(self._credential.delays):
                self.deliveries.retried += 1
                delay = self._credential.delays[job.attempt - 1]
                heapq.heappush(self._jobs, _Job(self.clock() + delay, next(self._numbers), job.attempt + 1, left))
            elif left:
                self.deliveries.given_up += len(left)
                log.error("gave up on %d events after %d attempts: the sweep finds them", len(left), job.attempt)
        if not self._jobs:
            self.store.set_state(DELIVERED, str(self._read_upto))

    def _attempt(self, hints: list[Hint]) -> list[Hint]:
        """One call; what is worth another. Nothing that goes wrong in a call ends the thread."""
        try:
            with self._lane_lock:
                if self._lane is None:
                    credential = self._credential
                    self._lane = RelayLane(credential) if credential.mode == "relay" else ApiLane(credential)
                lane = self._lane
            return lane.send(hints)
        except Exception as error:  # noqa: BLE001 - the subscriber's border: a failed callout is retried, then left to the sweep
            self.deliveries.last_error = f"{type(error).__name__}: {error}"
            log.warning("callout failed: %s", type(error).__name__)
            return hints
