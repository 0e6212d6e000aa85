"""Mapping and metadata agree both ways; whatever is taken away or left over is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from omsync.mapping import load_mappings

from ops.salesforce import agreement

OBJECTS = "generated/main/default/objects"


def _replace(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    text = path.read_text()
    assert old in text, f"{file} has no {old}"
    path.write_text(text.replace(old, new))


def test_the_project_agrees_with_the_mapping() -> None:
    assert agreement.faults() == []


def test_a_missing_field_is_named(copy: Path) -> None:
    (copy / OBJECTS / "Prescription__c/fields/Sig__c.field-meta.xml").unlink()
    assert "prescriptions -> Prescription__c.Sig__c: is missing" in agreement.faults(root=copy)


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        (
            "Order/fields/Promo_Code__c",
            "<length>40</length>",
            "<length>39</length>",
            "orders -> Order.Promo_Code__c: holds 39 characters, not 40",
        ),
        (
            "Payment__c/fields/Amount__c",
            "<precision>16",
            "<precision>15",
            "payments -> Payment__c.Amount__c: holds (15,2) digits, not (16,2)",
        ),
        ("Order/fields/Placed_At__c", "<type>DateTime", "<type>Date", "orders -> Order.Placed_At__c: is a Date, not a DateTime"),
        ("Order/fields/OMS_Id__c", "<unique>true", "<unique>false", "orders -> Order.OMS_Id__c: is not unique"),
        ("Order/fields/OMS_Id__c", "<externalId>true", "<externalId>false", "orders -> Order.OMS_Id__c: is not externalId"),
        (
            "Order/fields/Pharmacy__c",
            "SetNull",
            "Restrict",
            "orders -> Order.Pharmacy__c: does not clear itself when the parent goes (SetNull)",
        ),
        (
            "Order/fields/Pharmacy__c",
            "<referenceTo>Account",
            "<referenceTo>Contact",
            "orders -> Order.Pharmacy__c: refers to Contact, not Account",
        ),
        (
            "Shipment_Event__c/fields/Shipment__c",
            "<reparentableMasterDetail>true",
            "<reparentableMasterDetail>false",
            "shipment_events -> Shipment_Event__c.Shipment__c: can't be re-parented",
        ),
        ("Order/fields/Channel__c", "<fullName>phone", "<fullName>fax", "orders -> Order.Channel__c: lacks the value phone"),
    ],
)
def test_a_field_that_is_less_than_the_mapping_asks_for_is_named(copy: Path, file: str, old: str, new: str, fault: str) -> None:
    _replace(copy, f"{OBJECTS}/{file}.field-meta.xml", old, new)
    assert fault in agreement.faults(root=copy)


def test_a_status_missing_from_its_standard_value_set_is_named(copy: Path) -> None:
    _replace(
        copy, "generated/main/default/standardValueSets/OrderStatus.standardValueSet-meta.xml", "<fullName>filling", "<fullName>packing"
    )
    assert "orders -> Order.Status: value set OrderStatus lacks filling" in agreement.faults(root=copy)


def test_a_missing_record_type_is_named(copy: Path) -> None:
    (copy / OBJECTS / "PersonAccount/recordTypes/Patient.recordType-meta.xml").unlink()
    assert "patients -> Account: record type Patient is missing" in agreement.faults(root=copy)


def test_a_field_no_column_fills_is_named(copy: Path) -> None:
    source = copy / OBJECTS / "Order/fields/Promo_Code__c.field-meta.xml"
    source.with_name("Old_Code__c.field-meta.xml").write_text(source.read_text().replace("Promo_Code__c", "Old_Code__c"))
    assert "Order.Old_Code__c: no column fills it; map it, or list it in BY_HAND with the reason" in agreement.faults(root=copy)


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        (
            "layouts/Order-OMS Order Layout.layout-meta.xml",
            "<field>Hold_Reason__c",
            "<field>Gone__c",
            "(layout): Order.Gone__c does not exist",
        ),
        (
            "layouts/PersonAccount-Patient Layout.layout-meta.xml",
            "<field>Care_Notes__pc",
            "<field>Gone__pc",
            "(layout): Account.Gone__pc does not",
        ),
        (
            "layouts/Order-OMS Order Layout.layout-meta.xml",
            "Shipment__c.Order__c",
            "Shipment__c.Gone__c",
            "related list Shipment__c.Gone__c does not",
        ),
        (
            "permissionsets/Clinician.permissionset-meta.xml",
            "Order.Promo_Code__c",
            "Order.Gone__c",
            "(field permission): Order.Gone__c does not exist",
        ),
        (
            "customMetadata/Sync_Field.Order_Hold_Reason.md-meta.xml",
            ">Hold_Reason__c<",
            ">Gone__c<",
            "(stamped field): Order.Gone__c does not exist",
        ),
        (
            "objects/Order/validationRules/OMSync_Save_Guard.validationRule-meta.xml",
            "Sync_Seen__c",
            "Gone__c",
            "(validationRule): Order.Gone__c does not exist",
        ),
        ("objects/Order/listViews/OMS_On_Hold.listView-meta.xml", "Hold_Reason__c", "Gone__c", "(listView): Order.Gone__c does not exist"),
        ("objects/Order/fields/Pharmacy__c.field-meta.xml", ">Orders_Pharmacy<", ">Cases<", None),
    ],
)
def test_what_names_a_field_that_does_not_exist_is_named(copy: Path, file: str, old: str, new: str, fault: str | None) -> None:
    _replace(copy, f"generated/main/default/{file}", old, new)
    assert any((fault or "") in line for line in agreement.faults(root=copy)) is (fault is not None)


def test_two_children_with_one_name_on_their_parent_are_named(copy: Path) -> None:
    _replace(copy, f"{OBJECTS}/Prescription__c/fields/Pharmacy__c.field-meta.xml", ">Prescriptions_Pharmacy<", ">Prescriptions<")
    assert any("Account already has a relationship Prescriptions" in line for line in agreement.faults(root=copy))


def test_every_mapped_object_has_the_oms_fields_and_shared_ones_the_sync_fields() -> None:
    fields = agreement.Metadata(agreement.ROOT).fields()
    for table in load_mappings():
        for target in table.targets:
            names = {name for obj, name in fields if obj == target.object}
            assert "OMS_Id__c" in names, target.object
            if table.mode != "matched":
                assert {"OMS_Version__c", "OMS_Created_At__c", "OMS_Updated_At__c", "OMS_Deleted__c"} <= names, target.object
            if target.sync_fields:
                assert {"Sync_Save__c", "Sync_Seen__c", "Sync_Write__c", "Sync_Stamps__c"} <= names, target.object
