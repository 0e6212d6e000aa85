"""Both sides at once: who wins, who is told, and what is done exactly once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.world import Refused, Row, World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@contextmanager
def at_once(world: World) -> Iterator[None]:
    """What both sides do inside, neither hears of before the end; then the OMS's events go out, and Salesforce's are lost."""
    world.quiet()
    world.oms.pushes(paused=True)
    try:
        with world.org.fault("event-lost"):
            yield
    finally:
        world.oms.pushes(paused=False)


@pytest.fixture
def known(world: World) -> tuple[str, str]:
    """A patient whom both sides know. -> (OMS id, Salesforce id)"""
    row = world.patient(sms_opt_in=True, marketing_opt_in=True)
    account = world.account(row)
    world.agrees({"patients": [row["id"]]})
    return row["id"], account


@pytest.fixture(scope="module")
def shop(world: World) -> dict[str, Row]:
    """Something to order, and who sends it."""
    tag = uuid.uuid4().hex[:8]
    supply = world.oms.create("products", sku=f"OTC-{tag}", name="Moisturiser", product_type="otc", list_price_cents=1_250)
    pharmacy = world.oms.create("pharmacies", name=f"Pharmacy {tag}", pharmacy_type="mail_order")
    return {"supply": supply, "pharmacy": pharmacy}


def test_different_fields_both_stand(world: World, known: tuple[str, str]) -> None:
    patient, account = known
    with at_once(world):
        world.org.edit("Account", account, MiddleName="Salesforce")
        world.oms.patch("patients", patient, preferred_name="OMS")
    row = world.holds("patients", patient, "middle_name", "Salesforce")
    assert row["preferred_name"] == "OMS"
    world.shows("Account", account, "Preferred_Name__pc", "OMS")
    assert world.conflicts(patient) == []


@pytest.mark.parametrize("later", ["oms", "salesforce"])
def test_the_later_edit_of_one_field_wins_and_the_loser_is_logged(world: World, known: tuple[str, str], later: str) -> None:
    patient, account = known
    edits = {
        "oms": lambda: world.oms.patch("patients", patient, preferred_name="oms"),
        "salesforce": lambda: world.org.edit("Account", account, Preferred_Name__pc="salesforce"),
    }
    with at_once(world):
        for side in sorted(edits, key=lambda side: side == later):
            edits[side]()
    world.holds("patients", patient, "preferred_name", later)
    world.shows("Account", account, "Preferred_Name__pc", later)
    logged = until(lambda: world.conflicts(patient))
    assert [(one["unit"], one["winner"]) for one in logged] == [("preferred_name", later)]


def test_an_edit_and_its_revert_while_in_flight(world: World, known: tuple[str, str]) -> None:
    """The hint of the edit comes after the revert: nothing of it reaches the OMS, and the revert is no conflict."""
    patient, account = known
    before = world.holds("patients", patient, "preferred_name", None)
    world.quiet()
    with world.org.fault("event-late", delay=2):
        world.org.edit("Account", account, Preferred_Name__pc="Slip of the pen")
        world.org.edit("Account", account, Preferred_Name__pc=None)
    until(lambda: world.org.admin("GET", "events")["waiting"] == 0)
    world.quiet()
    after = world.oms.get("patients", patient)
    assert after is not None
    assert (after["preferred_name"], after["version"]) == (None, before["version"])
    world.oms.patch("patients", patient, preferred_name="Ada")
    world.shows("Account", account, "Preferred_Name__pc", "Ada")
    assert world.conflicts(patient) == []


def test_a_revert_in_the_oms_beats_what_was_in_flight(world: World, known: tuple[str, str]) -> None:
    """Salesforce's edit, the OMS's later edit and its revert: the OMS's last word stands on both sides."""
    patient, account = known
    with at_once(world):
        world.org.edit("Account", account, Preferred_Name__pc="salesforce")
        world.oms.patch("patients", patient, preferred_name="mistake")
        world.oms.patch("patients", patient, preferred_name=None)
    world.shows("Account", account, "Preferred_Name__pc", None)
    world.quiet()
    world.holds("patients", patient, "preferred_name", None)
    world.agrees({"patients": [patient]})


