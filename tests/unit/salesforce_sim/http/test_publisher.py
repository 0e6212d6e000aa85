"""The platform event's subscriber: what a person changes reaches the API, as the Apex would bring it there."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from local.salesforce.publisher import NamedCredential, RelayLane
from local.salesforce.testing import TestOrg as Org

SECONDS = 10.0


@dataclass
class Door:
    """Our API and its token endpoint, as far as the org sees them."""

    url: str = ""
    answers: list[tuple[int, object]] = field(default_factory=list)  # for the next calls; then 202
    calls: list[tuple[float, dict[str, Any], str]] = field(default_factory=list)
    tokens: list[dict[str, str]] = field(default_factory=list)

    def hints(self) -> list[dict[str, Any]]:
        return [hint for _, body, _ in self.calls for hint in body["events"]]

    def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not done():
            assert time.monotonic() < deadline, f"not within {SECONDS} s: {self.calls}"
            time.sleep(0.005)


@pytest.fixture
def door() -> Iterator[Door]:
    found = Door()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/oauth2/token":
                basic = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                found.tokens.append({"basic": basic, **{name: values[0] for name, values in parse_qs(body.decode()).items()}})
                self._answer(200, {"access_token": f"token-{len(found.tokens)}", "expires_in": 3600})
                return
            found.calls.append((time.monotonic(), json.loads(body), self.headers["Authorization"]))
            self._answer(*(found.answers.pop(0) if found.answers else (202, {"accepted": []})))

        def _answer(self, status: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield found
    server.shutdown()
    server.server_close()


def configure(org: Org, door: Door, **more: object) -> None:
    credential = {
        "url": door.url,
        "token_url": f"{door.url}/oauth2/token",
        "client_id": "sf",
        "client_secret": "hush",
        "delays": [0.02] * 4,
    }
    answer = org.admin("PUT", "named-credential", credential | more)
    assert answer.status == 200, answer.text
    publisher = org.server.state.publisher
    assert publisher is not None
    publisher.start()


def patient(org: Org) -> str:
    """A patient that the integration user wrote: nothing is announced."""
    kind = org.server.state.org.objects["Account"].record_types["Patient"].id
    fields = {"RecordTypeId": kind, "LastName": "Doe", "FirstName": "Jane", "OMS_Id__c": "u-1"}
    answer = org.post("sobjects/Account", fields, token=org.login_as("integration"))
    assert answer.status == 201, answer.text
    return str(answer.json()["id"])


def edit(org: Org, record_id: str, email: str = "jane@example.com") -> float:
    """A coordinator's edit; when it was answered."""
    answer = org.patch(f"sobjects/Account/{record_id}", {"PersonEmail": email}, token=org.login_as("coordinator"))
    assert answer.status == 204, answer.text
    return time.monotonic()


def test_a_persons_edit_is_announced_at_once_with_the_credentials_token(org: Org, door: Door) -> None:
    configure(org, door)
    record_id = patient(org)
    edited = edit(org, record_id)
    door.wait(lambda: bool(door.calls))
    arrived, body, authorization = door.calls[0]
    hint = body["events"][0]
    assert (hint["object"], hint["id"], hint["change"], hint["record_type"]) == ("Account", record_id, "UPDATE", "Patient")
    assert set(hint) == {"object", "id", "change", "record_type", "save", "master_id", "at"}
    assert isinstance(hint["save"], int)
    assert hint["at"].endswith("Z")
    assert authorization == "Bearer token-1"
    assert door.tokens == [{"basic": "sf:hush", "grant_type": "client_credentials", "scope": "salesforce/write"}]
    assert arrived - edited < 1.0  # on a quiet machine a few milliseconds


def test_the_token_is_kept_until_it_is_refused(org: Org, door: Door) -> None:
    configure(org, door)
    record_id = patient(org)
    for number in range(3):
        edit(org, record_id, f"{number}@example.com")
        door.wait(lambda number=number: len(door.calls) > number)  # type: ignore[misc]
    assert len(door.tokens) == 1
    door.answers = [(401, {})]
    edit(org, record_id, "again@example.com")
    door.wait(lambda: len(door.calls) == 5)
    assert [authorization for _, _, authorization in door.calls][-1] == "Bearer token-2"


def test_the_integration_users_writes_are_not_announced(org: Org, door: Door) -> None:
    configure(org, door)
    record_id = patient(org)
    edit(org, record_id)
    door.wait(lambda: bool(door.calls))
    assert len(door.hints()) == 1


def test_what_fails_for_now_is_tried_again_and_given_up_after_five_times(org: Org, door: Door) -> None:
    configure(org, door)
    record_id = patient(org)
    door.answers = [(503, {}), (500, {})]
    edit(org, record_id)
    door.wait(lambda: len(door.calls) == 3)
    door.answers = [(503, {})] * 5
    edit(org, record_id, "lost@example.com")
    door.wait(lambda: org.admin("GET", "events").json()["given_up"] == 1)
    assert len(door.calls) == 8
    edit(org, record_id, "next@example.com")
    door.wait(lambda: len(door.calls) == 9)


