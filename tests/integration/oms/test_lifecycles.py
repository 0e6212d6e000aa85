"""The actions produce what the 22 lifecycle emails wait for. Each test is named after its flow's trigger."""

from __future__ import annotations

import datetime
from typing import Any

from .conftest import Oms, Row


def changes(oms: Oms, row: Row, column: str) -> list[tuple[Any, Any]]:
    """(old, new) of a column over the row's updates."""
    return [
        (event["data"]["old"][column], event["data"]["row"][column]) for event in oms.events(row["id"]) if column in event["data"]["old"]
    ]


def reviewed_order(oms: Oms) -> tuple[Row, Row, Row]:
    """-> consultation, paid order in review, drug."""
    patient, drug = oms.patient(), oms.drug()
    consultation = oms.act("start-intake", patient_id=patient["id"], vertical="derm")["consultations"][0]
    items = [{"product_id": drug["id"]}]
    order = oms.act("place-order", patient_id=patient["id"], consultation_id=consultation["id"], items=items)["orders"][0]
    order = oms.act("pay-order", order_id=order["id"])["orders"][0]
    assert order["status"] == "pending_review"
    return consultation, order, drug


def test_1_a_patient_registers_and_verifies_the_address(oms: Oms) -> None:
    rows = oms.act("register-patient", first_name="Ada", last_name="Byron", email="a@example.com", marketing_opt_in=True)
    patient = rows["patients"][0]
    assert oms.events(patient["id"])[0]["type"].endswith("patients.created")
    assert {row["consent_type"] for row in rows["patient_consents"]} == {"hipaa_npp", "telehealth", "email_marketing"}
    oms.act("verify-email", patient_id=patient["id"])
    ((before, after),) = changes(oms, patient, "email_verified_at")
    assert before is None and after


def test_2_an_intake_is_started_and_submitted(oms: Oms) -> None:
    intake = oms.act("start-intake", patient_id=oms.patient()["id"], vertical="derm")["intake_responses"][0]
    assert intake["submitted_at"] is None
    rows = oms.act("submit-intake", intake_id=intake["id"], answers={"smoker": "no", "n": [1, 2.5]}, bmi="23.5")
    assert rows["intake_responses"][0]["answers"] == {"smoker": "no", "n": [1, 2.5]}
    assert rows["consultations"][0]["status"] == "queued"
    oms.refuse("submit-intake", intake_id=intake["id"], answers={})


def test_3_an_order_is_placed_with_its_total_and_address(oms: Oms) -> None:
    patient = oms.patient(shipping_address={"line1": "1 Elm St", "city": "Austin", "recipient_name": "Ada"})
    items = [{"product_id": oms.product()["id"], "quantity": 2}]
    rows = oms.act("place-order", patient_id=patient["id"], items=items, shipping_cents=500, discount_cents=100, tax_cents=7)
    order = rows["orders"][0]
    assert (order["total_cents"], order["ship_city"], order["status"]) == (5407, "Austin", "pending_payment")
    ((before, after),) = changes(oms, order, "placed_at")
    assert before is None and after
    assert (rows["payments"][0]["status"], rows["payments"][0]["amount_cents"]) == ("requires_payment_method", 5407)


def test_4_and_11_holds_say_what_is_waited_for(oms: Oms) -> None:
    _, order, _ = reviewed_order(oms)
    for action, done, reason in (
        ("require-identity-photo", "receive-identity-photo", "identity_photo"),
        ("hold-for-coverage", "resolve-coverage", "prior_authorization"),
    ):
        extra = {"reason": reason} if action == "hold-for-coverage" else {}
        held = oms.act(action, order_id=order["id"], **extra)["orders"][0]
        assert (held["status"], held["hold_reason"]) == ("on_hold", reason)
        released = oms.act(done, order_id=order["id"])["orders"][0]
        assert (released["status"], released["hold_reason"]) == ("pending_review", None)
    assert oms.get("patients", order["patient_id"])["identity_verified_at"]


