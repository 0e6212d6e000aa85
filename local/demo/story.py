"""The steps of the demo, in order. Each does something with the public APIs and observes the other side; nothing is known before it is seen.

A step that can't see what was promised raises PromiseBroken; the demo tells it, goes on, and ends with an error.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from local.demo.journal import PromiseBroken
from local.demo.stage import Stage
from local.demo.systems import Row

#: zones of the demo's patients, looked through for one where it is day
ZONES = ("America/New_York", "America/Los_Angeles", "Pacific/Honolulu", "Pacific/Guam", "Europe/Athens")
ADDRESS = {
    "recipient_name": "Maya Whitfield",
    "line1": "418 Larkspur Ln",
    "line2": "Apt 7",
    "city": "Austin",
    "state_code": "TX",
    "postal_code": "78704",
}
MOVED = {
    "PersonMailingStreet": "2200 Bayview Rd",
    "PersonMailingCity": "Portland",
    "PersonMailingState": "OR",
    "PersonMailingPostalCode": "97205",
}
NOTE = "Spoke with the patient by phone: tolerating treatment well, no side effects. Follow-up in four weeks."


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `needs` names what earlier steps must have left in the story."""

    name: str
    title: str
    run: Callable[[Stage], None]
    needs: tuple[str, ...] = ()

    def perform(self, stage: Stage) -> None:
        """Run it, if earlier steps have left what it needs."""
        if lacking := [name for name in self.needs if not getattr(stage.story, name)]:
            raise PromiseBroken(f"could not be tried: an earlier step left no {', '.join(lacking)}")
        self.run(stage)


STORY: list[Step] = []


