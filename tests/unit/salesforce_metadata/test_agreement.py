"""Mapping and metadata agree both ways; whatever is taken away or left over is named."""

from __future__ import annotations

from pathlib import Path

from omsync.mapping import load_mappings
from ops.salesforce import agreement

GENERATED = "generated/main/default"
OBJECTS = f"{GENERATED}/objects"

#: (file, what stands there, what a careless hand made of it, the fault)
WEAKER = [
    ("Order/fields/Promo_Code__c", "<length>40", "<length>39", "orders -> Order.Promo_Code__c: holds 39 characters, not 40"),
    ("Payment__c/fields/Amount__c", "<precision>16", "<precision>15", "payments -> Payment__c.Amount__c: holds (15,2) digits, not (16,2)"),
    ("Order/fields/Placed_At__c", "<type>DateTime", "<type>Date", "orders -> Order.Placed_At__c: is a Date, not a DateTime"),
    ("Order/fields/OMS_Id__c", "<unique>true", "<unique>false", "orders -> Order.OMS_Id__c: is not unique"),
    (
        "Case/fields/OMS_Case_Number__c",
        "<externalId>true",
        "<externalId>false",
        "support_cases -> Case.OMS_Case_Number__c: is not externalId",
    ),
    (
        "Case/fields/OMS_Id__c",
        "<caseSensitive>false",
        "<caseSensitive>true",
        "support_cases -> Case.OMS_Id__c: tells upper from lower case",
    ),
    (
        "Order/fields/Pharmacy__c",
        "SetNull",
        "Restrict",
        "orders -> Order.Pharmacy__c: does not clear itself when the parent goes (SetNull)",
    ),
    (
        "Shipment__c/fields/Order__c",
        "<referenceTo>Order",
        "<referenceTo>Case",
        "shipments -> Shipment__c.Order__c: refers to Case, not Order",
    ),
    (
        "Shipment_Event__c/fields/Shipment__c",
        "<reparentableMasterDetail>true",
        "<reparentableMasterDetail>false",
        "shipment_events -> Shipment_Event__c.Shipment__c: can't be re-parented",
    ),
    ("Order/fields/Channel__c", "<fullName>phone", "<fullName>fax", "orders -> Order.Channel__c: lacks the value phone"),
]

DANGLING = [
    ("layouts/Order-OMS Order Layout.layout", "<field>Hold_Reason__c", "<field>Gone1__c", "(layout): Order.Gone1__c does not exist"),
    (
        "layouts/PersonAccount-Patient Layout.layout",
        "<field>Care_Notes__pc",
        "<field>Gone2__pc",
        "(layout): Account.Gone2__pc does not exist",
    ),
    (
        "layouts/Order-OMS Order Layout.layout",
        "Shipment__c.Order__c",
        "Shipment__c.Gone3__c",
        "related list Shipment__c.Gone3__c does not exist",
    ),
    (
        "permissionsets/Clinician.permissionset",
        "Order.Promo_Code__c",
        "Order.Gone4__c",
        "(field permission): Order.Gone4__c does not exist",
    ),
    ("customMetadata/Sync_Field.Order_Hold_Reason.md", ">Hold_Reason__c<", ">Gone5__c<", "(stamped field): Order.Gone5__c does not exist"),
    (
        "objects/Order/validationRules/OMSync_Save_Guard.validationRule",
        "Sync_Seen__c",
        "Gone6__c",
        "(validationRule): Order.Gone6__c does not exist",
    ),
    ("objects/Order/listViews/OMS_On_Hold.listView", "Hold_Reason__c", "Gone7__c", "(listView): Order.Gone7__c does not exist"),
    ("objects/Order/compactLayouts/OMS_Order.compactLayout", "Pharmacy__c", "Gone8__c", "(compactLayout): Order.Gone8__c does not exist"),
]


def _replace(root: Path, file: str, old: str, new: str) -> None:
    path = root / f"{file}-meta.xml"
    text = path.read_text()
    assert old in text, f"{file} has no {old}"
    path.write_text(text.replace(old, new))


def test_the_project_agrees_with_the_mapping() -> None:
    assert agreement.faults() == []


def test_whatever_is_less_than_the_mapping_asks_for_is_named(copy: Path) -> None:
    for file, old, new, _ in WEAKER:
        _replace(copy, f"{OBJECTS}/{file}.field", old, new)
    assert set(agreement.faults(root=copy)) == {fault for *_, fault in WEAKER}


def test_whatever_names_a_field_that_does_not_exist_is_named(copy: Path) -> None:
    for file, old, new, _ in DANGLING:
        _replace(copy, f"{GENERATED}/{file}", old, new)
    found = agreement.faults(root=copy)
    assert [fault for *_, fault in DANGLING if not any(line.endswith(fault) for line in found)] == []
    assert len(found) == len(DANGLING)


def test_whatever_is_missing_or_left_over_is_named(copy: Path) -> None:
    (copy / OBJECTS / "Prescription__c/fields/Sig__c.field-meta.xml").unlink()
    (copy / OBJECTS / "PersonAccount/recordTypes/Patient.recordType-meta.xml").unlink()
    (copy / OBJECTS / "Refund__c/Refund__c.object-meta.xml").unlink()
    _replace(copy, f"{GENERATED}/standardValueSets/OrderStatus.standardValueSet", "<fullName>filling", "<fullName>packing")
    left = copy / OBJECTS / "Order/fields/Promo_Code__c.field-meta.xml"
    left.with_name("Old_Code__c.field-meta.xml").write_text(left.read_text().replace("Promo_Code__c", "Old_Code__c"))
    found = agreement.faults(root=copy)
    assert {
        "prescriptions -> Prescription__c.Sig__c: is missing",
        "patients -> Account: record type Patient is missing",
        "refunds -> Refund__c: the object is missing",
        "orders -> Order.Status: value set OrderStatus lacks filling",
        "Order.Old_Code__c: no column fills it; map it, or list it in BY_HAND with the reason",
    } <= set(found)


def test_two_children_with_one_name_on_their_parent_are_named(copy: Path) -> None:
    _replace(copy, f"{OBJECTS}/Prescription__c/fields/Pharmacy__c.field", ">Prescriptions_Pharmacy<", ">Prescriptions<")
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