def test_opt_out_wins_on_both_sides(world: World, known: tuple[str, str]) -> None:
    """A revoked consent beats a grant, though the grant is later."""
    patient, account = known
    with at_once(world):
        world.org.edit("Account", account, SMS_Opt_In__pc=False)
        world.oms.patch("patients", patient, sms_opt_in=False)
        world.oms.patch("patients", patient, sms_opt_in=True)
        world.oms.act("unsubscribe", patient_id=patient)
        world.org.edit("Account", account, PersonHasOptedOutOfEmail=True)
        world.org.edit("Account", account, PersonHasOptedOutOfEmail=False)
    world.holds("patients", patient, "sms_opt_in", False)
    world.shows("Account", account, "PersonHasOptedOutOfEmail", True)
    world.agrees(world.rows_of(patient))


def test_a_consent_revoked_in_salesforce(world: World, known: tuple[str, str]) -> None:
    patient, _ = known
    consent = next(one for one in world.oms.rows("patient_consents", patient_id=patient) if one["consent_type"] == "sms")
    record = until(lambda: world.org.find("Consent__c", consent["id"]))
    assert record is not None
    world.org.edit("Consent__c", record["Id"], Revoked_At__c="2030-01-02T03:04:05.000Z")
    world.holds("patient_consents", consent["id"], "revoked_at", "2030-01-02T03:04:05.000000Z")


def shipped(world: World, patient: str, shop: dict[str, Row]) -> tuple[str, str]:
    """An order on its way. -> (OMS id, Salesforce id)"""
    order = world.oms.act("place-order", patient_id=patient, items=[{"product_id": shop["supply"]["id"]}])["orders"][0]["id"]
    world.oms.act("pay-order", order_id=order)
    world.oms.act("accept-order", order_id=order, pharmacy_id=shop["pharmacy"]["id"])
    world.oms.act("ship-order", order_id=order)
    world.agrees({"orders": [order]})
    record = world.org.find("Order", order)
    assert record is not None
    return order, record["Id"]


def test_a_command_is_executed_once_whatever_is_lost(world: World, known: tuple[str, str], shop: dict[str, Row]) -> None:
    """Hints doubled, every other answer of both systems lost after the deed: one parcel more, not two."""
    patient, _ = known
    order, record = shipped(world, patient, shop)
    lost = world.org.fault("drop", pattern="(POST|PATCH) .*composite", rate=0.4, seconds=20)
    with world.org.fault("event-twice"), lost, world.oms.fault(mode="lost_answer", rate=0.5, paths=["/v1/orders"], seconds=20):
        world.org.edit("Order", record, Requested_Action__c="reship")
        until(lambda: (world.oms.get("orders", order) or {}).get("action_result"), seconds=60)
        world.shows("Order", record, "Requested_Action__c", None, seconds=60)
    world.shows("Order", record, "Action_Result__c", "done: reship", seconds=60)
    world.quiet()
    orders = world.oms.rows("orders", patient_id=patient)
    assert [one["parent_order_id"] for one in orders if one["order_type"] == "reship"] == [order]
    world.agrees(world.rows_of(patient), seconds=60)


def test_a_refused_command_says_why_and_a_second_one_is_new(world: World, known: tuple[str, str], shop: dict[str, Row]) -> None:
    patient, _ = known
    order, record = shipped(world, patient, shop)
    for _attempt in range(2):
        world.org.edit("Order", record, Requested_Action__c="release")
        until(lambda: str(world.field("Order", record, "Action_Result__c")), lambda told: told.startswith("refused: "))
        world.shows("Order", record, "Requested_Action__c", None)
    asked = world.outbox(lambda event: event["subject"] == f"orders/{order}" and event["data"]["row"]["requested_action"] == "release")
    assert len(asked) == 2


def draft(world: World, account: str, **fields: str) -> tuple[str, str]:
    """A note that a clinician began in Salesforce. -> (OMS id, Salesforce id)"""
    told = {"Type__c": "progress", "Title__c": "Title", "Body__c": "First.", **fields}
    record = world.org.create("Clinical_Note__c", user="clinician", Patient__c=account, **told)
    note = until(lambda: world.field("Clinical_Note__c", record, "OMS_Id__c"))
    until(lambda: world.oms.get("clinical_notes", note))
    world.quiet()
    return note, record


