"""Delivery: signed batches, quickly, at least once, through every kind of refusal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psycopg
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from local.oms.delivery import DeliveryFile, Target
from local.oms.dispatcher import LONGEST_PAUSE, Dispatcher, backoff

from .conftest import eventually

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Door:
    """A stand-in for omsync's API and its token endpoint. `refuse` decides an answer by the batch; None accepts."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.arrived: dict[str, float] = {}
        self.tokens = 0
        self.attempts = 0
        self.refuse: Any = lambda events: None
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, content = door.token(body) if self.path == "/token" else door.events(self.path, dict(self.headers), body)
                answer = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def token(self, body: bytes) -> tuple[int, dict[str, Any]]:
        self.tokens += 1
        assert parse_qs(body.decode())["grant_type"] == ["client_credentials"]
        return 200, {"access_token": f"token-{self.tokens}", "expires_in": 3600}

    def events(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        self.attempts += 1
        assert path == "/oms/events"
        assert headers["Content-Type"] == "application/cloudevents-batch+json"
        events = Webhook(SECRET).verify(body.decode(), {name.lower(): value for name, value in headers.items()})
        refused: tuple[int, dict[str, Any]] | None = self.refuse(events)
        if refused:
            return refused
        for event in events:
            self.arrived[event["id"]] = time.time()
        self.batches.append(events)
        self.headers.append(headers)
        return 202, {"accepted": [event["id"] for event in events]}

    @property
    def delivered(self) -> list[dict[str, Any]]:
        return [event for batch in list(self.batches) for event in batch]


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


class Sender:
    """A dispatcher at work on a database of its own."""

    def __init__(self, url: str, path: Path, door: Door) -> None:
        self.delivery = DeliveryFile(path)
        self.target = Target(
            url=door.url,
            token_url=f"{door.url}/token",
            client_id="oms",
            client_secret=SecretStr("secret"),
            webhook_secret=SecretStr(SECRET),
        )
        self.db = psycopg.connect(url, autocommit=True)
        self.dispatcher = Dispatcher(url, self.delivery)
        self.thread = threading.Thread(target=self.dispatcher.run)

    def aim(self, **changes: object) -> None:
        """Say where events go, as PUT /admin/delivery does."""
        self.delivery.write(self.target.model_copy(update=changes))
        self.db.execute("NOTIFY omsync_delivery")

    def patients(self, number: int = 1) -> list[str]:
        query = "INSERT INTO patients (last_name) SELECT 'x' || n FROM generate_series(1, %s) n RETURNING id::text"
        return [row_id for (row_id,) in self.db.execute(query, [number])]

    def count(self, table: str) -> int:
        row = self.db.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[arg-type]
        assert row is not None
        return int(row[0])


@pytest.fixture
def sender(empty_database: str, tmp_path: Path, door: Door) -> Iterator[Sender]:
    sender = Sender(empty_database, tmp_path / "delivery.json", door)
    sender.thread.start()
    yield sender
    sender.dispatcher.stop()
    sender.thread.join()
    sender.db.close()


def test_what_was_committed_before_the_target_was_known_is_delivered(sender: Sender, door: Door) -> None:
    ids = sender.patients(3)
    assert sender.count("outbox_pending") == 3
    sender.aim()
    eventually(lambda: len(door.delivered) == 3)
    assert [event["data"]["id"] for event in door.delivered] == ids
    assert door.headers[0]["Authorization"] == "Bearer token-1"
    eventually(lambda: sender.count("outbox_pending") == 0)


def test_an_event_arrives_within_100_ms(sender: Sender, door: Door) -> None:
    sender.aim()
    sender.patients()
    eventually(lambda: door.delivered)  # token and connection are there now
    delays = []
    for _ in range(15):
        (row_id,) = sender.patients()
        committed = time.time()
        event_id = eventually(lambda row_id=row_id: next((e["id"] for e in door.delivered if e["data"]["id"] == row_id), None))
        delays.append(door.arrived[event_id] - committed)
    assert sorted(delays)[len(delays) // 2] < 0.1
    assert door.tokens == 1


def test_events_go_in_batches_of_200(sender: Sender, door: Door) -> None:
    sender.patients(450)
    sender.aim()
    eventually(lambda: len(door.delivered) == 450)
    assert [len(batch) for batch in door.batches] == [200, 200, 50]
    assert len({event["id"] for event in door.delivered}) == 450


def test_an_outage_is_waited_out_and_every_attempt_is_signed_anew(sender: Sender, door: Door) -> None:
    door.refuse = lambda events: (503, {}) if door.attempts <= 3 else None  # each attempt's signature is verified before
    sender.aim()
    sender.patients()
    eventually(lambda: door.delivered)
    assert door.attempts == 4
    eventually(lambda: sender.dispatcher.failures == 0)


def test_a_400_parks_what_it_names_and_the_rest_goes_on(sender: Sender, door: Door) -> None:
    def refuse(events: list[dict[str, Any]]) -> tuple[int, dict[str, Any]] | None:
        bad = [index for index, event in enumerate(events) if event["data"]["row"]["last_name"] in ("x2", "x5")]
        errors = [{"event": events[index]["id"], "index": index, "field": "data.row", "message": "is bad"} for index in bad]
        return (400, {"errors": errors}) if bad else None

    door.refuse = refuse
    sender.patients(6)
    sender.aim()
    eventually(lambda: len(door.delivered) == 4)
    parked = [row for (row,) in sender.db.execute("SELECT reason FROM outbox_parked ORDER BY seq")]
    assert parked == ["data.row: is bad", "data.row: is bad"]
    eventually(lambda: sender.count("outbox_pending") == 0)


def test_a_400_that_names_nothing_is_narrowed_down(sender: Sender, door: Door) -> None:
    door.refuse = lambda events: (400, {}) if any(event["data"]["row"]["last_name"] == "x3" for event in events) else None
    sender.patients(7)
    sender.aim()
    eventually(lambda: len(door.delivered) == 6)
    eventually(lambda: sender.count("outbox_parked") == 1 and sender.count("outbox_pending") == 0)


def test_a_413_splits_the_batch_and_parks_what_is_too_large_alone(sender: Sender, door: Door) -> None:
    door.refuse = lambda events: (413, {}) if len(json.dumps(events)) > 20_000 else None
    sender.db.execute("INSERT INTO patients (last_name, care_notes) VALUES ('huge', repeat('x', 30000))")
    sender.patients(40)
    sender.aim()
    eventually(lambda: len(door.delivered) == 40)
    (reason,) = eventually(lambda: sender.db.execute("SELECT reason FROM outbox_parked").fetchone())
    assert reason == "too large for the receiver"


def test_a_refused_token_is_asked_for_anew(sender: Sender, door: Door) -> None:
    sender.aim()
    sender.patients()
    eventually(lambda: door.delivered)
    answers = [(401, {})]
    door.refuse = lambda events: answers.pop() if answers else None
    sender.patients()
    eventually(lambda: len(door.delivered) == 2)
    assert door.tokens == 2


def test_a_paused_dispatcher_holds_events_back(sender: Sender, door: Door) -> None:
    sender.aim()
    sender.patients()
    eventually(lambda: door.delivered)
    sender.aim(paused=True)
    sender.patients(2)
    sender.db.execute("NOTIFY omsync_outbox")
    assert sender.count("outbox_pending") >= 2
    assert len(door.delivered) == 1
    sender.aim()
    eventually(lambda: len(door.delivered) == 3)


def test_two_dispatchers_deliver_nothing_twice(sender: Sender, door: Door, empty_database: str) -> None:
    second = Dispatcher(empty_database, sender.delivery)
    thread = threading.Thread(target=second.run)
    thread.start()
    sender.aim()
    for _ in range(20):
        sender.patients(5)
    eventually(lambda: len(door.delivered) >= 100)
    eventually(lambda: sender.count("outbox_pending") == 0)
    second.stop()
    thread.join()
    assert len(door.delivered) == 100


def test_pauses_grow_with_jitter_up_to_a_limit() -> None:
    assert all(backoff(failures) <= LONGEST_PAUSE for failures in range(1, 2000, 50))
    assert backoff(1) < 0.3
    assert backoff(30) >= LONGEST_PAUSE / 2
    assert len({backoff(5) for _ in range(20)}) > 1