def test_5_and_6_a_visit_is_booked_moved_and_cancelled(oms: Oms) -> None:
    body = {"patient_id": oms.patient()["id"], "provider_id": oms.provider()["id"]}
    visit = oms.act("book-consultation", **body, scheduled_at="2030-01-01T10:00:00Z")["consultations"][0]
    assert (visit["status"], visit["scheduled_at"]) == ("scheduled", "2030-01-01T10:00:00.000000Z")
    oms.act("move-consultation", consultation_id=visit["id"], scheduled_at="2030-01-02T10:00:00+02:00")
    assert changes(oms, visit, "scheduled_at")[-1] == ("2030-01-01T10:00:00.000000Z", "2030-01-02T08:00:00.000000Z")
    assert oms.act("cancel-consultation", consultation_id=visit["id"])["consultations"][0]["status"] == "cancelled"
    oms.refuse("move-consultation", consultation_id=visit["id"], scheduled_at="2030-01-03T10:00:00Z")


def test_7_a_message_is_sent_and_read(oms: Oms) -> None:
    message = oms.act("send-provider-message", patient_id=oms.patient()["id"], body="Hello")["communications"][0]
    assert (message["channel"], message["direction"], message["delivery_status"]) == ("portal", "outbound", "delivered")
    oms.act("read-message", communication_id=message["id"])
    assert changes(oms, message, "delivery_status") == [("delivered", "opened")]


def test_8_an_approval_activates_a_prescription_and_its_order(oms: Oms) -> None:
    consultation, _, drug = reviewed_order(oms)
    decision = {"consultation_id": consultation["id"], "decision": "approve", "provider_id": oms.provider()["id"]}
    rows = oms.act("decide", **decision, product_id=drug["id"], refills=1)
    prescription = rows["prescriptions"][0]
    assert [new for _, new in changes(oms, prescription, "status")] == ["ready_to_sign", "active"]
    assert (rows["consultations"][0]["status"], rows["orders"][0]["status"]) == ("completed", "approved")
    assert rows["order_items"][0]["prescription_id"] == prescription["id"]
    oms.refuse("decide", **decision, product_id=drug["id"])


def test_9_a_decline_declines_the_order_and_gives_the_money_back(oms: Oms) -> None:
    consultation, _, _ = reviewed_order(oms)
    rows = oms.act("decide", consultation_id=consultation["id"], decision="decline", reason="interaction")
    assert rows["consultations"][0]["decline_reason"] == "interaction"
    assert (rows["orders"][0]["status"], rows["refunds"][0]["status"]) == ("declined", "succeeded")


def test_10_a_pharmacy_accepts(oms: Oms) -> None:
    order = oms.filling_order()
    assert changes(oms, order, "status")[-1] == ("placed", "filling")


def test_12_each_failed_attempt_to_pay_is_told(oms: Oms) -> None:
    order = oms.placed_order()
    payment = oms.act("fail-payment", order_id=order["id"], failure_code="insufficient_funds")["payments"][0]
    oms.act("fail-payment", order_id=order["id"])
    assert changes(oms, payment, "status") == [("requires_payment_method", "processing"), ("processing", "requires_payment_method")] * 2
    paid = oms.act("pay-order", order_id=order["id"])
    assert (paid["payments"][0]["status"], paid["orders"][0]["status"]) == ("succeeded", "approved")


def test_13_a_delay_carries_the_new_date(oms: Oms) -> None:
    order = oms.filling_order()
    held = oms.act("hold-order", order_id=order["id"], reason="stock", expected_on="2030-02-01")["orders"][0]
    assert (held["status"], held["hold_reason"], held["expected_on"]) == ("on_hold", "stock", "2030-02-01")
    assert oms.act("release-order", order_id=order["id"])["orders"][0]["status"] == "filling"
    failed = oms.act("fail-order", order_id=order["id"], reason="pharmacy_rejected", expected_on="2030-03-01")["orders"][0]
    assert (failed["status"], failed["expected_on"]) == ("error", "2030-03-01")
    assert oms.act("retry-order", order_id=order["id"])["orders"][0]["status"] == "placed"


def test_14_15_and_16_a_parcel_travels(oms: Oms) -> None:
    order = oms.filling_order()
    shipped = oms.act("ship-order", order_id=order["id"], carrier="ups", estimated_delivery_on="2030-01-05")
    parcel = shipped["shipments"][0]
    assert (parcel["status"], parcel["tracking_status"]) == ("handed_over", "pre_transit") and parcel["shipped_at"]
    oms.act("record-scan", shipment_id=parcel["id"], city="Reno")
    oms.act("record-exception", shipment_id=parcel["id"], estimated_delivery_on="2030-01-07")
    delivered = oms.act("deliver-shipment", shipment_id=parcel["id"])
    assert [new for _, new in changes(oms, parcel, "tracking_status")] == ["pre_transit", "in_transit", "failure", "delivered"]
    assert (delivered["shipments"][0]["estimated_delivery_on"], delivered["orders"][0]["status"]) == ("2030-01-07", "delivered")
    assert oms.act("complete-order", order_id=order["id"])["orders"][0]["status"] == "completed"
    assert oms.act("return-shipment", shipment_id=parcel["id"])["orders"][0]["status"] == "returned"


