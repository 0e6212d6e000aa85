"""Records as REST and Bulk take them."""

from __future__ import annotations

import pytest

from omsync.mapping import (
    Record,
    TransformError,
    compared_fields,
    csv_header,
    csv_line,
    differences,
    load_mappings,
    needs_rest,
    org_ids,
    row_hash,
    to_json,
    written,
)
from tests.unit.mapping.samples import ID, OTHER, sample
from tests.unit.mapping.strategies import compiled

ORG = {
    "standard_price_book": "01s000000000001AAA",
    "record_type:Account.Patient": "012000000000001AAA",
    "record_type:Case.Billing": "012000000000002AAA",
    "record_type:Contact.Provider": "012000000000003AAA",
}


def record(table: str, **values: object) -> Record:
    return compiled(table).to_salesforce(sample(table, **values))[-1]


def test_rest_names_parents_by_their_oms_id() -> None:
    body = to_json(record("orders", patient_id=OTHER, pharmacy_id=None, consultation_id=OTHER), ORG)
    assert body["attributes"] == {"type": "Order"}
    assert body["Account"] == {"OMS_Id__c": OTHER}
    assert body["Consultation__r"] == {"OMS_Id__c": OTHER}
    assert body["Pharmacy__c"] is None
    assert body["Pricebook2Id"] == ORG["standard_price_book"]
    assert body["OMS_Id__c"] == ID


def test_a_polymorphic_parent_says_its_object() -> None:
    body = to_json(record("support_cases", category="billing", owner_id=OTHER), ORG)
    assert body["Owner"] == {"attributes": {"type": "User"}, "OMS_Id__c": OTHER}
    assert body["RecordTypeId"] == ORG["record_type:Case.Billing"]
    email = record("communications", channel="email", patient_id=OTHER)
    assert "Account:RelatedTo.OMS_Id__c" in csv_header(email.target)


def test_an_owner_that_nobody_is_stays_out() -> None:
    body = to_json(record("support_cases", category="billing", owner_id=None), ORG)
    assert "OwnerId" not in body
    assert "Owner" not in body


def test_an_update_leaves_out_what_can_only_be_created() -> None:
    entry = record("products", list_price_cents=100)
    assert {"Pricebook2Id", "Product2"} <= to_json(entry, ORG, "create").keys()
    update = to_json(entry, ORG, "update")
    assert not {"Pricebook2Id", "Product2", "Product2Id"} & update.keys()
    assert (update["UnitPrice"], update["IsActive"]) == (1.0, True)
    message = to_json(record("communications", channel="sms"), {"record_type:Communication__c.SMS": "x"}, "update")
    assert set(message) - {"attributes"} == {
        "RecordTypeId",
        "OMS_Id__c",
        "Delivery_Status__c",
        "OMS_Version__c",
        "OMS_Created_At__c",
        "OMS_Updated_At__c",
        "OMS_Deleted__c",
    }


def test_some_fields_of_a_record_go_with_its_external_id() -> None:
    body = to_json(record("orders"), ORG, "update", fields={"Status", "Hold_Reason__c"})
    assert set(body) == {"attributes", "OMS_Id__c", "Status", "Hold_Reason__c"}


def test_a_load_leaves_out_self_references_html_and_audit_fields() -> None:
    case = load_mappings()["support_cases"].target("Case")
    assert not {"CreatedDate", "ParentId"} & {field.name for field in written(case, "load")}
    assert "CreatedDate" in {field.name for field in written(case, "load", audit_fields=True)}
    assert "CreatedDate" not in {field.name for field in written(case, "create")}
    email = load_mappings()["communications"].target("EmailMessage")
    assert {"HtmlBody", "ToIds"} <= {field.name for field in written(email, "create")} - {field.name for field in written(email, "load")}


def test_the_second_pass_is_self_references_and_the_version() -> None:
    order = record("orders", parent_order_id=OTHER)
    assert to_json(order, ORG, "second_pass") == {
        "attributes": {"type": "Order"},
        "OMS_Id__c": ID,
        "Reship_Of__r": {"OMS_Id__c": OTHER},
        "OMS_Version__c": 3,
    }
    assert csv_header(order.target, "second_pass") == ["OMS_Id__c", "Reship_Of__r.OMS_Id__c", "OMS_Version__c"]
    assert csv_line(order, ORG, "second_pass") == [ID, OTHER, "3"]


def test_bulk_lines_fit_their_header() -> None:
    patient = record("patients", last_name="Lovelace", email=None, height_cm="170.5", sms_opt_in=True)
    line = dict(zip(csv_header(patient.target), csv_line(patient, ORG), strict=True))
    assert line["RecordTypeId"] == ORG["record_type:Account.Patient"]
    assert (line["LastName"], line["PersonEmail"], line["Height_Cm__pc"], line["SMS_Opt_In__pc"]) == ("Lovelace", "#N/A", "170.5", "true")
    assert line["Preferred_Pharmacy__r.OMS_Id__c"] == ""
    provider = record("providers", first_name="A", last_name="B")
    assert dict(zip(csv_header(provider.target), csv_line(provider, ORG), strict=True))["Account.OMS_Id__c"]


@pytest.mark.parametrize(
    ("body", "rest"), [("#N/A", True), ("x" * 32_000, False), ("x" * 32_001, True), ("😀" * 16_000, False), ("😀" * 16_001, True)]
)
def test_what_bulk_would_spoil_goes_by_rest(body: str, rest: bool) -> None:
    assert needs_rest(record("clinical_notes", status="signed", body=body)) is rest


def test_a_short_text_that_reads_as_null_goes_by_rest() -> None:
    assert needs_rest(record("clinical_notes", status="signed", body="x", title="#N/A"))
    assert not needs_rest(record("clinical_notes", status="signed", body="x", title="N/A"))


def test_a_file_goes_by_rest() -> None:
    assert needs_rest(record("clinical_notes", status="signed", body="x" * 131_073))


def test_an_org_id_that_is_not_known_is_an_error() -> None:
    assert org_ids(load_mappings()["support_cases"].target("Case")) >= {"record_type:Case.Billing", "record_type:Case.General"}
    assert org_ids(load_mappings()["orders"].target("Order")) == {"standard_price_book"}
    with pytest.raises(TransformError, match="standard_price_book"):
        to_json(record("orders"), {})


def test_hashes_tell_whether_anything_compared_differs() -> None:
    one, other = record("orders", status="placed"), record("orders", status="filling")
    fields = compared_fields(one.target)
    assert "OMS_Version__c" not in fields
    assert "OMS_Updated_At__c" not in fields
    assert row_hash(one.values, fields) == row_hash(record("orders", status="placed", version=9).values, fields)
    assert row_hash(one.values, fields) != row_hash(other.values, fields)
    assert differences(one.values, other.values, fields) == ("Status",)
    email = compared_fields(load_mappings()["communications"].target("EmailMessage"))
    assert not {"Status", "HtmlBody", "ToIds"} & set(email)