def test_what_the_door_names_as_bad_is_left_out(org: Org, door: Door) -> None:
    credential = {"url": door.url, "delays": [0.02] * 4}
    first, second = patient(org), org.create("Account", Name="x")
    publisher = org.server.state.publisher
    assert publisher is not None
    with org.server.state.store.write() as tx:
        for record_id in (first, second):
            tx.publish("Record_Changed__e", {"Object__c": "Account", "Record_Id__c": record_id, "Change__c": "UPDATE"})
    door.answers = [(400, {"errors": [{"index": 0, "field": "id", "message": "bad"}]})]
    assert org.admin("PUT", "named-credential", credential).status == 200
    publisher.start()
    door.wait(lambda: len(door.calls) == 2)
    assert [hint["id"] for hint in door.calls[1][1]["events"]] == [second]


def test_events_wait_for_a_credential_and_survive_a_restart(org: Org, door: Door) -> None:
    record_id = patient(org)
    edit(org, record_id)
    assert org.admin("GET", "events").json()["problem"] == "url missing"
    configure(org, door)
    door.wait(lambda: len(door.calls) == 1)
    door.wait(lambda: org.server.state.store.state("publisher.delivered") is not None)
    assert int(org.server.state.store.state("publisher.delivered") or 0) >= 1


def test_platform_events_may_be_lost_late_or_doubled(org: Org, door: Door) -> None:
    configure(org, door)
    record_id = patient(org)
    org.admin("POST", "faults", {"kind": "event-lost", "times": 1})
    edit(org, record_id, "lost@example.com")
    door.wait(lambda: org.admin("GET", "events").json()["lost"] == 1)
    org.admin("POST", "faults", {"kind": "event-twice", "times": 1})
    edit(org, record_id, "twice@example.com")
    door.wait(lambda: len(door.hints()) == 2)
    assert door.hints()[0] == door.hints()[1]
    org.admin("POST", "faults", {"kind": "event-late", "times": 1, "delay": 0.3})
    late = edit(org, record_id, "late@example.com")
    door.wait(lambda: len(door.hints()) == 3)
    assert door.calls[-1][0] - late >= 0.25


class Bus:
    """An EventBridge client that takes partner events, but for what `refuse` names."""

    def __init__(self) -> None:
        self.entries: list[dict[str, str]] = []
        self.refuse: set[str] = set()

    def put_partner_events(self, *, Entries: list[dict[str, str]]) -> dict[str, object]:  # noqa: N803 - AWS's name
        outcome: list[dict[str, str]] = []
        for entry in Entries:
            refused = json.loads(entry["Detail"])["payload"]["Record_Id__c"] in self.refuse
            outcome.append({"ErrorCode": "Throttled"} if refused else {"EventId": "1"})
            if not refused:
                self.entries.append(entry)
        return {"Entries": outcome}

    def close(self) -> None:
        """Nothing is open."""


def test_the_relay_sends_the_events_own_fields_and_repeats_what_the_bus_refused() -> None:
    bus = Bus()
    bus.refuse = {"b"}
    source = "aws.partner/salesforce.com/00D/OMSync_Changes__chn"
    lane = RelayLane(NamedCredential(mode="relay", aws_endpoint="http://localhost:1", bus=source), bus)  # type: ignore[arg-type]
    keys = ("object", "id", "change", "record_type", "save", "master_id", "at")
    hints = [dict.fromkeys(keys) | {"object": "Account", "id": name, "uuid": f"u-{name}", "replay": 1} for name in "abc"]
    assert [hint["id"] for hint in lane.send(hints)] == ["b"]
    assert {entry["Source"] for entry in bus.entries} == {source}
    detail = json.loads(bus.entries[0]["Detail"])
    assert (detail["id"], detail["payload"]["Object__c"], detail["payload"]["Record_Id__c"]) == ("u-a", "Account", "a")


@pytest.mark.parametrize(
    ("credential", "words"),
    [
        ({"mode": "pigeon"}, "mode is 'pigeon': use api or relay"),
        ({"mode": "relay"}, "aws_endpoint, bus missing"),
        ({"url": "x", "token_url": "y"}, "client_id and client_secret missing"),
        ({"urls": "x"}, "unknown: urls; known are mode, url"),
        ({"url": 1}, "url must be text"),
    ],
)
def test_a_credential_that_cannot_work_is_refused(org: Org, credential: dict[str, object], words: str) -> None:
    answer = org.admin("PUT", "named-credential", credential)
    assert (answer.status, words in answer.json()["error"]) == (400, True)
