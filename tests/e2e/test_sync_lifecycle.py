"""A patient's whole way through the company, in the OMS: every mapped value of every row it leaves is in Salesforce, by pushes alone."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.world import Row, World

CLINICIAN = "clinician@omsync.example"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ADDRESS = {
    "recipient_name": "Ada Byron",
    "line1": "12 Elm St",
    "line2": "Apt 4",
    "city": "Austin",
    "state_code": "TX",
    "postal_code": "78701",
}


@pytest.fixture(scope="module")
def catalogue(world: World) -> dict[str, Row]:
    """A drug, a supply, a provider, a pharmacy, a member of staff: what the company has before patients come."""
    tag = uuid.uuid4().hex[:8]
    oms = world.oms
    staff = linked_staff(world, tag)
    pharmacy = oms.create(
        "pharmacies", name=f"Pharmacy {tag}", pharmacy_type="mail_order", ships_to_states=["TX", "CA"], phone="+15125550100"
    )
    provider = oms.create(
        "providers",
        npi=str(1_000_000_000 + int(tag, 16) % 999_999_999),
        first_name="Pat",
        last_name=f"Provider {tag}",
        staff_user_id=staff["id"],
    )
    drug = oms.create(
        "products", sku=f"RX-{tag}", name="Tretinoin 0.05 %", product_type="rx_drug", requires_prescription=True, list_price_cents=4_995
    )
    supply = oms.create(
        "products", sku=f"OTC-{tag}", name="Moisturiser", product_type="otc", requires_prescription=False, list_price_cents=1_250
    )
    return {"staff": staff, "pharmacy": pharmacy, "provider": provider, "drug": drug, "supply": supply}


def linked_staff(world: World, tag: str) -> Row:
    """A member of staff who is a user of the org too; linking the two is an administrator's, as after a hire."""
    user = world.org.query(f"SELECT Id, OMS_Id__c FROM User WHERE Username = '{CLINICIAN}'")[0]
    if known := user["OMS_Id__c"] and world.oms.get("staff_users", user["OMS_Id__c"]):
        return known
    staff_id = str(uuid.uuid4())
    world.org.edit("User", user["Id"], user="admin", OMS_Id__c=staff_id)
    return world.oms.create(
        "staff_users", id=staff_id, employee_no=f"E{tag}", full_name="Cleo Clinician", email=f"{tag}@staff.example.com", role="clinician"
    )


def visit(world: World, patient: Row, catalogue: dict[str, Row]) -> tuple[str, str]:
    """Intake, order, payment, the clinician's yes. -> (order, prescription)"""
    act = world.oms.act
    intake = act("start-intake", patient_id=patient["id"], vertical="derm", questionnaire_code="acne")
    consultation = intake["consultations"][0]["id"]
    answers = {"since": "2 years", "allergies": ["penicillin"], "smoker": False}
    act("submit-intake", intake_id=intake["intake_responses"][0]["id"], answers=answers, bmi="23.4")
    items = [{"product_id": catalogue["drug"]["id"]}, {"product_id": catalogue["supply"]["id"], "quantity": 2}]
    placed = act("place-order", patient_id=patient["id"], items=items, consultation_id=consultation, shipping_cents=500, tax_cents=123)
    order = placed["orders"][0]["id"]
    act("fail-payment", order_id=order)
    act("pay-order", order_id=order)
    decided = act(
        "decide",
        consultation_id=consultation,
        decision="approve",
        provider_id=catalogue["provider"]["id"],
        product_id=catalogue["drug"]["id"],
        pharmacy_id=catalogue["pharmacy"]["id"],
        refills=2,
    )
    return order, decided["prescriptions"][0]["id"]


def fulfil(world: World, order: str, catalogue: dict[str, Row]) -> None:
    """Pharmacy, parcel, scans, delivery, and a little money back."""
    act = world.oms.act
    act("accept-order", order_id=order, pharmacy_id=catalogue["pharmacy"]["id"])
    shipment = act("ship-order", order_id=order, tracking_url="https://track.example.com/1")["shipments"][0]["id"]
    act("record-scan", shipment_id=shipment, tracking_status="in_transit", city="Reno", state_code="NV")
    act("record-scan", shipment_id=shipment, tracking_status="out_for_delivery", city="Austin", state_code="TX")
    act("deliver-shipment", shipment_id=shipment)
    act("refund-order", order_id=order, amount_cents=500, kind="goodwill", reason="late")
    act("complete-order", order_id=order)


def care(world: World, patient: Row, order: str, prescription: str, catalogue: dict[str, Row]) -> None:
    """What else happens around a patient: history, notes, messages, a case, a plan with its refill, a booked visit."""
    act, oms = world.oms.act, world.oms
    oms.create("patient_conditions", patient_id=patient["id"], description="Acne vulgaris", icd10_code="L70.0")
    oms.create("patient_allergies", patient_id=patient["id"], substance="Penicillin", severity="severe")
    act("transmit-prescription", prescription_id=prescription)
    note = act("draft-note", patient_id=patient["id"], provider_id=catalogue["provider"]["id"], title="Visit", body="Line one\r\nline two ")
    act("sign-note", note_id=note["clinical_notes"][0]["id"])
    act("amend-note", note_id=note["clinical_notes"][0]["id"], body="Correction: left cheek.")
    act("send-provider-message", patient_id=patient["id"], subject="Your order", body="It is on its way.")
    act("receive-message", patient_id=patient["id"], channel="sms", body="Thanks \N{SMILING FACE WITH SMILING EYES}")
    sent = datetime.now(UTC).isoformat()
    email = {
        "from_address": "care@example.com",
        "to_address": patient["email"],
        "subject": "Shipped",
        "body_text": "Hello",
        "body_html": "<p>Hello</p>",
    }
    outbound = {"channel": "email", "direction": "outbound", "delivery_status": "sent", "sent_at": sent, "template_code": "shipped"}
    oms.create("communications", patient_id=patient["id"], **email, **outbound)
    case = act("open-case", patient_id=patient["id"], order_id=order, category="delivery", subject="Where is it?")["support_cases"][0]["id"]
    act("resolve-case", case_id=case, resolution="It came.")
    plan = act("start-subscription", patient_id=patient["id"], product_id=catalogue["drug"]["id"])["subscriptions"][0]["id"]
    act("refill-subscription", subscription_id=plan)
    act("pause-subscription", subscription_id=plan)
    at = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    act("book-consultation", patient_id=patient["id"], provider_id=catalogue["provider"]["id"], scheduled_at=at, vertical="derm")


def test_every_value_of_a_whole_life_arrives(world: World, catalogue: dict[str, Row]) -> None:
    patient = world.patient(
        shipping_address=ADDRESS, sms_opt_in=True, marketing_opt_in=True, phone_e164="+15125550123", date_of_birth="1990-05-17"
    )
    world.oms.act("verify-email", patient_id=patient["id"])
    order, prescription = visit(world, patient, catalogue)
    fulfil(world, order, catalogue)
    care(world, patient, order, prescription, catalogue)
    world.oms.act("revoke-consent", patient_id=patient["id"], consent_type="sms")
    rows = world.rows_of(patient["id"])
    rows |= {
        "products": [catalogue["drug"]["id"], catalogue["supply"]["id"]],
        "providers": [catalogue["provider"]["id"]],
        "pharmacies": [catalogue["pharmacy"]["id"]],
    }
    empty = {table for table, ids in rows.items() if not ids}
    assert not empty, f"the story leaves no row of {empty}"
    world.agrees(rows, seconds=90)
    world.quiet()
    assert world.differences(rows) == {}
    assert world.buried() == {}