def test_scans_come_late_and_twice_and_the_newest_counts(oms: Oms) -> None:
    parcel = oms.act("ship-order", order_id=oms.filling_order()["id"])["shipments"][0]
    body = {"shipment_id": parcel["id"], "source_event_key": parcel["id"] + "/1"}
    oms.act("record-scan", **body, tracking_status="out_for_delivery", occurred_at="2030-01-02T00:00:00Z")
    oms.act("record-scan", **body, tracking_status="out_for_delivery", occurred_at="2030-01-02T00:00:00Z")
    oms.act("record-scan", shipment_id=parcel["id"], tracking_status="in_transit", occurred_at="2030-01-01T00:00:00Z")
    assert oms.get("shipments", parcel["id"])["tracking_status"] == "out_for_delivery"
    assert len(oms.http.get("/v1/shipment_events", params={"shipment_id": parcel["id"]}).json()["items"]) == 2
    oms.act("record-scan", shipment_id=parcel["id"], tracking_status="delivered", occurred_at="2030-01-01T12:00:00Z")
    oms.act("record-scan", shipment_id=parcel["id"], tracking_status="in_transit", occurred_at="2030-01-03T00:00:00Z")
    assert oms.get("shipments", parcel["id"])["tracking_status"] == "delivered"  # sticky


def test_a_part_of_the_lines_is_a_partial_shipment(oms: Oms) -> None:
    items = [{"product_id": oms.product()["id"]}, {"product_id": oms.product()["id"]}]
    order = oms.placed_order(items=items)
    oms.act("pay-order", order_id=order["id"])
    oms.act("accept-order", order_id=order["id"], pharmacy_id=oms.pharmacy()["id"])
    first = oms.act("ship-order", order_id=order["id"], line_numbers=[2])
    assert first["orders"][0]["status"] == "partially_shipped"
    second = oms.act("ship-order", order_id=order["id"])
    assert second["orders"][0]["status"] == "shipped"
    for shipment in (first["shipments"][0], second["shipments"][0]):
        assert oms.get("orders", order["id"])["status"] == "shipped"
        oms.act("deliver-shipment", shipment_id=shipment["id"])
    assert oms.get("orders", order["id"])["status"] == "delivered"


def test_17_a_paid_order_is_cancelled_or_refunded(oms: Oms) -> None:
    order = oms.placed_order()
    oms.act("pay-order", order_id=order["id"])
    part = oms.act("refund-order", order_id=order["id"], amount_cents=1000, kind="goodwill")
    assert part["payments"][0]["amount_refunded_cents"] == 1000
    oms.refuse("refund-order", order_id=order["id"], amount_cents=1501)
    cancelled = oms.act("cancel-order", order_id=order["id"])
    assert (cancelled["orders"][0]["status"], cancelled["refunds"][0]["amount_cents"]) == ("cancelled", 1500)
    assert cancelled["orders"][0]["cancelled_at"]
    oms.refuse("refund-order", order_id=order["id"])
    unpaid = oms.act("cancel-order", order_id=oms.placed_order()["id"])
    assert unpaid["payments"][0]["status"] == "canceled" and "refunds" not in unpaid


