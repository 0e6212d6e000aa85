"""Each kind of change, made on one side as a person would, is on the other within seconds."""

from __future__ import annotations

import uuid

import pytest

from tests.e2e.world import Refused, Row, World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ADDRESS = {"line1": "12 Elm St", "city": "Austin", "state_code": "TX", "postal_code": "78701"}


@pytest.fixture(scope="module")
def patient(world: World) -> Row:
    """A patient whom both sides know."""
    row = world.patient(shipping_address=ADDRESS, marketing_opt_in=True)
    world.account(row, seconds=60)
    return row


@pytest.fixture(scope="module")
def account(world: World, patient: Row) -> str:
    """His account."""
    return world.account(patient)


def test_created_in_the_oms(world: World, patient: Row) -> None:
    world.agrees(world.rows_of(patient["id"]))


def test_updated_and_cleared_in_the_oms(world: World, patient: Row, account: str) -> None:
    world.oms.patch("patients", patient["id"], preferred_name="Countess", pronouns="she/her")
    world.shows("Account", account, "Preferred_Name__pc", "Countess")
    world.oms.patch("patients", patient["id"], preferred_name=None)
    world.shows("Account", account, "Preferred_Name__pc", None)
    assert world.field("Account", account, "Pronouns__pc") == "she/her"


def test_an_address_is_one_with_its_patient(world: World, patient: Row, account: str) -> None:
    world.oms.act("change-address", patient_id=patient["id"], address={**ADDRESS, "line1": "1 Oak Ave", "line2": "Rear"})
    world.shows("Account", account, "PersonMailingStreet", "1 Oak Ave\nRear")
    world.org.edit("Account", account, PersonMailingStreet="7 Lake Rd", PersonMailingCity="Dallas", PersonMailingPostalCode="75201")
    row = until(lambda: world.oms.get("patients", patient["id"]) or {}, lambda found: found["shipping_address"]["line1"] == "7 Lake Rd")
    assert (row["shipping_address"]["city"], row["shipping_address"]["line2"]) == ("Dallas", None)
    world.oms.act("change-address", patient_id=patient["id"], address=None)
    world.shows("Account", account, "PersonMailingStreet", None)


def test_updated_and_cleared_in_salesforce(world: World, patient: Row, account: str) -> None:
    world.org.edit("Account", account, MiddleName="King", Care_Notes__pc="Prefers calls\nafter five")
    row = world.holds("patients", patient["id"], "care_notes", "Prefers calls\nafter five")
    assert (row["middle_name"], row["changed_by"]) == ("King", "sync:salesforce")
    world.org.edit("Account", account, MiddleName=None)
    world.holds("patients", patient["id"], "middle_name", None)
    assert world.differences({"patients": [patient["id"]]}) == {}


def test_nothing_echoes(world: World, patient: Row, account: str) -> None:
    """One edit is one version there and one save here, however often the two tell each other about it."""
    world.quiet()
    version, save = world.oms.get("patients", patient["id"]), world.field("Account", account, "Sync_Save__c")
    world.org.edit("Account", account, Suffix="Jr")
    after = world.holds("patients", patient["id"], "suffix", "Jr")
    world.quiet()
    assert version is not None
    assert after["version"] == version["version"] + 1
    assert world.field("Account", account, "Sync_Save__c") <= save + 2  # the person's, and one that brings OMS_Version__c along


def test_what_the_oms_owns_is_no_persons_to_edit(world: World, account: str) -> None:
    with pytest.raises(Refused):
        world.org.edit("Account", account, Patient_Status__pc="blocked")


def test_soft_deleted_and_restored_in_the_oms(world: World) -> None:
    row = world.patient()
    account = world.account(row)
    world.oms.patch("patients", row["id"], deleted_at="2026-01-01T00:00:00Z")
    world.shows("Account", account, "OMS_Deleted__c", True)
    world.oms.patch("patients", row["id"], deleted_at=None)
    world.shows("Account", account, "OMS_Deleted__c", False)


def test_a_delete_in_salesforce_of_what_the_oms_owns_is_undone(world: World) -> None:
    """Its children's lookups are linked again, too."""
    row = world.patient()
    account = world.account(row)
    consents = [one["id"] for one in world.oms.rows("patient_consents", patient_id=row["id"])]
    world.agrees({"patient_consents": consents})
    world.org.delete("Account", account)
    until(lambda: world.org.find("Account", row["id"]))
    world.agrees({"patients": [row["id"]], "patient_consents": consents})


def test_an_undelete_in_salesforce_is_followed_by_a_fresh_write(world: World) -> None:
    row = world.patient()
    account = world.account(row)
    world.quiet()
    with world.org.fault("event-lost", pattern="Account DELETE"):
        world.org.delete("Account", account)
    world.oms.pushes(paused=True)
    world.oms.patch("patients", row["id"], preferred_name="While away")
    world.oms.lose_pushes()
    world.oms.pushes(paused=False)
    world.org.undelete(account)
    world.shows("Account", account, "Preferred_Name__pc", "While away")


def test_born_in_salesforce(world: World) -> None:
    """A patient and a note about them, before the OMS has heard of either: the child brings its parent."""
    name = f"Born{uuid.uuid4().hex[:8]}"
    account = world.org.create("Account", LastName=name, FirstName="Bea", RecordTypeId=world.org.record_type("Account", "Patient"))
    note = world.org.create(
        "Clinical_Note__c", user="clinician", Patient__c=account, Type__c="phone", Title__c="Call", Body__c="Called back."
    )
    born = until(lambda: world.field("Clinical_Note__c", note, "OMS_Id__c"))
    row = until(lambda: world.oms.get("clinical_notes", born))
    assert row is not None
    assert (row["title"], row["body"], row["status"]) == ("Call", "Called back.", "draft")
    patient = world.oms.get("patients", row["patient_id"])
    assert patient is not None
    assert (patient["last_name"], patient["id"]) == (name, world.field("Account", account, "OMS_Id__c"))
    until(lambda: world.field("Account", account, "Patient_Number__pc"))
    world.agrees({"patients": [patient["id"]], "clinical_notes": [born]})


def test_what_salesforce_owns_ends_and_lives_again_with_its_record(world: World, patient: Row, account: str) -> None:
    case_type = world.org.record_type("Case", "Billing")
    subject = f"Refund {uuid.uuid4().hex[:8]}"
    case = world.org.create(
        "Case", RecordTypeId=case_type, AccountId=account, Subject=subject, Type="billing", Status="new", Origin="phone"
    )
    born = until(lambda: world.field("Case", case, "OMS_Id__c"))
    row = until(lambda: world.oms.get("support_cases", born))
    assert row is not None
    assert (row["subject"], row["category"], row["patient_id"]) == (subject, "billing", patient["id"])
    world.quiet()
    assert [one["id"] for one in world.oms.rows("support_cases", patient_id=patient["id"]) if one["subject"] == subject] == [born]
    world.org.delete("Case", case)
    until(lambda: world.oms.get("support_cases", born) or {}, lambda found: found["deleted_at"])
    world.org.undelete(case)
    world.holds("support_cases", born, "deleted_at", None)
    world.agrees({"support_cases": [born]})
