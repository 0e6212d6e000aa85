"""The real mappings as the synchroniser uses them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

import pytest

from omsync.mapping import Column, Json, TableMapping, TransformError, load_mappings
from omsync.mapping.model import DEFAULT_OWNER_ID
from omsync.sync.records import Command, OmsRow, Parent, RecordKey, SalesforceRecord, Stamp
from omsync.sync.rules import MappedRegistry, MappedRules, Org, shared_tables

MAPPINGS = load_mappings()
TABLES = [mapping.table for mapping in shared_tables(MAPPINGS)]


class Ids(dict[str, str]):
    """Any id that an org has."""

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> str:
        return f"id of {name}"


def rules_of(table: str, **org: object) -> MappedRules:
    found = MappedRegistry(MAPPINGS, Org(**{"ids": Ids(), "certified_run": 4, **org})).shared(table)  # type: ignore[arg-type]
    assert isinstance(found, MappedRules)
    return found


ADDRESS: dict[str, Json] = {
    "id": str(uuid.UUID(int=77)),
    "recipient_name": "R",
    "line1": "1 Elm St",
    "line2": None,
    "city": "Reno",
    "state_code": "NV",
    "postal_code": "89501",
    "country_code": "US",
    "validation_status": "valid",
}


def value(column: Column) -> Json:
    """Some value of the column's type."""
    if column.only:
        return column.only[0]
    if column.choices:
        return column.choices[0]
    if column.references:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, column.name))
    kind = column.type.partition("(")[0]
    return {
        "uuid": str(uuid.UUID(int=5)),
        "boolean": True,
        "integer": 30,
        "bigint": 1200,
        "numeric": "50.5",
        "date": "2026-03-01",
        "timestamptz": "2026-03-01T12:00:00.123000Z",
        "text[]": ["a"],
        "jsonb": {"source": "ad"},
        "char": ("a" * (column.length or 1)),
    }.get(kind, {"email": "a@example.com", "phone_e164": "+15550100000", "from_address": "a@example.com"}.get(column.name, column.name))


def row_of(mapping: TableMapping, **values: Json) -> OmsRow:
    row: dict[str, Json] = {name: value(column) for name, column in mapping.columns.items()}
    row |= {name: dict(ADDRESS) for name in mapping.embedded}
    row |= {"id": str(uuid.UUID(int=9, version=4)), "version": 3, "deleted_at": None, "changed_by": "person"}
    if mapping.table == "clinical_notes":
        row["is_sensitive"] = False
    if mapping.table == "orders":
        row |= {"ship_state": "NV", "ship_country": "US", "ship_postal_code": "89501", "status": "approved"}
    row |= values
    edited = {column: 1000 + number for number, column in enumerate([*mapping.shared_columns, *mapping.embedded])}
    return OmsRow(key=RecordKey(mapping.table, str(row["id"])), version=3, values=row, edited_at=edited)


def record_of(rules: MappedRules, row: OmsRow) -> SalesforceRecord:
    """What Salesforce holds after the row was inserted there."""
    sobject = rules.object_for(row)
    fields, parents = dict(rules.fields(row, sobject, None)), {}
    target = MAPPINGS[rules.table].target(sobject)
    for name, field in target.fields.items():
        if field.references is not None and not field.references.many:
            named = fields.pop(field.references.relationship, None)
            if isinstance(named, Mapping):
                parents[name] = Parent(field.references.object, "001X", str(named[field.references.external_id]))
    return SalesforceRecord(
        object=sobject,
        id="001A",
        oms_id=row.key.id,
        fields=fields,
        parents=parents,
        record_type=target.record_type(row.values) if target.record_types else None,
        version=3,
        save=1,
    )


@pytest.mark.parametrize("table", TABLES)
def test_a_record_that_was_written_from_a_row_says_the_same_as_the_row(table: str) -> None:
    rules = rules_of(table)
    row = row_of(MAPPINGS[table])
    record = record_of(rules, row)
    assert rules.record_values(record) == rules.row_values(row, record.object)


@pytest.mark.parametrize("table", [table for table in TABLES if MAPPINGS[table].has_sync_fields])
def test_each_unit_that_salesforce_may_edit_flows_back_as_the_columns_it_came_from(table: str) -> None:
    rules = rules_of(table)
    row = row_of(MAPPINGS[table])
    record = record_of(rules, row)
    for unit in rules.birth_units(record):
        columns = rules.columns(record, frozenset({unit}))
        assert columns, unit
        for column, back in columns.items():
            expected = row.values[column]
            if isinstance(expected, dict) and isinstance(back, dict):
                expected = {name: expected[name] for name in back}
            assert back == expected, column
            assert rules.unit_of(column) == unit


@pytest.mark.parametrize("table", TABLES)
def test_updates_of_a_unit_name_its_fields_alone(table: str) -> None:
    rules = rules_of(table)
    row = row_of(MAPPINGS[table])
    sobject = rules.object_for(row)
    for unit in rules.units:
        assert "OMS_Id__c" not in rules.fields(row, sobject, frozenset({unit}))
        assert "attributes" not in rules.fields(row, sobject, frozenset({unit}))
    assert rules.fields(row, sobject, frozenset()) == {}


