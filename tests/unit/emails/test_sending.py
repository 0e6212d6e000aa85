"""All 22 flows from the OMS's change to the email; each cancel condition; consent, quiet hours, caps, repeats, stale schedules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from omsync.emails import anchors, conditions, data
from omsync.emails.vocabulary import ANCHORS, CONDITIONS, VARIABLES
from tests.unit.emails.world import FLOWS, NOON, EmailWorld, Row, rendered, stamp

type Story = Callable[[EmailWorld, Row], Any]


def test_flows_and_code_use_the_same_names() -> None:
    assert set(anchors.BY_NAME) == ANCHORS
    assert set(conditions.BY_NAME) == CONDITIONS
    assert data.EXTRA_NAMES == VARIABLES
    assert {name for flow in FLOWS for name in flow.cancel_if} == CONDITIONS


def intake(world: EmailWorld, patient: Row) -> Row:
    visit = world.oms.add("consultations", patient_id=patient["id"], follow_up_of_id=None, status="awaiting_patient", scheduled_at=None)
    return world.oms.add("intake_responses", patient_id=patient["id"], consultation_id=visit["id"], submitted_at=None)


def visit_declined(world: EmailWorld, row: Row) -> None:
    world.oms.set("consultations", world.oms.tables["consultations"][row["consultation_id"]], status="declined")


def held(reason: str, **values: Any) -> Story:
    def story(world: EmailWorld, patient: Row) -> Row:
        return world.oms.set("orders", world.order(patient), status="on_hold", hold_reason=reason, **values)

    return story


def filling(world: EmailWorld, patient: Row) -> Row:
    return world.oms.set("orders", world.order(patient, status="placed"), status="filling")


def failed_payment(world: EmailWorld, patient: Row) -> Row:
    order = world.order(patient)
    values = {"patient_id": patient["id"], "order_id": order["id"], "amount_cents": 12840, "currency": "USD"}
    payment = world.oms.add("payments", **values, status="requires_payment_method")
    world.oms.set("payments", payment, status="processing")
    return world.oms.set("payments", payment, status="requires_payment_method")


def parcel(status: str) -> Story:
    return lambda world, patient: world.shipment(world.order(patient), tracking_status=status)


def cancelled_and_refunded(world: EmailWorld, patient: Row) -> Row:
    order = world.oms.set("orders", world.order(patient), status="cancelled", cancelled_at=stamp(world.clock.now()))
    refund(world, order)
    return order


def refund(world: EmailWorld, order: Row, kind: str = "refund") -> Row:
    row = world.oms.add("refunds", order_id=order["id"], payment_id="p", kind=kind, amount_cents=12840, currency="USD", status="pending")
    return world.oms.set("refunds", row, status="succeeded")


def delivered(world: EmailWorld, patient: Row) -> Row:
    return world.delivered_order(patient, world.prescription(patient))


#: flow -> (what happens, days until it is due, emails, a text in it)
STORIES: dict[str, tuple[Story, float, int, str]] = {
    "welcome-verify": (lambda world, patient: patient, 0, 1, "/email/verify?token="),
    "finish-intake": (intake, 1, 1, "Your answers are saved"),
    "order-confirmation": (lambda world, patient: world.order(patient), 0, 1, "Total: $128.40"),
    "identity-photo-needed": (held("identity_photo"), 3, 2, "photo of a government-issued ID"),
    "visit-booked": (lambda w, p: w.visit(p, NOON + timedelta(days=5)), 0, 1, "Saturday, March 7, 2026 at 12:00 PM CST"),
    "visit-reminder": (lambda w, p: w.visit(p, NOON + timedelta(days=5)), 4, 1, "Saturday, March 7, 2026 at 12:00 PM CST"),
    "secure-message": (lambda w, p: [w.message(p), w.message(p)], 0.02, 1, "You have 2 new messages"),
    "prescription-decision": (lambda w, p: w.prescription(p), 0, 1, "approved your plan"),
    "decision-next-steps": (lambda w, p: w.oms.set("consultations", w.visit(p, NOON), status="declined"), 0, 1, "next steps"),
    "pharmacy-processing": (filling, 0, 1, "accepted your order"),
    "coverage-cost-update": (held("copay"), 0, 1, "coverage or cost"),
    "payment-failed": (failed_payment, 3.1, 2, "Amount: $128.40"),
    "order-delayed": (held("stock", expected_on="2026-03-14"), 0, 1, "ship by March 14, 2026"),
    "order-shipped": (parcel("in_transit"), 0, 1, "Carrier: USPS"),
    "delivery-problem": (parcel("failure"), 0, 1, "Now expected: March 8, 2026"),
    "order-delivered": (delivered, 0, 1, "Your parcel was delivered"),
    "order-cancelled-refunded": (cancelled_and_refunded, 0, 1, "$128.40 will be back"),
    "treatment-check-in": (delivered, 10.1, 1, "how you are getting on"),
    "auto-refill-upcoming": (lambda w, p: w.subscription(p), 21.1, 1, "Order date: March 30, 2026"),
    "refill-due": (delivered, 31, 2, "Lasts until: April 1, 2026"),
    "renewal-visit-due": (lambda w, p: w.prescription(p), 340, 1, "book by: March 2, 2027"),
    "therapy-lapsed": (delivered, 45, 1, "Is everything all right?"),
}


def live(world: EmailWorld, flow: str, **patient: Any) -> tuple[Row, Any]:
    """The flow's story, its events pushed twice, as a redelivery does."""
    values = {"email_verified_at": None} if flow == "welcome-verify" else {}
    person = world.patient(**{**values, **patient})
    subject = STORIES[flow][0](world, person)
    events = list(world.oms.events)
    world.push()
    world.oms.events = events
    world.push()
    return person, subject