def step(title: str, *needs: str) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Register a function as the next step."""

    def register(function: Callable[[Stage], None]) -> Callable[[Stage], None]:
        STORY.append(Step(function.__name__, title, function, needs))
        return function

    return register


# ------------------------------------------------------------------------------------------------ from the OMS to Salesforce


@step("A company: a provider, a pharmacy, two products")
def company(stage: Stage) -> None:
    tag = uuid.uuid4().hex[:6]
    create = stage.oms.create
    npi = str(1_000_000_000 + int(tag, 16))
    made = {
        "pharmacies": create(
            "pharmacies", name="Cedar Mail Pharmacy", pharmacy_type="mail_order", ships_to_states=["TX", "OR"], phone="+15125550100"
        ),
        "providers": create("providers", npi=npi, first_name="Lena", last_name="Okafor"),
        "drug": create(
            "products",
            sku=f"RX-{tag}",
            name="Tretinoin 0.05 % cream",
            product_type="rx_drug",
            requires_prescription=True,
            list_price_cents=4_995,
        ),
        "supply": create(
            "products", sku=f"OTC-{tag}", name="Gentle moisturiser", product_type="otc", requires_prescription=False, list_price_cents=1_250
        ),
    }
    rows = {"pharmacies": [made["pharmacies"]], "providers": [made["providers"]], "products": [made["drug"], made["supply"]]}
    seconds = stage.follow(rows, "the company")
    stage.story.catalogue = made
    stage.fact("pharmacy, provider and products are in Salesforce, prices in the standard price book", seconds, "oms_to_salesforce")


@step("A patient registers")
def registers(stage: Stage) -> None:
    written = stage.oms.act(
        "register-patient",
        first_name="Maya", last_name="Whitfield", email="maya.whitfield@example.com", phone_e164="+15125550123", date_of_birth="1990-05-17",
        time_zone=daytime_zone(datetime.now(UTC)), sms_opt_in=True, marketing_opt_in=True, shipping_address=ADDRESS,
    )  # fmt: skip
    patient = written["patients"][0]
    seconds = stage.follow(written, "the patient")
    account = stage.shown("Account", patient["id"], "Name, Patient_Number__pc, PersonMailingCity")
    stage.story.patient, stage.story.account = patient, str(account["Id"])
    consents = len(written["patient_consents"])
    text = f"Account “{account['Name']}”, {account['Patient_Number__pc']}, {account['PersonMailingCity']}, with {consents} consents"
    stage.fact(text, seconds, "oms_to_salesforce")
    verified = stage.oms.act("verify-email", patient_id=patient["id"])
    stage.fact("her e-mail address is verified", stage.follow(verified, "the verification"), "oms_to_salesforce")


@step("She is seen", "patient")
def is_seen(stage: Stage) -> None:
    patient, act = _patient(stage), stage.oms.act
    intake = act("start-intake", patient_id=patient["id"], vertical="derm", questionnaire_code="acne")
    consultation = intake["consultations"][0]["id"]
    stage.fact("an intake is open, a consultation waits for it", stage.follow(intake, "the intake"), "oms_to_salesforce")
    answers = {"since": "2 years", "allergies": ["penicillin"], "smoker": False}
    answered = act("submit-intake", intake_id=intake["intake_responses"][0]["id"], answers=answers, bmi="23.4")
    stage.fact("her answers", stage.follow(answered, "the answers"), "oms_to_salesforce")
    begun = act("start-consultation", consultation_id=consultation)
    seconds = stage.follow(begun, "the visit")
    shown = stage.shown("Consultation__c", consultation, "Name, Status__c")
    stage.story.consultation = consultation
    stage.fact(f"consultation {shown['Name']} is “{shown['Status__c']}”", seconds, "oms_to_salesforce")


@step("She is prescribed a treatment", "consultation", "catalogue")
def is_prescribed(stage: Stage) -> None:
    catalogue = stage.story.catalogue
    decided = stage.oms.act(
        "decide",
        consultation_id=stage.story.consultation, decision="approve", provider_id=catalogue["providers"]["id"],
        product_id=catalogue["drug"]["id"], pharmacy_id=catalogue["pharmacies"]["id"], sig="Apply a thin layer at night.", refills=2,
    )  # fmt: skip
    seconds = stage.follow(decided, "the prescription")
    stage.story.prescription = decided["prescriptions"][0]["id"]
    shown = stage.shown("Prescription__c", stage.story.prescription, "Name, Status__c, Refills_Allowed__c")
    text = f"prescription {shown['Name']} is “{shown['Status__c']}”, {shown['Refills_Allowed__c']:.0f} refills"
    stage.fact(text, seconds, "oms_to_salesforce")


@step("She orders", "patient", "prescription")
def orders(stage: Stage) -> None:
    catalogue = stage.story.catalogue
    items = [{"product_id": catalogue["drug"]["id"]}, {"product_id": catalogue["supply"]["id"], "quantity": 2}]
    patient = _patient(stage)["id"]
    placed = stage.oms.act("place-order", patient_id=patient, items=items, shipping_cents=500, tax_cents=123)
    stage.story.order = placed["orders"][0]["id"]
    seconds = stage.follow(placed, "the order")
    _tell_order(stage, seconds, ", with two lines and the payment asked for")


@step("She pays", "order")
def pays(stage: Stage) -> None:
    paid = stage.oms.act("pay-order", order_id=stage.story.order)
    seconds = stage.follow(paid, "the payment")
    payment = stage.shown("Payment__c", paid["payments"][0]["id"], "Status__c")
    stage.fact(f"the payment is “{payment['Status__c']}”", seconds, "oms_to_salesforce")
    _tell_order(stage, None)


@step("Her parcel is shipped", "order")
def is_shipped(stage: Stage) -> None:
    act, pharmacy = stage.oms.act, stage.story.catalogue["pharmacies"]["id"]
    stage.follow(act("accept-order", order_id=stage.story.order, pharmacy_id=pharmacy), "the pharmacy's yes")
    shipped = act("ship-order", order_id=stage.story.order, tracking_url="https://track.example.com/9400111899223197428490")
    stage.story.shipment = shipped["shipments"][0]["id"]
    seconds = stage.follow(shipped, "the parcel")
    parcel = stage.shown("Shipment__c", stage.story.shipment, "Name, Status__c, Tracking_Number__c")
    stage.fact(
        f"shipment {parcel['Name']} is “{parcel['Status__c']}”, tracking number {parcel['Tracking_Number__c']}",
        seconds,
        "oms_to_salesforce",
    )
    scanned = act("record-scan", shipment_id=stage.story.shipment, tracking_status="in_transit", city="Reno", state_code="NV")
    stage.fact("the carrier has scanned it in Reno", stage.follow(scanned, "the scan"), "oms_to_salesforce")


@step("She receives it", "shipment")
def receives(stage: Stage) -> None:
    delivered = stage.oms.act("deliver-shipment", shipment_id=stage.story.shipment)
    seconds = stage.follow(delivered, "the delivery")
    _tell_order(stage, seconds)


# ------------------------------------------------------------------------------------------------ from Salesforce to the OMS


@step("A coordinator changes her address in Salesforce", "account")
def moves(stage: Stage) -> None:
    stage.org.edit("Account", stage.story.account, **MOVED)
    since = time.monotonic()
    patient = _patient(stage)["id"]
    want = (MOVED["PersonMailingStreet"], MOVED["PersonMailingCity"], "OR")

    def address() -> tuple[object, ...]:
        held = stage.oms.get("patients", patient)["shipping_address"] or {}
        return held.get("line1"), held.get("city"), held.get("state_code")

    stage.until("the address: waiting for the OMS", address, lambda found: found == want)
    stage.fact(f"the OMS ships to {want[0]}, {want[1]} from now on", stage.saw("salesforce_to_oms", since), "salesforce_to_oms")


@step("A clinician writes a note in Salesforce", "account")
def writes_a_note(stage: Stage) -> None:
    record = {"Patient__c": stage.story.account, "Type__c": "phone", "Title__c": "Check-in call", "Body__c": NOTE}
    note = stage.org.create("Clinical_Note__c", user="clinician", **record)
    since = time.monotonic()
    patient = _patient(stage)["id"]

    def notes() -> list[Row]:
        return [row for row in stage.oms.rows("clinical_notes", patient_id=patient) if row["body"] == NOTE]

    found = stage.until("the note: waiting for the OMS", notes)
    stage.fact(f"the OMS has the note, as a {found[0]['status']}", stage.saw("salesforce_to_oms", since), "salesforce_to_oms")
    soql = f"SELECT OMS_Id__c, OMS_Version__c FROM Clinical_Note__c WHERE Id = '{note}'"
    linked = stage.until("the note's OMS id", lambda: stage.org.query(soql)[0], lambda record: record["OMS_Version__c"])
    if linked["OMS_Id__c"] != found[0]["id"] or len(found) != 1:
        raise PromiseBroken("the note is not one row under one id")
    stage.fact("one row, one record, one id on both sides")


# ------------------------------------------------------------------------------------------------------------ both at once

PHONE_OMS, PHONE_SALESFORCE = "+15125550199", "+15035550177"


@step("Both sides change the same phone number at once", "account")
def both_at_once(stage: Stage) -> None:
    patient = _patient(stage)["id"]
    oms, org = stage.systems.oms(), stage.systems.org()
    oms.get("patients", patient), org.query("SELECT Id FROM Organization")  # logged in, so that neither is late
    with ThreadPoolExecutor(2) as pool:
        there = pool.submit(oms.patch, "patients", patient, phone_e164=PHONE_OMS)
        here = pool.submit(org.edit, "Account", stage.story.account, PersonMobilePhone=PHONE_SALESFORCE)
        row, _ = there.result(), here.result()
    since = time.monotonic()
    stamps = json.loads(stage.shown("Account", patient, "Sync_Stamps__c")["Sync_Stamps__c"] or "{}")
    if "PersonMobilePhone" not in stamps:
        raise PromiseBroken("Salesforce does not say when the coordinator changed the number")
    in_oms = datetime.fromisoformat(row["edited_at"]["phone_e164"])
    in_salesforce = _moment(stamps["PersonMobilePhone"][1])
    apart = abs((in_oms - in_salesforce).total_seconds())
    later, winner = ("the OMS", PHONE_OMS) if in_oms >= in_salesforce else ("Salesforce", PHONE_SALESFORCE)
    stage.fact(f"two different numbers, {apart * 1000:.0f} ms apart; the later was {later}'s")

    def numbers() -> set[str]:
        return {
            str(stage.oms.get("patients", patient)["phone_e164"]),
            _digits(stage.shown("Account", patient, "PersonMobilePhone")["PersonMobilePhone"]),
        }

    seen = stage.until("the conflict: waiting for both sides to agree", numbers, lambda both: len({_digits(one) for one in both}) == 1)
    seconds = time.monotonic() - since
    if _digits(next(iter(seen))) != _digits(winner):
        raise PromiseBroken("both sides agree, but not on the later number, as policy `latest` says")
    stage.fact("both show the later one, as policy “latest” says", seconds)
    entries = stage.until("the conflict's log entry", lambda: stage.systems.conflicts(f"patients/{patient}"))
    stage.journal.summary["sync"] = {"conflicts": len(entries)}
    entry = entries[0]
    loser = "Salesforce" if entry["winner"] == "oms" else "the OMS"
    stage.fact(f"the conflict is logged: field {entry['unit']}, policy {entry['policy']}, {loser} lost")


# --------------------------------------------------------------------------------------------------------------- shorthands


def daytime_zone(now: datetime) -> str:
    """A zone in which it is day and stays so for some hours: emails wait for the morning otherwise."""
    return next((zone for zone in ZONES if 9 <= now.astimezone(ZoneInfo(zone)).hour < 18), ZONES[0])


def _patient(stage: Stage) -> Row:
    assert stage.story.patient is not None
    return stage.story.patient


def _tell_order(stage: Stage, seconds: float | None, more: str = "") -> None:
    shown = stage.shown("Order", stage.story.order, "OMS_Order_Number__c, Status, TotalAmount")
    text = f"order {shown['OMS_Order_Number__c']} is “{shown['Status']}”{more}"
    stage.fact(text, seconds, "oms_to_salesforce" if seconds is not None else None)


def _digits(phone: object) -> str:
    """A phone number's digits, its country's included: Salesforce may show it otherwise than it was written."""
    digits = "".join(one for one in str(phone) if one.isdigit())
    return digits if len(digits) != 10 else f"1{digits}"


def _moment(text: str) -> datetime:
    """A stamp's time: UTC, to the millisecond."""
    return datetime.fromisoformat(text if text.endswith("Z") else f"{text}Z")