def test_18_20_21_and_22_supply_and_refills_run_out(oms: Oms) -> None:
    consultation, order, drug = reviewed_order(oms)
    decision = {"consultation_id": consultation["id"], "decision": "approve", "provider_id": oms.provider()["id"]}
    prescription = oms.act("decide", **decision, product_id=drug["id"], refills=1, days_supply=28)["prescriptions"][0]
    pharmacy = oms.pharmacy()["id"]

    def fill(order: Row) -> Row:
        oms.act("accept-order", order_id=order["id"], pharmacy_id=pharmacy)
        rows = oms.act("ship-order", order_id=order["id"])
        oms.act("deliver-shipment", shipment_id=rows["shipments"][0]["id"])
        return oms.get("prescriptions", prescription["id"])

    assert (fill(order)["refills_remaining"], oms.get("orders", order["id"])["status"]) == (1, "delivered")
    again = oms.act("place-order", patient_id=order["patient_id"], items=[{"product_id": drug["id"]}])["orders"][0]
    assert oms.act("pay-order", order_id=again["id"])["orders"][0]["status"] == "approved"  # the prescription is there
    used_up = fill(again)
    assert (used_up["refills_remaining"], used_up["status"]) == (0, "depleted")
    renewed = oms.act("renew-prescription", prescription_id=prescription["id"], refills=3)["prescriptions"][0]
    assert (renewed["replaces_rx_id"], renewed["status"], renewed["days_supply"]) == (prescription["id"], "active", 28)
    assert renewed["expires_on"] > datetime.datetime.now(datetime.UTC).date().isoformat()


def test_19_a_subscriptions_next_order_moves(oms: Oms) -> None:
    body = {"patient_id": oms.patient()["id"], "product_id": oms.product()["id"], "interval_days": 30}
    subscription = oms.act("start-subscription", **body)["subscriptions"][0]
    skipped = oms.act("skip-next-order", subscription_id=subscription["id"])["subscriptions"][0]
    assert changes(oms, subscription, "next_order_on") == [(subscription["next_order_on"], skipped["next_order_on"])]
    refilled = oms.act("refill-subscription", subscription_id=subscription["id"])
    assert (refilled["orders"][0]["order_type"], refilled["orders"][0]["status"]) == ("refill", "approved")
    failed = oms.act("refill-subscription", subscription_id=subscription["id"], paid=False)
    assert (failed["subscriptions"][0]["status"], failed["payments"][0]["failure_code"]) == ("past_due", "card_declined")
    oms.act("pause-subscription", subscription_id=subscription["id"])
    oms.refuse("refill-subscription", subscription_id=subscription["id"])
    assert oms.act("resume-subscription", subscription_id=subscription["id"])["subscriptions"][0]["status"] == "active"
    ended = oms.act("cancel-subscription", subscription_id=subscription["id"])["subscriptions"][0]
    assert (ended["status"], ended["next_order_on"]) == ("cancelled", None)


def test_unsubscribing_clears_the_opt_in_and_revokes_the_consent(oms: Oms) -> None:
    patient = oms.patient()
    oms.act("grant-consent", patient_id=patient["id"], consent_type="email_marketing")
    assert oms.get("patients", patient["id"])["marketing_opt_in"] is True
    rows = oms.act("unsubscribe", patient_id=patient["id"])
    assert rows["patients"][0]["marketing_opt_in"] is False
    assert rows["patient_consents"][0]["revoked_at"]
    oms.act("grant-consent", patient_id=patient["id"], consent_type="sms")
    assert oms.act("revoke-consent", patient_id=patient["id"], consent_type="sms")["patients"][0]["sms_opt_in"] is False


def test_an_action_that_is_refused_leaves_nothing_behind(oms: Oms) -> None:
    patient = oms.patient()
    items = [{"product_id": oms.product()["id"]}]
    oms.refuse("place-order", patient_id=patient["id"], items=items, discount_cents=99_999)
    assert oms.http.get("/v1/orders", params={"patient_id": patient["id"]}).json()["items"] == []


def test_an_action_under_a_key_is_performed_once(oms: Oms) -> None:
    patient = oms.patient()
    body = {"patient_id": patient["id"], "items": [{"product_id": oms.product()["id"]}]}
    answers = [oms.http.post("/v1/actions/place-order", json=body, headers={"Idempotency-Key": "k" + patient["id"]}) for _ in range(2)]
    assert answers[0].text == answers[1].text
    assert len(oms.http.get("/v1/orders", params={"patient_id": patient["id"]}).json()["items"]) == 1


def test_every_actions_example_fits_its_schema(oms: Oms) -> None:
    """The example ids exist nowhere: 404 or a refusal, never a schema fault."""
    paths: dict[str, Any] = oms.http.get("/openapi.json").json()["paths"]
    actions = {path: item["post"] for path, item in paths.items() if path.startswith("/v1/actions/")}
    assert len(actions) >= 50
    for path, operation in actions.items():
        example = operation["requestBody"]["content"]["application/json"]["example"]
        answer = oms.http.post(path, json=example)
        assert "does not fit the schema" not in answer.text, path
        assert answer.status_code in (200, 404, 422), path