@pytest.mark.parametrize("flow", STORIES)
def test_each_flow_sends_exactly_once_with_its_data(flow: str) -> None:
    world = EmailWorld()
    person, _ = live(world, flow)
    _, days, emails, words = STORIES[flow]
    world.after(days=days)
    world.after(days=0.5)
    sent = world.sent(flow)
    assert len(sent) == emails, (world.skips.notes, world.results)
    assert words in rendered(sent[0])
    assert "Hello Zoë," in rendered(sent[0])
    logged = [row for row in world.oms.tables["communications"].values() if row.get("template_code") == FLOWS[flow].code]
    assert len(logged) == emails
    assert all(
        row["patient_id"] == person["id"] and row["delivery_status"] == "sent" and "token=" not in row["body_text"] for row in logged
    )
    assert {row["from_address"] for row in logged} == {"care@upscript.example"}
    assert (sent[0].unsubscribe_url is not None) == (FLOWS[flow].category != "transactional")
    assert not [result for result in world.results if result.fault is not None]


def test_all_flows_have_a_story() -> None:
    assert list(STORIES) == [flow.flow for flow in FLOWS]


def orders(**values: Any) -> Story:
    return lambda world, row: world.oms.set("orders", row, **values)


def change(table: str, **values: Any) -> Story:
    return lambda world, row: world.oms.set(table, row, **values)


def of_patient(world: EmailWorld, row: Row) -> Row:
    return world.oms.tables["patients"][row["patient_id"]]


def prescriptions_end(world: EmailWorld, row: Row) -> None:
    for prescription in list(world.oms.tables["prescriptions"].values()):
        world.oms.set("prescriptions", prescription, status="cancelled")


def read_messages(world: EmailWorld, rows: list[Row]) -> None:
    for row in rows:
        world.oms.set("communications", row, delivery_status="opened")


def join_plan(world: EmailWorld, row: Row) -> None:
    plan = world.subscription(of_patient(world, row))
    world.oms.set("orders", row, subscription_id=plan["id"])


def order_again(world: EmailWorld, row: Row) -> None:
    world.clock.pass_(timedelta(hours=1))
    world.order(of_patient(world, row))


def renew(world: EmailWorld, row: Row) -> None:
    world.prescription(of_patient(world, row), replaces_rx_id=row["id"])


def no_refill_left(world: EmailWorld, row: Row) -> None:
    for prescription in list(world.oms.tables["prescriptions"].values()):
        world.oms.set("prescriptions", prescription, refills_remaining=0)


def no_lines(world: EmailWorld, row: Row) -> None:
    for line in list(world.oms.tables["order_items"].values()):
        world.oms.set("order_items", line, prescription_id=None)


