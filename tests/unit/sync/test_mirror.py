"""The blind writer against an org in memory that keeps Salesforce's rules: version guard, lookups, create-only fields."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from omsync.mapping import load_mappings
from omsync.mapping.compiled import Compiled, compile_mapping
from omsync.mapping.outward import Record as Mapped
from omsync.platform.errors import OmsyncError, Permanent, Retryable, Stale
from omsync.salesforce.collections import calls
from omsync.sync.messages import MirrorMessage
from omsync.sync.mirror import MirrorWriter
from omsync.sync.ports import Batch, CreateOnly, DuplicateRecord, MissingParent
from omsync.sync.ports import Written as Outcome

MAPPINGS = load_mappings()
COMMON = {"created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z", "deleted_at": None, "change_xid": "1"}


LEAST: dict[str, Any] = {
    "boolean": False, "text[]": [], "jsonb": {}, "timestamptz": "2026-01-01T00:00:00.000000Z", "date": "2026-01-01",
    "numeric": "1.0", "integer": 1, "bigint": 1,
}  # fmt: skip


@cache
def compiled(table: str) -> Compiled:
    return compile_mapping(MAPPINGS[table])


def uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def row(table: str, number: int, version: int = 1, **values: Any) -> dict[str, Any]:
    """A row with every column: null, or the least that the column takes."""
    least: dict[str, Any] = {}
    for name, column in MAPPINGS[table].columns.items():
        if column.choices and not column.nullable:
            least[name] = column.choices[0]
        elif column.nullable:
            least[name] = None
        else:
            least[name] = "USD" if name == "currency" else LEAST.get(column.type.partition("(")[0], "x")
    return {**least, **COMMON, "id": uid(number), "version": version, "changed_by": "web", **values}


def render(record: Mapped, *, creating: bool) -> dict[str, Any]:
    fields = {name: value for name, value in record.fields.items() if creating or not record.target.fields[name].create_only}
    for name, value in record.references.items():
        one = record.target.fields[name]
        if one.references is not None and (creating or not one.create_only):
            fields[name] = (one.references.object, value)
    return {**fields, record.target.external_id: record.external_id}


@dataclass
class Org:
    """Salesforce in memory."""

    records: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    refuse: dict[str, list[OmsyncError]] = field(default_factory=dict)
    calls: int = 0
    sent: list[tuple[str, int]] = field(default_factory=list)
    queries: int = 0

    def write(self, batches: Sequence[Batch]) -> Iterator[list[list[Outcome]]]:
        for group in calls(batches):
            self.calls += 1
            self.sent += [(batch.sobject, len(batch.records)) for batch in group]
            yield [[self._upsert(batch.sobject, record) for record in batch.records] for batch in group]

    def _upsert(self, sobject: str, record: Mapping[str, Any]) -> Outcome:
        oms_id = record["OMS_Id__c"]
        if self.refuse.get(oms_id):
            return Outcome(None, created=False, error=self.refuse[oms_id].pop(0))
        try:
            return self._apply(sobject, oms_id, record)
        except OmsyncError as fault:
            return Outcome(None, created=False, error=fault)

    def _apply(self, sobject: str, oms_id: str, record: Mapping[str, Any]) -> Outcome:
        table = self.records.setdefault(sobject, {})
        for value in record.values():
            if isinstance(value, tuple) and value[1] is not None and value[1] not in self.records.get(value[0], {}):
                raise MissingParent("not there", field="OMS_Id__c", external_id=value[1])
        known = table.get(oms_id)
        limited = {"OrderItem": "OrderId", "PricebookEntry": "Product2Id"}.get(sobject)
        if limited and (limited in record) != (known is None):
            raise CreateOnly("create-only", code="INVALID_FIELD_FOR_INSERT_UPDATE")
        if known is not None and record["OMS_Version__c"] < known["OMS_Version__c"]:
            raise Stale("older")
        table[oms_id] = {**(known or {}), **record}
        return Outcome(f"id-{oms_id}", created=known is None)

    def existing(self, sobject: str, ids: Sequence[str]) -> set[str]:
        self.queries += 1
        return set(self.records.get(sobject, {})) & set(ids)

    def versions(self, sobject: str, ids: Sequence[str]) -> dict[str, int]:
        self.queries += 1
        return {oms_id: self.records[sobject][oms_id]["OMS_Version__c"] for oms_id in ids if oms_id in self.records.get(sobject, {})}

    attached: list[str] = field(default_factory=list)

    def attach(self, record_id: str, record: Mapped) -> None:
        self.attached += [file.name for file in record.files]


@dataclass
class Oms:
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def batch_get(self, table: str, ids: Sequence[str]) -> dict[str, Any]:
        return {row_id: self.rows[table, row_id] for row_id in ids if (table, row_id) in self.rows}


@dataclass
class Queue:
    sent: list[Any] = field(default_factory=list)

    def send(self, messages: Sequence[BaseModel]) -> None:
        self.sent += messages


@dataclass
class House:
    org: Org = field(default_factory=Org)
    oms: Oms = field(default_factory=Oms)
    sync: Queue = field(default_factory=Queue)
    calls_left: int = 1000
    known: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    writer: MirrorWriter | None = None

    def put(self, table: str, values: dict[str, Any]) -> dict[str, Any]:
        self.oms.rows[table, values["id"]] = values
        return values

    def there(self, sobject: str, *numbers: int, version: int = 1) -> None:
        for number in numbers:
            self.org.records.setdefault(sobject, {})[uid(number)] = {"OMS_Version__c": version}

    def write(self, *messages: MirrorMessage) -> list[str]:
        def up() -> bool:
            self.calls_left -= 1
            return self.calls_left < 0

        self.writer = self.writer or MirrorWriter(MAPPINGS, compiled, render, self.org, self.oms, self.sync, standing=self.standing)
        self.writer.time_is_up = up
        return [name(result) for result in self.writer.write(messages)]

    def standing(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The ledger's word."""
        self.asked += keys
        return {key: self.known[key] for key in keys if key in self.known}


