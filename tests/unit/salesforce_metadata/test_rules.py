"""The rules and triggers, run by the simulator, which loads them from the same files a real org gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from local.salesforce.dml_types import Result
from local.salesforce.formula import compile_formula
from local.salesforce.schema import Org
from omsync.mapping import load_mappings

if TYPE_CHECKING:
    from conftest import World

STALE = "OMSYNC_STALE"


def refused(result: Result, words: str) -> bool:
    return not result.success and any(words in error.message for error in result.errors)


def test_every_formula_is_understood(org: Org) -> None:
    rules = [(obj, rule) for obj in org for rule in obj.rules]
    assert len(rules) >= 45
    for obj, rule in rules:
        compile_formula(rule.formula, obj, org)


def test_every_rule_that_looks_back_leaves_new_records_alone(org: Org) -> None:
    for obj in org:
        for rule in obj.rules:
            if "PRIORVALUE" in rule.formula:
                assert rule.formula.split()[:2] == ["AND(", "NOT(ISNEW()),"], f"{obj.name}.{rule.name}"


def test_every_mirrored_object_has_a_version_guard_and_every_shared_one_a_save_guard(org: Org) -> None:
    for table in load_mappings():
        for target in table.targets:
            names = {rule.name.removesuffix(f"_{kind}") for rule in org.objects[target.object].rules for kind in (*target.record_types, "")}
            if target.sync_fields:
                assert "OMSync_Save_Guard" in names, target.object
            elif table.mode == "mirrored":
                assert "OMSync_Version_Guard" in names, target.object


# --- the version guard ---------------------------------------------------------------------------------------------------
def test_an_older_version_of_a_mirrored_record_is_refused_a_newer_or_equal_one_is_not(world: World) -> None:
    payment = world.made("Payment__c", world.integration, Patient__c=world.patient(), Amount__c=10, OMS_Version__c=5)
    assert refused(world.update("Payment__c", payment, world.integration, Amount__c=1, OMS_Version__c=4), STALE)
    assert world.row("Payment__c", payment)["Amount__c"] == 10
    assert world.update("Payment__c", payment, world.integration, Amount__c=10, OMS_Version__c=5).success
    assert world.update("Payment__c", payment, world.integration, Amount__c=12, OMS_Version__c=6).success


def test_pharmacies_are_guarded_by_version_and_patients_by_save_count(world: World) -> None:
    pharmacy = world.made("Account", world.integration, RecordTypeId=world.kind("Pharmacy"), Name="Main Street", OMS_Version__c=3)
    assert refused(world.update("Account", pharmacy, world.integration, Name="Old", OMS_Version__c=2), STALE)
    assert world.row("Account", pharmacy)["Sync_Save__c"] is None
    patient = world.patient(OMS_Version__c=3)
    assert world.update("Account", patient, world.integration, OMS_Version__c=2, Sync_Seen__c=1).success


# --- the save-count guard ------------------------------------------------------------------------------------------------
def test_the_synchroniser_must_have_seen_the_latest_save(world: World) -> None:
    patient = world.patient()
    assert world.update("Account", patient, world.coordinator, PersonEmail="new@patients.example").success
    assert refused(world.update("Account", patient, world.integration, LastName="Lost", Sync_Seen__c=1), STALE)
    assert refused(world.update("Account", patient, world.integration, LastName="Lost"), STALE)
    assert world.update("Account", patient, world.integration, LastName="Okafor", Sync_Seen__c=2).success
    assert world.row("Account", patient)["Sync_Save__c"] == 3


def test_people_need_not_have_seen_anything(world: World) -> None:
    patient = world.patient()
    for email in ("one@patients.example", "two@patients.example"):
        assert world.update("Account", patient, world.coordinator, PersonEmail=email).success


def test_our_own_cases_are_neither_counted_nor_guarded(world: World) -> None:
    case = world.made("Case", world.integration, RecordTypeId=world.kind("Integration"), Subject="A field is held", Status="new")
    assert world.update("Case", case, world.integration, Priority="high").success
    assert world.row("Case", case)["Sync_Save__c"] is None
    care = world.made("Case", world.integration, RecordTypeId=world.kind("Delivery"), Subject="Where is it?", Status="new")
    assert refused(world.update("Case", care, world.integration, Priority="high"), STALE)


def test_a_persons_edit_is_stamped_and_the_synchronisers_is_not(world: World) -> None:
    patient = world.patient()
    assert world.update("Account", patient, world.coordinator, PersonMobilePhone="+12025550100").success
    assert world.update("Account", patient, world.integration, PersonEmail="x@patients.example", Sync_Seen__c=2).success
    stamps = json.loads(str(world.row("Account", patient)["Sync_Stamps__c"]))
    assert stamps["PersonMobilePhone"][0] == 2
    assert stamps.get("PersonEmail", [1])[0] == 1


# --- what people may not do ------------------------------------------------------------------------------------------------
def test_people_may_not_change_what_is_the_omss(world: World) -> None:
    order = _order(world)
    for field, value in (("Status", "shipped"), ("EffectiveDate", "2026-02-02")):
        assert refused(world.update("Order", order, world.coordinator, **{field: value}), "comes from the OMS"), field
    assert refused(world.update("Order", order, world.coordinator, Grand_Total__c=1), "security settings")
    assert world.update("Order", order, world.coordinator, Requested_Action__c="hold", ShippingCity="Austin").success
    assert world.update("Order", order, world.integration, Status="shipped", Sync_Seen__c=2).success


def test_a_rule_protects_even_from_whoever_field_security_does_not_reach(world: World) -> None:
    payment = world.made("Prescription__c", world.integration, Name="RX-1", Patient__c=world.patient(), OMS_Version__c=1)
    assert refused(world.update("Prescription__c", payment, world.admin, Name="RX-2"), "comes from the OMS")


def test_a_scan_stays_with_its_parcel_for_people_and_may_be_moved_by_the_synchroniser(world: World) -> None:
    patient = world.patient()
    first, second = (world.made("Shipment__c", world.integration, Name=name, Patient__c=patient) for name in ("S-1", "S-2"))
    scan = world.made("Shipment_Event__c", world.integration, Shipment__c=first)
    assert refused(world.update("Shipment_Event__c", scan, world.admin, Shipment__c=second), "comes from the OMS")
    assert world.update("Shipment_Event__c", scan, world.integration, Shipment__c=second).success


def test_a_message_stays_what_it_was(world: World) -> None:
    message = world.made(
        "Communication__c", world.coordinator, Patient__c=world.patient(), Channel__c="sms", Direction__c="outbound", Subject__c="Hello"
    )
    assert refused(world.update("Communication__c", message, world.admin, Direction__c="inbound"), "comes from the OMS")


def test_a_date_of_birth_is_entered_once(world: World) -> None:
    patient = world.insert(
        "Account",
        world.coordinator,
        RecordTypeId=world.kind("Patient"),
        LastName="Rivera",
        PersonBirthdate="1980-02-03",
        Sex_At_Birth__pc="female",
    )
    assert patient.success, patient.errors
    assert refused(world.update("Account", str(patient.id), world.coordinator, PersonBirthdate="1981-02-03"), "comes from the OMS")
    assert refused(world.update("Account", str(patient.id), world.coordinator, Sex_At_Birth__pc="male"), "comes from the OMS")


def test_a_patients_child_has_a_patient_unless_the_loader_brings_it_first(world: World) -> None:
    assert refused(world.insert("Allergy__c", world.integration, Substance__c="Penicillin"), "Choose the patient")
    assert world.insert("Allergy__c", world.load, Substance__c="Penicillin").success
    assert world.insert("Communication__c", world.integration, Channel__c="sms").success  # the OMS has some without a patient


@pytest.mark.parametrize("status", ["signed", "amended", "entered_in_error"])
def test_a_signed_note_is_final(world: World, status: str) -> None:
    note = _note(world)
    assert world.update("Clinical_Note__c", note, world.coordinator, Body__c="Asked about dizziness and sleep.").success
    assert world.update("Clinical_Note__c", note, world.integration, Status__c=status, Sync_Seen__c=2).success
    for field in ("Title__c", "Body__c"):
        assert refused(world.update("Clinical_Note__c", note, world.clinician, **{field: "Changed"}), "signed note"), field
    assert world.update("Clinical_Note__c", note, world.integration, Body__c="Reverted", Sync_Seen__c=3).success


def test_people_write_three_types_of_note(world: World) -> None:
    patient = world.patient()
    for kind in ("progress", "phone", "message_summary"):
        assert world.insert("Clinical_Note__c", world.coordinator, Patient__c=patient, Type__c=kind, Body__c="...").success
    for kind in ("soap", "addendum", None):
        assert refused(
            world.insert("Clinical_Note__c", world.clinician, Patient__c=patient, Type__c=kind, Body__c="..."), "Choose Progress"
        )
    assert world.insert("Clinical_Note__c", world.integration, Patient__c=patient, Type__c="soap", Body__c="...").success


def test_a_note_stays_with_its_patient(world: World) -> None:
    note = _note(world)
    assert refused(world.update("Clinical_Note__c", note, world.coordinator, Patient__c=world.patient()), "comes from the OMS")


def test_a_case_says_when_it_was_opened_and_closed(world: World) -> None:
    case = world.made("Case", world.coordinator, RecordTypeId=world.kind("General"), Subject="Where is it?", Status="new")
    assert world.row("Case", case)["Opened_At__c"]
    assert world.update("Case", case, world.coordinator, Status="closed").success
    closed = world.row("Case", case)
    assert closed["Closed_At__c"]
    assert "Closed_At__c" in json.loads(str(closed["Sync_Stamps__c"]))
    assert world.update("Case", case, world.coordinator, Status="open").success
    assert world.row("Case", case)["Closed_At__c"] is None


def test_one_cause_opens_one_case(world: World) -> None:
    for subject in ("first", "again"):
        [result] = world.store.upsert(
            "Case",
            "Integration_Key__c",
            [{"Integration_Key__c": "a" * 64, "Subject": subject, "RecordTypeId": world.kind("Integration")}],
            world.integration,
        )
        assert result.success, result.errors
    assert world.store.count("Case") == 1


def test_a_patients_deletion_clears_the_children_and_keeps_them(world: World) -> None:
    note = _note(world)
    patient = str(world.row("Clinical_Note__c", note)["Patient__c"])
    [result] = world.store.delete("Account", [patient], world.admin)
    assert result.success, result.errors
    assert world.row("Clinical_Note__c", note)["Patient__c"] is None


def test_the_real_triggers_header_is_what_the_simulator_reads(org: Org) -> None:
    shared = {target.object for table in load_mappings() for target in table.targets if target.sync_fields}
    for name in shared:
        assert {"before insert", "before update", "after insert", "after update", "after delete", "after undelete"} <= org.triggers[name], (
            name
        )
    for name in ("Communication__c", "EmailMessage"):
        assert org.triggers[name] == {"after insert", "after delete", "after undelete"}


def _order(world: World) -> str:
    book = str(world.store.find("Pricebook2", "Name", "Standard Price Book")[0]["Id"])
    fields = {"Status": "pending_review", "EffectiveDate": "2026-02-01", "Pricebook2Id": book}
    return world.made("Order", world.integration, AccountId=world.patient(), **fields)


def _note(world: World) -> str:
    return world.made(
        "Clinical_Note__c",
        world.coordinator,
        Patient__c=world.patient(),
        Type__c="phone",
        Title__c="Call",
        Body__c="Asked about dizziness.",
    )