#: flow -> (what happens before it is sent, reason noted)
HOLDS: list[tuple[str, Story, str]] = [
    ("welcome-verify", change("patients", email_verified_at=stamp(NOON)), "already_verified"),
    ("finish-intake", change("intake_responses", submitted_at=stamp(NOON)), "submitted"),
    ("finish-intake", lambda w, row: w.oms.set("patients", of_patient(w, row), marketing_opt_in=False), "opted_out"),
    ("finish-intake", visit_declined, "visit_ended"),
    ("order-confirmation", orders(status="cancelled"), "order_cancelled"),
    ("identity-photo-needed", orders(status="approved", hold_reason=None), "photo_received"),
    ("visit-booked", change("consultations", status="cancelled"), "visit_not_ahead"),
    ("visit-reminder", change("consultations", status="cancelled"), "visit_not_ahead"),
    ("visit-reminder", change("consultations", status="completed"), "visit_not_ahead"),
    ("visit-reminder", change("consultations", scheduled_at=stamp(NOON + timedelta(days=9))), "moved"),
    ("secure-message", read_messages, "messages_read"),
    ("prescription-decision", change("prescriptions", status="replaced"), "prescription_superseded"),
    ("decision-next-steps", lambda w, row: w.oms.add("consultations", patient_id=row["patient_id"], follow_up_of_id=row["id"], status="requested",
                                                     scheduled_at=None), "decision_superseded"),
    ("pharmacy-processing", orders(status="shipped"), "left_pharmacy"),
    ("coverage-cost-update", orders(status="approved", hold_reason=None), "coverage_resolved"),
    ("payment-failed", change("payments", status="succeeded"), "payment_settled"),
    ("payment-failed", lambda w, row: w.oms.set("orders", w.oms.tables["orders"][row["order_id"]], status="cancelled"), "payment_settled"),
    ("order-delayed", orders(status="filling", hold_reason=None), "delay_resolved"),
    ("order-shipped", change("shipments", tracking_status="delivered"), "delivered"),
    ("delivery-problem", change("shipments", tracking_status="delivered"), "delivered"),
    ("treatment-check-in", prescriptions_end, "discontinued"),
    ("treatment-check-in", no_lines, "no_treatment"),
    ("auto-refill-upcoming", change("subscriptions", next_order_on="2026-04-30"), "moved"),
    ("auto-refill-upcoming", change("subscriptions", status="paused"), "plan_not_active"),
    ("refill-due", order_again, "ordered"),
    ("refill-due", prescriptions_end, "discontinued"),
    ("refill-due", join_plan, "on_plan"),
    ("refill-due", no_refill_left, "no_refills"),
    ("renewal-visit-due", renew, "renewed"),
    ("renewal-visit-due", change("prescriptions", status="cancelled"), "renewed"),
    ("renewal-visit-due", lambda w, row: w.visit(of_patient(w, row), NOON + timedelta(days=360)), "booked"),
    ("therapy-lapsed", order_again, "ordered"),
    ("therapy-lapsed", prescriptions_end, "discontinued"),
]  # fmt: skip


@pytest.mark.parametrize(("flow", "before", "reason"), HOLDS, ids=[f"{flow}-{reason}" for flow, _, reason in HOLDS])
def test_each_cancel_condition_holds_its_email_back(flow: str, before: Story, reason: str) -> None:
    """The state moves on after the event, before the email is looked at."""
    world = EmailWorld()
    values = {"email_verified_at": None} if flow == "welcome-verify" else {}
    subject = STORIES[flow][0](world, world.patient(**values))
    events, world.oms.events = world.oms.events, []
    if STORIES[flow][1]:
        world.lifecycle(events)
        world.work()  # planned: the schedules wait
        already = len(world.sent(flow))
        before(world, subject)
    else:
        already = 0
        before(world, subject)
        world.lifecycle(events)
    world.after(days=STORIES[flow][1])
    world.work()
    world.after(days=0.5)
    assert len(world.sent(flow)) == already
    assert reason in world.reasons(flow), world.skips.notes


def test_a_late_refund_has_an_email_of_its_own_and_a_chargeback_none() -> None:
    world = EmailWorld()
    _, order = live(world, "order-cancelled-refunded")
    world.after(days=3)
    refund(world, order)
    refund(world, order, kind="chargeback")
    world.push()
    assert len(world.sent("order-cancelled-refunded")) == 2
    assert world.reasons("order-cancelled-refunded") == ["refund_told", "chargeback"]


def test_nobody_lapsed_for_three_months_is_reminded() -> None:
    world = EmailWorld()
    live(world, "therapy-lapsed")
    world.clock.pass_(timedelta(days=140))
    world.after(days=1)
    assert world.sent("therapy-lapsed") == []
    assert "lapsed_too_long" in world.reasons("therapy-lapsed")