def name(result: Any) -> str:
    if not result.reached:
        return "not reached"
    return type(result.fault).__name__ if result.fault else str(result.kind)


def message(table: str, values: dict[str, Any], *, bare: bool = False) -> MirrorMessage:
    return MirrorMessage(
        correlation_id="c", origin="oms", table=table, id=values["id"], version=values["version"], row=None if bare else values
    )


def again(table: str, values: dict[str, Any], attempt: int) -> MirrorMessage:
    return message(table, values).model_copy(update={"attempt": attempt})


def condition(number: int, version: int = 1, patient: int = 900) -> dict[str, Any]:
    return row("patient_conditions", number, version, patient_id=uid(patient), description="a")


def test_a_thousand_records_are_one_call() -> None:
    house = House()
    house.there("Account", 900)
    outcomes = house.write(*[message("patient_conditions", condition(number)) for number in range(1000)])
    assert set(outcomes) == {"applied"}
    assert house.org.calls == 1
    assert [size for _, size in house.org.sent] == [200] * 5


def test_of_several_versions_in_a_batch_the_newest_speaks_for_all() -> None:
    house = House()
    house.there("Account", 900)
    assert house.write(*[message("patient_conditions", condition(1, version)) for version in (2, 4, 3)]) == ["applied"] * 3
    assert house.org.records["Health_Condition__c"][uid(1)]["OMS_Version__c"] == 4
    assert house.org.sent == [("Health_Condition__c", 1)]


def test_an_older_version_is_superseded_and_that_is_a_success() -> None:
    house = House()
    house.there("Account", 900)
    house.there("Health_Condition__c", 1, version=5)
    house.put("patient_conditions", condition(1, 5))
    assert house.write(message("patient_conditions", condition(1, 3))) == ["superseded"]