def test_a_patient_s_address_is_one_unit_with_one_edit_time() -> None:
    rules = rules_of("patients")
    row = row_of(MAPPINGS["patients"])
    record = record_of(rules, row)
    stamped = replace(record, stamps={"PersonMailingCity": Stamp(4, 9), "PersonMailingStreet": Stamp(3, 20)})
    assert rules.stamp(stamped, "shipping_address") == Stamp(4, 9)
    assert rules.stamp(stamped, "billing_address") is None
    moved = replace(record, fields={**record.fields, "PersonMailingCity": "Elko"})
    assert rules.columns(moved, frozenset({"shipping_address"}))["shipping_address"]["city"] == "Elko"  # type: ignore[index,call-overload]


def test_an_order_s_address_is_as_old_as_its_youngest_column() -> None:
    rules, row = rules_of("orders"), row_of(MAPPINGS["orders"])
    times = {"ship_name": 5, "ship_city": 900, "ship_line1": 7}
    assert rules.edited_at(replace(row, edited_at=times), "ship_address") == 900
    assert rules.edited_at(replace(row, edited_at={}), "ship_address") == 0
    assert rules.edited_at(replace(row, edited_at=None), "ship_address") is None


def test_commands_are_no_unit() -> None:
    rules = rules_of("orders")
    assert rules.command == Command("requested_action", "Requested_Action__c")
    assert "requested_action" not in rules.units
    assert rules_of("patients").command is None


@pytest.mark.parametrize(("status", "locked"), [("draft", set()), ("signed", {"note_type", "title", "body"})])
def test_a_signed_note_is_the_oms_s(status: str, locked: set[str]) -> None:
    rules, row = rules_of("clinical_notes"), row_of(MAPPINGS["clinical_notes"], status=status)
    assert rules.locked(row) == locked


def test_what_is_withheld_or_cut_never_flows_back() -> None:
    rules = rules_of("clinical_notes")
    assert "body" in rules.locked(row_of(MAPPINGS["clinical_notes"], status="draft", is_sensitive=True))
    assert "body" in rules.locked(row_of(MAPPINGS["clinical_notes"], status="draft", body="x" * 140_000))


def test_a_shipped_order_s_address_is_locked() -> None:
    rules = rules_of("orders")
    assert rules.locked(row_of(MAPPINGS["orders"], status="approved")) == frozenset()
    assert rules.locked(row_of(MAPPINGS["orders"], status="shipped")) == {"ship_address"}


def test_revocations_are_known_on_either_side() -> None:
    patients = rules_of("patients")
    assert patients.is_revoked("sms_opt_in", {"SMS_Opt_In__pc": False})
    assert not patients.is_revoked("sms_opt_in", {"SMS_Opt_In__pc": True})
    assert patients.is_revoked("marketing_opt_in", {"PersonHasOptedOutOfEmail": True})
    assert rules_of("patient_consents").is_revoked("revoked_at", {"Revoked_At__c": "2026-01-01T00:00:00.000Z"})
    assert not patients.is_revoked("first_name", {"FirstName": None})


class TestLookups:
    def test_name_their_parent_s_table(self) -> None:
        rules = rules_of("clinical_notes")
        assert rules.units["patient_id"].parent == "patients"
        assert rules.parent_of("Patient__c") == "patients"
        assert rules.parent_of("Title__c") is None
        assert rules.unit_of_field("Patient__c") == "patient_id"

    def test_can_be_pointed_to_the_winner_of_a_merge(self) -> None:
        rules, row = rules_of("clinical_notes"), row_of(MAPPINGS["clinical_notes"])
        winner = str(uuid.UUID(int=4))
        other = rules.with_reference("patient_id", row, winner)
        assert rules.reference("patient_id", other) == winner
        assert rules.row_values(other, "Clinical_Note__c")["patient_id"] == {"Patient__c": winner}
        assert rules.fields(other, "Clinical_Note__c", frozenset({"patient_id"})) == {"Patient__r": {"OMS_Id__c": winner}}

    def test_to_a_record_that_the_oms_does_not_know_cannot_flow(self) -> None:
        rules = rules_of("patients")
        record = record_of(rules, row_of(MAPPINGS["patients"]))
        record = replace(record, parents={**record.parents, "Preferred_Pharmacy__c": Parent("Account", "001Z", None)})
        assert rules.record_values(record)["preferred_pharmacy_id"] != {"Preferred_Pharmacy__c": None}
        with pytest.raises(TransformError, match="does not know"):
            rules.columns(record, frozenset({"preferred_pharmacy_id"}))

    def test_to_staff_without_a_user_are_the_default_owner_s(self) -> None:
        rules, row = rules_of("patients", staff=frozenset()), row_of(MAPPINGS["patients"])
        assert rules.row_values(row, "Account")["care_owner_id"] == {"OwnerId": DEFAULT_OWNER_ID}
        known = rules_of("patients", staff={str(row.values["care_owner_id"])})
        assert known.row_values(row, "Account")["care_owner_id"] == {"OwnerId": row.values["care_owner_id"]}

    def test_to_an_owner_who_is_no_staff_are_empty(self) -> None:
        rules = rules_of("patients")
        record = record_of(rules, row_of(MAPPINGS["patients"]))
        record = replace(record, parents={**record.parents, "OwnerId": Parent("User", "005X", None)})
        assert rules.record_values(record)["care_owner_id"] == {"OwnerId": None}