def test_a_manual_conflict_is_a_case_that_names_the_field_and_holds_it_alone(world: World, known: tuple[str, str]) -> None:
    _, account = known
    note, record = draft(world, account)
    with at_once(world):
        world.org.edit("Clinical_Note__c", record, user="clinician", Body__c="Salesforce's body.")
        world.oms.patch("clinical_notes", note, body="The OMS's body.", title="Title of the OMS")
    world.shows("Clinical_Note__c", record, "Title__c", "Title of the OMS")
    [case] = until(lambda: world.org.cases(f"clinical_notes/{note}"))
    assert (case["Integration_Field__c"], case["IsClosed"]) == ("body", False)
    assert "body" not in case["Description"].replace("body of clinical_notes", "")
    for secret in ("Salesforce's body", "The OMS's body"):
        assert secret not in str(case)
    assert (world.oms.get("clinical_notes", note) or {})["body"] == "The OMS's body."
    assert world.field("Clinical_Note__c", record, "Body__c") == "Salesforce's body."
    world.org.edit("Case", case["Id"], user="coordinator", Status="closed")
    world.holds("clinical_notes", note, "body", "Salesforce's body.")
    world.agrees({"clinical_notes": [note]})
    assert len(world.org.cases(f"clinical_notes/{note}")) == 1


def test_a_signed_note_is_final(world: World, known: tuple[str, str]) -> None:
    """Edited in Salesforce while it is signed in the OMS: reverted and logged. Later edits are refused at once."""
    _, account = known
    note, record = draft(world, account, Body__c="As signed.")
    with at_once(world):
        world.org.edit("Clinical_Note__c", record, user="clinician", Body__c="A minute too late.")
        world.oms.act("sign-note", note_id=note)
    world.shows("Clinical_Note__c", record, "Status__c", "signed")
    world.shows("Clinical_Note__c", record, "Body__c", "As signed.")
    assert [one["winner"] for one in until(lambda: world.conflicts(note, "clinical_notes"))] == ["oms"]
    with pytest.raises(Refused):
        world.org.edit("Clinical_Note__c", record, user="clinician", Body__c="Never.")


def test_patients_merged_in_the_oms(world: World, known: tuple[str, str], shop: dict[str, Row]) -> None:
    survivor, _ = known
    loser = world.patient()
    loser_account = world.account(loser)
    order, _ = shipped(world, loser["id"], shop)
    world.oms.act("merge-patients", survivor_id=survivor, loser_id=loser["id"])
    world.shows("Account", loser_account, "Patient_Status__pc", "merged")
    rows = world.rows_of(survivor)
    assert order in rows["orders"]
    world.agrees(rows)


def test_patients_merged_in_salesforce(world: World, known: tuple[str, str], shop: dict[str, Row]) -> None:
    """The loser is never written again; what the OMS still hangs on him goes to the winner; a Case asks for the merge there."""
    winner, account = known
    loser = world.patient()
    loser_account = world.account(loser)
    order, record = shipped(world, loser["id"], shop)
    world.org.merge(account, loser_account)
    [case] = until(lambda: world.org.cases(f"patients/{loser['id']}"))
    assert winner in case["Description"]
    world.shows("Order", record, "AccountId", account)
    world.oms.patch("patients", loser["id"], preferred_name="Ghost")
    world.oms.act("deliver-shipment", shipment_id=world.oms.rows("shipments", order_id=order)[0]["id"])
    world.shows("Order", record, "Status", "delivered")
    world.quiet()
    assert world.org.find("Account", loser["id"]) is None
    assert world.field("Order", record, "AccountId") == account
    shipment = until(lambda: world.org.query(f"SELECT Patient__c, Status__c FROM Shipment__c WHERE Order__c = '{record}'"))[0]
    assert (shipment["Patient__c"], shipment["Status__c"]) == (account, "delivered")


def test_none_of_this_needed_an_engineer(world: World) -> None:
    world.quiet()
    assert world.buried() == {}