def test_a_stored_version_that_the_oms_never_had_is_an_error() -> None:
    house = House()
    house.there("Account", 900)
    house.there("Health_Condition__c", 1, version=50)
    house.put("patient_conditions", condition(1, 5))
    assert house.write(message("patient_conditions", condition(1, 5))) == ["Permanent"]


def test_parents_go_before_children_in_one_batch() -> None:
    house = House()
    house.there("Account", 900)
    consultation = row("intake_responses", 2, patient_id=uid(900))
    rows = [("refunds", row("refunds", 3, payment_id=uid(4))), ("payments", row("payments", 4, patient_id=uid(900)))]
    outcomes = house.write(*[message(*one) for one in rows], message("intake_responses", consultation))
    assert outcomes == ["applied"] * 3
    assert [sobject for sobject, _ in house.org.sent] == ["Intake_Response__c", "Payment__c", "Refund__c"]


def test_a_parent_of_the_same_table_goes_before_in_a_request_of_its_own() -> None:
    house = House()
    house.there("Account", 900)
    house.there("Order", 7)
    elder, child = (row("shipments", number, order_id=uid(7), patient_id=uid(900)) for number in (2, 1))
    child["return_of_id"] = elder["id"]
    assert house.write(message("shipments", child), message("shipments", elder)) == ["applied"] * 2
    assert (house.org.calls, house.org.sent) == (1, [("Shipment__c", 1), ("Shipment__c", 1)])


def test_a_missing_mirrored_parent_is_fetched_and_written_first() -> None:
    house = House()
    house.there("Account", 900)
    house.put("payments", row("payments", 4, patient_id=uid(900)))
    assert house.write(message("refunds", row("refunds", 3, payment_id=uid(4)))) == ["applied"]
    assert set(house.org.records["Payment__c"]) == {uid(4)}


def test_a_missing_shared_parent_is_the_synchroniser_s_and_the_child_comes_again() -> None:
    house = House()
    house.put("patients", row("patients", 900, status="active", shipping_address=None, billing_address=None, edited_at={}))
    assert house.write(message("patient_conditions", condition(1))) == ["MissingParent"]
    assert house.sync.sent == []  # its own event is on its way, as a rule
    assert house.write(again("patient_conditions", condition(1), 1)) == ["MissingParent"]
    assert house.sync.sent == []
    assert house.write(again("patient_conditions", condition(1), 2)) == ["MissingParent"]
    assert [(look.table, look.id) for look in house.sync.sent] == [("patients", uid(900))]


def test_children_of_a_parent_that_the_ledger_does_not_know_wait_without_a_call() -> None:
    """Once a parent was missing, and of what was tried before. Others of the batch go their way."""
    house = House()
    house.put("patients", row("patients", 900, status="active", shipping_address=None, billing_address=None, edited_at={}))
    assert house.write(message("patient_conditions", condition(1))) == ["MissingParent"]
    assert house.asked == [("patients", uid(900))]  # only after Salesforce had missed it
    calls_before = house.org.calls
    assert house.write(message("patient_conditions", condition(2))) == ["MissingParent"]
    assert house.org.calls == calls_before
    house.there("Account", 900, 901)
    house.known = {("patients", uid(900)): uid(900), ("patients", uid(901)): uid(901)}
    known, unknown = condition(3, patient=901), condition(4, patient=902)
    outcomes = house.write(
        again("patient_conditions", condition(1), 1), message("patient_conditions", known), again("patient_conditions", unknown, 1)
    )
    assert outcomes == ["applied", "applied", "MissingParent"]
    house.asked.clear()
    assert house.write(again("patient_conditions", unknown, 3)) == ["MissingParent"]
    house.known[("patients", uid(902))] = uid(902)
    house.there("Account", 902)
    assert house.write(again("patient_conditions", unknown, 4)) == ["applied"]
    house.asked.clear()
    assert house.write(message("patient_conditions", condition(5))) == ["applied"]
    assert house.asked == []  # nothing is missing any more