def test_a_visit_moved_away_and_back_gets_one_reminder() -> None:
    world = EmailWorld()
    ten, twelve = NOON + timedelta(days=5), NOON + timedelta(days=5, hours=2)
    visit = world.visit(world.patient(), ten)
    for at in (twelve, ten, twelve, ten):
        world.push()
        world.oms.set("consultations", visit, scheduled_at=stamp(at))
    world.push()
    world.after(days=6)
    assert len(world.sent("visit-reminder")) == 1
    assert len(world.sent("visit-booked")) == 1
    world.oms.set("consultations", visit, scheduled_at=stamp(twelve + timedelta(days=30)))
    world.oms.set("consultations", visit, scheduled_at=stamp(ten + timedelta(days=30)))
    world.push()
    world.after(days=40)
    assert len(world.sent("visit-reminder")) == 2


def test_what_is_due_already_is_sent_now() -> None:
    world = EmailWorld()
    world.visit(world.patient(), NOON + timedelta(hours=3))
    world.push()
    assert len(world.sent("visit-reminder")) == 1


def test_a_repeat_of_an_older_hold_is_superseded() -> None:
    world = EmailWorld()
    order = held("identity_photo")(world, world.patient())
    world.push()
    world.after(hours=30)
    world.oms.set("orders", order, status="approved", hold_reason=None)
    world.oms.set("orders", order, status="on_hold", hold_reason="identity_photo")
    world.push()
    world.after(hours=90)
    assert len(world.sent("identity-photo-needed")) == 3, "the first, the second and the second's repeat"
    assert world.reasons("identity-photo-needed").count("superseded") == 1


@pytest.mark.parametrize("origin", ["sweep", "migration", "reconciliation"])
def test_what_is_moved_is_no_news(origin: Any) -> None:
    world = EmailWorld()
    world.order(world.patient())
    world.oms.events = [message.model_copy(update={"origin": origin}) for message in world.oms.events]
    world.push()
    assert (world.bus, world.mailer.sent) == ([], [])


def test_history_written_into_the_oms_is_no_news() -> None:
    world = EmailWorld()
    world.patient(changed_by="migration:legacy")
    world.push()
    assert world.bus == []


def test_transitions_hold_no_values_of_the_person() -> None:
    world = EmailWorld()
    person = world.patient(first_name="Zebulon", email="zebulon@example.com")
    held("the patient Zebulon called")(world, person)
    world.push()
    told = str([item.detail() for item in world.bus])
    assert "Zebulon" not in told
    assert "zebulon@" not in told
    assert "'hold_reason': 'other'" in told


# ------------------------------------------------------------------------------------------------------- who and when
@pytest.mark.parametrize(
    ("values", "flow", "reason"),
    [
        ({"email": None}, "order-confirmation", "no_address"),
        ({"email": "not an address"}, "order-confirmation", "no_address"),
        ({"email_verified_at": None}, "order-confirmation", "unverified"),
        ({"status": "deceased"}, "order-confirmation", "patient_deceased"),
        ({"status": "merged"}, "order-confirmation", "patient_merged"),
        ({"status": "blocked"}, "treatment-check-in", "patient_blocked"),
        ({"marketing_opt_in": False}, "finish-intake", "opted_out"),
    ],
)
def test_who_is_not_written_to(values: dict[str, Any], flow: str, reason: str) -> None:
    world = EmailWorld()
    live(world, flow, **values)
    world.after(days=11)
    assert world.sent(flow) == []
    assert reason in world.reasons(flow)


def test_a_suppressed_address_gets_nothing_and_a_clinical_email_a_case() -> None:
    world = EmailWorld()
    world.suppressions.add("Zoe@Example.com", "bounce")
    live(world, "visit-booked")
    assert world.sent("visit-booked") == []
    assert "suppressed_bounce" in world.reasons("visit-booked")
    assert [kind for kind, _, _ in world.cases.opened] == ["email_undeliverable"]


@pytest.mark.parametrize(("opted_in", "consents", "emails"), [(False, [], 1), (True, [], 1), (False, [(True, True)], 0), (False, [(False, False)], 0),
                                                              (False, [(True, True), (True, False)], 1)])  # fmt: skip