class TestBirth:
    def test_carries_what_the_record_says_and_leaves_numbers_to_the_oms(self) -> None:
        rules = rules_of("patients")
        fields: dict[str, Json] = {"FirstName": "Al", "LastName": "Day", "SMS_Opt_In__pc": False, "PersonHasOptedOutOfEmail": False}
        record = SalesforceRecord(object="Account", id="001A", oms_id=None, fields=fields, record_type="Patient", save=1)
        columns = rules.birth(record)
        assert columns["first_name"] == "Al"
        assert not {"id", "version", "patient_number", "deleted_at", "preferred_language"} & set(columns)
        assert {"first_name", "shipping_address"} <= rules.birth_units(record)

    def test_of_an_email_says_that_it_is_one(self) -> None:
        rules = rules_of("communications")
        fields: dict[str, Json] = {"Incoming": True, "Subject": "Hi", "MessageDate": "2026-03-01T12:00:00.000+0000"}
        columns = rules.birth(SalesforceRecord(object="EmailMessage", id="02sA", oms_id=None, fields=fields))
        assert (columns["channel"], columns["direction"], columns["subject"]) == ("email", "inbound", "Hi")


def test_communications_are_inserted_once_but_for_their_delivery() -> None:
    rules = rules_of("communications")
    assert not rules.guarded
    kept = {name for name, unit in rules.units.items() if not unit.insert_only}
    assert kept >= {"delivery_status", "deleted_at"}
    assert not kept & {"subject", "body_text", "patient_id", "sent_at"}
    assert rules.object_for(row_of(MAPPINGS["communications"], channel="sms")) == "Communication__c"


class TestCutOver:
    def test_support_cases_are_the_oms_s_until_run_4_is_certified(self) -> None:
        before, after = rules_of("support_cases", certified_run=3), rules_of("support_cases")
        assert {unit.owner for unit in before.units.values()} == {"oms"}
        assert (before.record_owner, before.born_in_salesforce) == ("oms", False)
        assert after.units["subject"].owner == "salesforce"
        assert (after.record_owner, after.born_in_salesforce) == ("salesforce", True)

    def test_other_tables_do_not_wait(self) -> None:
        assert rules_of("patients", certified_run=0).units["phone_e164"].owner == "both"


class TestRegistry:
    registry = MappedRegistry(MAPPINGS, Org(ids=Ids()))

    def test_knows_shared_tables_alone(self) -> None:
        assert self.registry.shared("patients") is not None
        assert self.registry.shared("products") is None
        assert self.registry.shared("nonsense") is None

    @pytest.mark.parametrize(
        ("sobject", "record_type", "table"),
        [
            ("Account", "Patient", "patients"),
            ("Account", "Pharmacy", None),
            ("Case", "Integration", None),
            ("Case", "Billing", "support_cases"),
            ("Lead", None, None),
        ],
    )
    def test_tells_a_record_s_table_by_object_and_record_type(self, sobject: str, record_type: str | None, table: str | None) -> None:
        found = self.registry.for_record(SalesforceRecord(object=sobject, id="1", oms_id=None, fields={}, record_type=record_type))
        assert (found.table if found is not None else None) == table


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    assert rules_of("patients").fingerprint == rules_of("patients").fingerprint
    assert rules_of("patients").fingerprint != rules_of("orders").fingerprint


def test_a_value_that_does_not_fit_is_its_unit_s_alone() -> None:
    mapping, rules = MAPPINGS["patients"], rules_of("patients")
    good = row_of(mapping)
    bad = row_of(mapping, preferred_name="x" * 5000, shipping_address={**ADDRESS, "city": "y" * 5000})
    assert rules.unfit(good) == {}
    unfit = rules.unfit(bad)
    assert all(isinstance(why, TransformError) for why in unfit.values())
    [name, address] = [rules.unit_of_field("Preferred_Name__pc"), rules.unit_of("shipping_address")]
    assert set(unfit) == {name, address}
    whole, rest = rules.row_values(good, "Account"), rules.row_values(bad, "Account")
    assert {unit for unit in whole if whole[unit] != rest[unit]} == set(unfit)
    assert set(rest[str(address)].values()) == {None}, "an address is one value"
    assert rules.unfit(good) == {}


def test_a_row_that_is_refused_as_a_whole_stays_refused() -> None:
    rules = rules_of("orders")
    with pytest.raises(TransformError):
        rules.unfit(row_of(MAPPINGS["orders"], currency="EUR"))