def test_children_of_many_missing_parents_come_back_when_most_may_be_there() -> None:
    house = House()
    for number in range(300):
        house.put("patients", row("patients", number, status="active", shipping_address=None, billing_address=None, edited_at={}))
    house.write(message("patient_conditions", condition(1, patient=1)))
    assert house.writer is not None
    [few] = house.writer.write([message("patient_conditions", condition(1, patient=1))])
    assert few.fault is not None
    assert few.fault.after == 0.1  # type: ignore[attr-defined]
    many = house.writer.write([message("patient_conditions", condition(number, patient=number)) for number in range(300)])
    assert {result.fault.after for result in many} == {30.0}  # type: ignore[union-attr]


def test_a_grandchild_waits_with_its_parent_or_comes_with_it() -> None:
    house = House()
    house.put("orders", row("orders", 7, status="paid", edited_at={}))
    house.put("shipments", row("shipments", 8, order_id=uid(7), patient_id=uid(900)))
    house.there("Account", 900)
    house.known = {("patients", uid(900)): uid(900)}
    event = row("shipment_events", 9, shipment_id=uid(8))
    assert house.write(again("shipment_events", event, 1)) == ["MissingParent"]
    assert house.org.calls == 0
    house.there("Order", 7)
    house.known[("orders", uid(7))] = uid(7)
    assert house.write(again("shipment_events", event, 2)) == ["applied"]
    assert (house.org.calls, [sobject for sobject, _ in house.org.sent]) == (1, ["Shipment__c", "Shipment_Event__c"])


def test_a_child_of_a_patient_who_was_merged_away_in_salesforce_goes_to_the_winner() -> None:
    house = House(known={("patients", uid(900)): uid(901)})
    house.there("Account", 901)
    house.put("patients", row("patients", 900, status="active", shipping_address=None, billing_address=None, edited_at={}))
    assert house.write(message("patient_conditions", condition(1))) == ["applied"]
    assert house.org.records["Health_Condition__c"][uid(1)]["Patient__c"] == ("Account", uid(901))
    assert house.sync.sent == []


def test_a_child_of_what_is_not_sent_by_rule_is_not_sent_either() -> None:
    house = House()
    house.put("patients", row("patients", 900, status="merged", shipping_address=None, billing_address=None, edited_at={}))
    assert house.write(message("patient_conditions", condition(1))) == ["skipped"]
    assert house.sync.sent == []


def test_a_child_that_waited_for_what_is_not_sent_by_rule_is_done() -> None:
    house = House()
    house.put("patients", row("patients", 900, status="merged", shipping_address=None, billing_address=None, edited_at={}))
    assert house.write(again("patient_conditions", condition(1), 2)) == ["skipped"]


def test_a_child_whose_parent_the_oms_does_not_have_is_an_error() -> None:
    assert House().write(message("patient_conditions", condition(1))) == ["Permanent"]


def test_create_only_fields_are_left_out_of_updates() -> None:
    house = House()
    house.there("Order", 7)
    house.there("PricebookEntry", 5)
    item = {"order_id": uid(7), "product_id": uid(5)}
    assert house.write(message("order_items", row("order_items", 8, **item))) == ["applied"]
    assert house.write(message("order_items", row("order_items", 8, 2, **item))) == ["applied"]
    assert house.org.queries == 0


def test_where_the_guess_about_creates_is_wrong_salesforce_s_answer_tells() -> None:
    house = House()
    house.there("Order", 7)
    house.there("PricebookEntry", 5)
    item = {"order_id": uid(7), "product_id": uid(5)}
    house.there("OrderItem", 1)
    outcomes = house.write(
        *[message("order_items", row("order_items", number, version, **item)) for number, version in ((1, 1), (2, 9), (3, 1), (4, 2))]
    )
    assert outcomes == ["applied"] * 4
    assert house.org.queries == 0