def test_refill_emails_need_no_consent_but_stop_after_unsubscribing(opted_in: bool, consents: list[tuple[bool, bool]], emails: int) -> None:
    world = EmailWorld()
    person, _ = live(world, "treatment-check-in", marketing_opt_in=opted_in)
    for day, (granted, revoked) in enumerate(consents):
        at = stamp(NOON + timedelta(days=day))
        values = {"consent_type": "email_marketing", "granted": granted, "granted_at": at, "revoked_at": at if revoked else None}
        world.oms.add("patient_consents", patient_id=person["id"], **values)
    world.after(days=11)
    assert len(world.sent("treatment-check-in")) == emails
    assert world.reasons("treatment-check-in") == ([] if emails else ["unsubscribed"])


def test_quiet_hours_postpone_to_eight_in_the_patients_zone() -> None:
    world = EmailWorld()
    world.clock.at = NOON.replace(hour=3) + timedelta(days=1)  # 21:00 in Chicago
    live(world, "finish-intake", time_zone="America/Los_Angeles")  # 19:00 there
    world.after(hours=25)
    assert len(world.sent("finish-intake")) == 1
    world = EmailWorld()
    world.clock.at = NOON.replace(hour=3) + timedelta(days=1)
    live(world, "finish-intake", time_zone=None)  # the company's
    world.after(hours=24.5)
    assert world.sent("finish-intake") == []
    world.after(hours=10.4)
    assert world.sent("finish-intake") == []
    world.after(hours=0.2)
    assert len(world.sent("finish-intake")) == 1, "at 08:00, not before"


def test_transactional_emails_know_no_quiet_hours() -> None:
    world = EmailWorld()
    world.clock.at = NOON.replace(hour=8)
    live(world, "order-confirmation")
    assert len(world.sent("order-confirmation")) == 1


def test_one_marketing_or_refill_email_a_day() -> None:
    world = EmailWorld()
    person = world.patient()
    intake(world, person)
    intake(world, person)
    world.push()
    world.after(days=1.1)
    assert len(world.sent("finish-intake")) == 1
    assert world.reasons("finish-intake") == ["capped"]


def test_the_cap_counts_the_day_of_sending() -> None:
    """Two emails due on two days, both held up by an outage: the patient gets one of them, not both at once."""
    world = EmailWorld()
    person = world.patient()
    for _ in range(2):
        intake(world, person)
        world.push()
        world.clock.pass_(timedelta(days=1))
    world.clock.pass_(timedelta(days=2))
    world.after(hours=1)
    assert len(world.sent("finish-intake")) == 1
    assert world.reasons("finish-intake") == ["capped"]


def test_marketing_stops_before_ses_reviews_the_account() -> None:
    world = EmailWorld()
    world.reputation.bad = True
    live(world, "finish-intake")
    world.after(days=2)
    assert world.reasons("finish-intake") == ["reputation"]


@pytest.mark.parametrize("flow", STORIES)
def test_a_batch_is_read_in_the_same_few_calls_whatever_its_size(flow: str) -> None:
    """Planned and sent; every row that a flow's questions look at is read with its neighbours' (omsync.emails.needs)."""

    def reads(number: int) -> list[str]:
        world = EmailWorld()
        for _ in range(number):
            values = {"email_verified_at": None} if flow == "welcome-verify" else {}
            STORIES[flow][0](world, world.patient(marketing_opt_in=FLOWS[flow].category == "marketing", **values))
        world.lifecycle(world.oms.events)
        world.queue = [job for job in world.queue if job.flow == flow]
        world.oms.calls = []
        world.work()
        planned = [(at, job) for at, job in world.schedules.jobs.values()]
        if planned:
            world.clock.at = max(at for at, _ in planned)
            world.queue = [job for _, job in planned]
            world.work()
        assert len(world.sent(flow)) >= number
        return [call for call in world.oms.calls if not call.startswith("create")]

    few, many = reads(2), reads(20)
    assert few == many
    assert len(many) <= 20


def test_calls_per_email() -> None:
    """A burst: reads in batches, two calls an email."""
    world = EmailWorld()
    for number in range(200):
        world.order(world.patient(email=f"p{number}@example.com"))
    world.lifecycle([event for event in world.oms.events if event.table == "orders"])
    world.oms.events, world.oms.calls = [], []
    world.work()
    assert len(world.sent("order-confirmation")) == 200
    writes = [call for call in world.oms.calls if not call.startswith("batch-get")]
    assert len(writes) + len(world.mailer.sent) <= 2 * 200
    assert len(world.oms.calls) - len(writes) <= 2
