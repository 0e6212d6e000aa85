"""The comparison of both systems: what counts as different, what does not, and that no value is told."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from omsync.mapping import DEFAULT_OWNER_ID, compile_mapping, load_mappings
from omsync.reconciliation.compare import Comparison, Difference, comparable, compare, select
from tests.unit.mapping.samples import ADDRESS, sample

COMPILED = {mapping.table: compile_mapping(mapping) for mapping in load_mappings()}


def held(table: str, row: Mapping[str, Any], **other: object) -> dict[str, Any]:
    """What Salesforce answers for a row that it holds, as a query does: parents nested."""
    record = COMPILED[table].to_salesforce(row, existing=True)[0]
    found: dict[str, Any] = {"Id": "001xx0000000001AAA", **record.fields}
    for name, parent in record.references.items():
        reference = record.target.fields[name].references
        assert reference is not None
        found[reference.relationship] = {reference.external_id: parent} if parent else None
    return {**found, "OMS_Id__c": record.external_id, **other}


def compared(table: str, rows: list[dict[str, Any]], records: list[dict[str, Any]], **more: Any) -> Comparison:
    return compare(COMPILED[table], COMPILED[table].mapping.targets[0].object, rows, records, **more)


@pytest.mark.parametrize("table", ["patients", "orders", "payments", "clinical_notes", "products", "shipments"])
def test_both_sides_alike(table: str) -> None:
    row = sample(table)
    if table == "clinical_notes":
        row |= {"status": "signed"}
    found = compared(table, [row], [held(table, row)])
    assert found.differences == []
    assert found.records == 1
    assert found.values > 5


def test_case_and_white_space_are_no_difference() -> None:
    row = sample("patients", last_name="  Lovelace ", email="Ada@Example.com")
    assert compared("patients", [row], [held("patients", row, PersonEmail="ADA@example.com", LastName="Lovelace")]).differences == []


def test_a_value_that_differs_is_named_by_its_field_alone() -> None:
    row = sample("patients", last_name="Lovelace", shipping_address=ADDRESS)
    found = compared("patients", [row], [held("patients", row, LastName="Byron", PersonMailingCity="Paris")])
    assert found.differences == [Difference("different", f"patients/{row['id']}", "Account", ("LastName", "PersonMailingCity"))]
    assert "Byron" not in repr(found)


def test_a_field_that_the_record_does_not_bring_counts_as_null() -> None:
    row = sample("patients", last_name="Lovelace")
    record = held("patients", row)
    del record["LastName"]
    assert [one.fields for one in compared("patients", [row], [record]).differences] == [("LastName",)]


def test_missing_on_either_side_and_twice() -> None:
    ours, theirs = sample("payments"), sample("payments", id=str(uuid.uuid4()))
    other = held("payments", theirs)
    found = compared("payments", [ours], [other, {**other, "Id": "a00xx"}, {"Id": "a00unborn", "OMS_Id__c": None}])
    assert {(one.kind, one.record) for one in found.differences} == {
        ("missing_in_salesforce", f"payments/{ours['id']}"),
        ("missing_in_oms", f"payments/{theirs['id']}"),
        ("missing_in_oms", "payments/a00unborn"),
        ("duplicate", f"payments/{theirs['id']}"),
    }


def test_what_is_not_sent_by_rule_needs_no_record_but_is_compared_if_there_is_one() -> None:
    merged = sample("patients", status="merged", last_name="Old")
    alone = compared("patients", [merged], [])
    assert (alone.differences, alone.not_sent, alone.records) == ([], 1, 0)
    kept = compared("patients", [merged], [held("patients", merged, LastName="New")])
    assert [one.fields for one in kept.differences] == [("LastName",)]


def test_text_that_is_withheld_says_nothing() -> None:
    row = sample("clinical_notes", status="signed", is_sensitive=True, body="private")
    assert compared("clinical_notes", [row], [held("clinical_notes", row, Body__c="something")]).differences == []


def test_the_default_owner_stands_in_for_staff_without_a_user() -> None:
    staff = str(uuid.uuid4())
    row = sample("patients", care_owner_id=staff)
    record = held("patients", row) | {"Owner": {"OMS_Id__c": DEFAULT_OWNER_ID}}
    assert compared("patients", [row], [record], staff={DEFAULT_OWNER_ID}).differences == []
    assert compared("patients", [row], [record], staff={DEFAULT_OWNER_ID, staff}).differences != []


@pytest.mark.parametrize("table", [mapping.table for mapping in load_mappings() if mapping.mode in ("mirrored", "shared")])
def test_a_query_asks_for_every_compared_field(table: str) -> None:
    for target in COMPILED[table].mapping.targets:
        asked = select(COMPILED[table], target.object)
        assert len(asked) == len(set(asked))
        assert {COMPILED[table].fields(target.object)[name].path for name in comparable(COMPILED[table], target.object)} <= set(asked)