def test_a_product_is_two_records_and_its_price_follows_it() -> None:
    house = House()
    assert house.write(message("products", row("products", 5, name="A"))) == ["applied"]
    assert [sobject for sobject, _ in house.org.sent] == ["Product2", "PricebookEntry"]


def test_one_bad_record_never_stops_its_neighbours() -> None:
    house = House()
    house.there("Account", 900)
    house.org.refuse[uid(2)] = [Permanent("too long", code="STRING_TOO_LONG")]
    outcomes = house.write(*[message("patient_conditions", condition(number)) for number in (1, 2, 3)])
    assert outcomes == ["applied", "Permanent", "applied"]


def test_a_row_that_cannot_be_carried_is_an_error_before_anything_is_sent() -> None:
    house = House()
    assert house.write(message("patient_conditions", row("patient_conditions", 1, patient_id=uid(900), description="x" * 300))) == [
        "TransformError"
    ]
    assert house.org.calls == 0


def test_a_lost_race_is_repeated_as_an_update() -> None:
    house = House()
    house.there("Account", 900)
    house.org.refuse[uid(1)] = [DuplicateRecord("raced")]
    assert house.write(message("patient_conditions", condition(1))) == ["applied"]


def test_a_locked_row_comes_again() -> None:
    house = House()
    house.there("Account", 900)
    house.org.refuse[uid(1)] = [Retryable("locked", code="UNABLE_TO_LOCK_ROW")]
    assert house.write(message("patient_conditions", condition(1))) == ["Retryable"]


def test_a_message_without_its_row_is_written_from_a_fresh_read() -> None:
    house = House()
    house.there("Account", 900)
    house.put("patient_conditions", condition(1, 7))
    assert house.write(message("patient_conditions", condition(1, 7), bare=True)) == ["applied"]


def test_what_the_deadline_cuts_off_is_not_reached() -> None:
    house = House(calls_left=2)
    house.there("Account", 900)
    outcomes = house.write(*[message("patient_conditions", condition(number)) for number in range(1100)])
    assert (outcomes.count("applied"), outcomes.count("not reached")) == (1000, 100)


def test_text_beyond_its_field_goes_into_a_file_beside_the_record() -> None:
    house = House()
    house.there("Account", 900)
    answers = {"notes": "long " * 40_000}
    assert house.write(message("intake_responses", row("intake_responses", 1, patient_id=uid(900), answers=answers))) == ["applied"]
    assert house.org.attached == ["answers.json"]


def test_a_member_of_staff_without_a_user_leaves_the_lookup_empty() -> None:
    house = House()
    house.there("Payment__c", 4)
    house.put("staff_users", row("staff_users", 6))
    assert house.write(message("refunds", row("refunds", 3, payment_id=uid(4), requested_by_id=uid(6)))) == ["applied"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_any_order_any_batches_any_duplicates_end_with_the_newest_version(deliveries: list[tuple[int, int]], chance: random.Random) -> None:
    house = House()
    house.there("Account", 900)
    newest = {number: max(version for other, version in deliveries if other == number) for number, _ in deliveries}
    for number, version in newest.items():
        house.put("patient_conditions", condition(number, version))
    chance.shuffle(deliveries)
    for batch in cut(deliveries, chance):
        assert "Permanent" not in house.write(*[message("patient_conditions", condition(*delivery)) for delivery in batch])
    stored = {oms_id: record["OMS_Version__c"] for oms_id, record in house.org.records["Health_Condition__c"].items()}
    assert stored == {uid(number): version for number, version in newest.items()}


def cut(items: Sequence[tuple[int, int]], chance: random.Random) -> Iterable[Sequence[tuple[int, int]]]:
    edges = sorted({0, len(items), *(chance.randrange(len(items) + 1) for _ in range(4))})
    return [items[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize("table", [mapping.table for mapping in MAPPINGS if mapping.mode == "mirrored"])
def test_every_mirrored_table_has_a_way_to_salesforce(table: str) -> None:
    assert compiled(table).to_salesforce(row(table, 1))
