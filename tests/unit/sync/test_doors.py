"""The doors: everything or nothing goes in, and every refusal says what, where and how to mend it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from omsync.oms import events
from omsync.oms.signature import sign
from omsync.platform.errors import Retryable
from omsync.platform.problems import Problem
from omsync.sync.doors import OmsDoor, SalesforceDoor

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
NOW = 1_790_000_000
ORDER = "00000000-0000-4000-8000-000000000001"
PATIENT = "00000000-0000-4000-8000-0000000000aa"


class Payment(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str
    version: int
    amount_cents: int


class Address(BaseModel):
    id: str
    version: int
    patient_id: str


MODELS: dict[str, type[BaseModel]] = {"payments": Payment, "patient_addresses": Address}


class Tables:
    def is_mirrored(self, table: str) -> bool:
        return table == "payments"

    def shared_owner(self, table: str, row: Mapping[str, object]) -> tuple[str, str] | None:
        return ("patients", str(row["patient_id"])) if table == "patient_addresses" else None

    def is_shared_object(self, sobject: str, record_type: str | None) -> bool:
        return (sobject, record_type) == ("Account", "Patient")


@dataclass
class Queue:
    sent: list[Any] = field(default_factory=list)
    down: bool = False

    def send(self, messages: Sequence[BaseModel]) -> None:
        if self.down:
            raise Retryable("SQS is away")
        self.sent += messages


@dataclass
class House:
    mirror: Queue = field(default_factory=Queue)
    sync: Queue = field(default_factory=Queue)
    lifecycle: Queue = field(default_factory=Queue)

    def door(self) -> OmsDoor:
        return OmsDoor(self.mirror, self.sync, self.lifecycle, Tables(), MODELS.__getitem__, lambda: [SECRET], lambda: float(NOW))

    def post(self, body: Any, *, media: str = events.BATCH, table: str | None = None) -> list[str]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        signed = {"webhook-id": "m", "webhook-timestamp": str(NOW), "webhook-signature": sign(SECRET, "m", NOW, raw), "Content-Type": media}
        return self.door().accept(signed, raw, table=table)


def event(number: int = 1, *, table: str = "payments", **row: Any) -> dict[str, Any]:
    values = {"id": ORDER, "version": 3, **({"amount_cents": 100} if table == "payments" else {"patient_id": PATIENT}), **row}
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/oms",
        "type": f"com.upscript.oms.{table}.updated",
        "time": "2026-11-22T10:00:00Z",
        "data": {"table": table, "id": ORDER, "version": 3, "changed_by": "web", "row": values, "old": {}},
    }


def test_a_mirrored_row_travels_whole_and_every_event_reaches_the_lifecycle_queue() -> None:
    house = House()
    assert house.post([event(1), event(2)]) == ["e1", "e2"]
    assert [message.row["amount_cents"] for message in house.mirror.sent] == [100, 100]
    assert [message.event_id for message in house.lifecycle.sent] == ["e1", "e2"]
    assert house.sync.sent == []


def test_an_address_asks_for_a_look_at_its_patient_once_a_batch() -> None:
    house = House()
    house.post([event(1, table="patient_addresses"), event(2, table="patient_addresses")])
    [look] = house.sync.sent
    assert (look.table, look.id) == ("patients", PATIENT)
    assert look.model_dump().get("row") is None


def test_one_event_alone_is_taken_too() -> None:
    assert House().post(event(), media=events.SINGLE) == ["e1"]


def test_a_bad_event_is_named_with_its_field_and_nothing_is_taken() -> None:
    house = House()
    with pytest.raises(Problem) as refused:
        house.post([event(1), event(2, amount_cents="many"), event(3, surprise=1)])
    named = [(complaint.event, complaint.index, complaint.field) for complaint in refused.value.errors]
    assert named == [("e2", 1, "data.row.amount_cents"), ("e3", 2, "data.row.surprise")]
    assert refused.value.status == 400
    assert "many" not in refused.value.body(), "a value in a refusal would put PHI into the sender's log"
    assert not house.mirror.sent
    assert not house.lifecycle.sent


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": "com.upscript.oms.orders.updated"}, "data.table"),
        ({"time": "2026-11-22T10:00:00"}, "time"),
        ({"specversion": "0.3"}, "specversion"),
        ({"id": ""}, "id"),
        ({"correlationid": "a b\n"}, "correlationid"),
    ],
)
def test_a_contradictory_envelope_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Problem) as refused:
        House().post([{**event(), **change}])
    assert field in [complaint.field for complaint in refused.value.errors]


def test_a_row_that_is_not_the_one_announced_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        House().post([event(version=2), event(2, id=PATIENT)])
    assert [complaint.field for complaint in refused.value.errors] == ["data.row.version", "data.row.id"]


def test_a_table_s_own_address_takes_that_table_alone() -> None:
    house = House()
    assert house.post([event()], table="payments") == ["e1"]
    with pytest.raises(Problem) as refused:
        house.post([event()], table="patient_addresses")
    assert refused.value.errors[0].field == "data.table"


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"{", events.BATCH, 400),
        (b"\xff", events.BATCH, 400),
        (b"[" * 100_000, events.BATCH, 400),
        (b"{}", events.BATCH, 400),
        (b"[]", events.BATCH, 400),
        (b"[1]", events.BATCH, 400),
        (b"{}", "application/json", 415),
        (b"[" + b"1," * events.MAX_EVENTS + b"1]", events.BATCH, 413),
        (b" " * (events.MAX_BYTES + 1), events.BATCH, 413),
    ],
)
def test_a_body_that_is_no_batch_gets_its_own_status(body: bytes, media: str, status: int) -> None:
    with pytest.raises(Problem) as refused:
        House().post(body, media=media)
    assert refused.value.status == status


def test_an_unknown_table_is_404() -> None:
    with pytest.raises(Problem) as refused:
        House().post([event()], table="drones")
    assert refused.value.status == 404


def test_an_unsigned_request_is_401_before_anything_is_parsed() -> None:
    with pytest.raises(Problem) as refused:
        House().door().accept({"content-type": events.BATCH}, b"[")
    assert refused.value.status == 401


def test_a_queue_that_is_away_makes_the_sender_repeat() -> None:
    with pytest.raises(Retryable):
        House(lifecycle=Queue(down=True)).post([event()])


@settings(max_examples=200)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_garbage_is_always_a_problem_and_never_a_crash(garbage: Any) -> None:
    with pytest.raises(Problem):
        House().post(json.dumps(garbage).encode())


def hint(**change: Any) -> dict[str, Any]:
    return {"object": "Account", "id": "001000000000001AAA", "change": "UPDATE", "record_type": "Patient", "save": 3, **change}


def test_a_hint_names_the_record_and_nothing_else() -> None:
    queue = Queue()
    assert SalesforceDoor(queue, Tables()).accept(json.dumps({"events": [hint()]}).encode(), correlation_id="r1") == 1
    [look] = queue.sent
    assert (look.sobject, look.salesforce_id, look.change, look.origin) == ("Account", "001000000000001AAA", "UPDATE", "salesforce")


def test_a_record_that_no_mapping_names_is_left_alone() -> None:
    queue = Queue()
    SalesforceDoor(queue, Tables()).accept(json.dumps({"events": [hint(record_type="Partner")]}).encode(), correlation_id="r1")
    assert queue.sent == []


@pytest.mark.parametrize("change", [{"id": "../etc"}, {"change": "EXPLODE"}, {"object": "Account; DROP"}, {"save": -1}])
def test_a_bad_hint_is_refused_with_its_place(change: dict[str, Any]) -> None:
    queue = Queue()
    with pytest.raises(Problem) as refused:
        SalesforceDoor(queue, Tables()).accept(json.dumps({"events": [hint(), hint(**change)]}).encode(), correlation_id="r1")
    assert [complaint.field for complaint in refused.value.errors] == [f"events.1.{next(iter(change))}"]
    assert queue.sent == []
