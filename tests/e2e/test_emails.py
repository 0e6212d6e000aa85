"""The lifecycle emails on the whole stack: the OMS is driven by its actions, time by its schedules, and the mailbox shows what came of it.

One patient a story. A story that is to send runs live; one that is to be held back runs while the pushes are paused, so that the state has
moved on before the email is looked at. Emails about a day in the patient's life are tried where it is day now.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from omsync.emails.flows import load_flows
from tests.e2e.conftest import Stack
from tests.e2e.world import Oms, Row
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(900)]

ZONES = ("America/Chicago", "Asia/Kolkata", "Pacific/Auckland", "Europe/Berlin")
FLOWS = load_flows()


def daytime() -> str:
    """A zone where it is neither early nor late: no quiet hours stand in the way."""
    return next(zone for zone in ZONES if 9 <= datetime.now(ZoneInfo(zone)).hour < 20)


@dataclass
class Clinic:
    """Patients and what happens to them, and the mailbox."""

    stack: Stack
    oms: Oms
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    zone: str = field(default_factory=daytime)

    def __post_init__(self) -> None:
        self.product = self.oms.create(
            "products", sku=f"SKU-{self.run}", name="Treatment", product_type="rx_drug", requires_prescription=True, list_price_cents=12840
        )["id"]
        self.plain = self.oms.create("products", sku=f"OTC-{self.run}", name="Supply", product_type="otc", list_price_cents=4900)["id"]
        npi = str(int(self.run, 16) % 10**10).zfill(10)
        self.provider = self.oms.create("providers", npi=npi, first_name="Pat", last_name="Lee")["id"]
        self.pharmacy = self.oms.create("pharmacies", name="Pharmacy", pharmacy_type="mail_order")["id"]

    # --------------------------------------------------------------------------------------------------------- patients
    def address(self, name: str) -> str:
        return f"{name}-{self.run}@example.com"

    def patient(self, name: str, *, verified: bool = True, email: str | None = None, **more: object) -> Row:
        values = {"marketing_opt_in": True, "time_zone": self.zone, **more}
        written = self.oms.act("register-patient", first_name="Ada", last_name="Byron", email=email or self.address(name), **values)
        person = written["patients"][0]
        if verified:
            self.oms.act("verify-email", patient_id=person["id"])
        return person

    def order(self, person: Row, *, plain: bool = True, **more: object) -> Row:
        items = [{"product_id": self.plain if plain else self.product, "quantity": 1}]
        return self.oms.act("place-order", patient_id=person["id"], items=items, **more)["orders"][0]

    def paid(self, person: Row, *, plain: bool = True, **more: object) -> Row:
        order = self.order(person, plain=plain, **more)
        return self.oms.act("pay-order", order_id=order["id"])["orders"][0]

    def visit(self, person: Row, days: float = 5) -> Row:
        at = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0).isoformat()
        written = self.oms.act("book-consultation", patient_id=person["id"], provider_id=self.provider, scheduled_at=at)
        return written["consultations"][0]

    def decision(self, person: Row, decision: str = "approve", **more: object) -> dict[str, list[Row]]:
        begun = self.oms.act("start-intake", patient_id=person["id"], vertical="general")
        self.oms.act("submit-intake", intake_id=begun["intake_responses"][0]["id"], answers={"allergies": "none"})
        told = {"consultation_id": begun["consultations"][0]["id"], "decision": decision, "provider_id": self.provider}
        return self.oms.act("decide", **told, **({"product_id": self.product, "refills": 2} if decision == "approve" else {}), **more)

    def prescription(self, person: Row, **more: object) -> Row:
        return self.decision(person, **more)["prescriptions"][0]

    def review(self, person: Row) -> Row:
        """A paid order that waits for a prescription."""
        return self.paid(person, plain=False)

    def filling(self, person: Row) -> Row:
        order = self.paid(person)
        return self.oms.act("accept-order", order_id=order["id"], pharmacy_id=self.pharmacy)["orders"][0]

    def parcel(self, person: Row, *, order: Row | None = None) -> Row:
        order = order or self.filling(person)
        return self.oms.act("ship-order", order_id=order["id"], estimated_delivery_on="2030-03-09")["shipments"][0]

    def delivered(self, person: Row, **more: object) -> Row:
        """An order filled from a prescription, at the door."""
        self.prescription(person, **more)
        order = self.paid(person, plain=False)
        self.oms.act("accept-order", order_id=order["id"], pharmacy_id=self.pharmacy)
        self.oms.act("deliver-shipment", shipment_id=self.parcel(person, order=order)["id"])
        return order

    # ---------------------------------------------------------------------------------------------------------- mailbox
    def mailbox(self) -> list[dict[str, Any]]:
        answer = self.stack.http.get(f"{self.stack.endpoints['mailbox_url']}/messages.json")
        return [email for email in answer.json() if any(self.run in address for address in email["to"])]

    def mail(self, name: str, flow: str) -> list[dict[str, Any]]:
        return [email for email in self.mailbox() if email["to"] == [self.address(name)] and email["tags"]["claim"].startswith(f"{flow}.")]

    def counts(self) -> dict[tuple[str, str], int]:
        """(patient, flow) -> emails."""
        found: dict[tuple[str, str], int] = {}
        for email in self.mailbox():
            key = (email["to"][0].partition(f"-{self.run}")[0], email["tags"]["claim"].partition(".")[0])
            found[key] = found.get(key, 0) + 1
        return found

    def reasons(self, entity: str) -> set[str]:
        table = self.stack.outputs["EmailSkipTableName"]
        pages = self.stack.aws.client("dynamodb").get_paginator("scan").paginate(TableName=table)
        return {item["reason"]["S"] for page in pages for item in page["Items"] if entity in item["pk"]["S"]}

    def settled(self, *, seconds: float = 240) -> None:
        """Everything pushed, published, sent or skipped, and told by SES: the queues of the emails have been empty for a while."""
        quiet = 0.0

        def idle() -> bool:
            nonlocal quiet
            waiting = int(self.oms.delivery()["pending"])
            for queue in ("Lifecycle", "Email", "EmailFeedback"):
                attributes = self.stack.aws.client("sqs").get_queue_attributes(
                    QueueUrl=self.stack.outputs[f"{queue}QueueUrl"],
                    AttributeNames=[
                        "ApproximateNumberOfMessages",
                        "ApproximateNumberOfMessagesNotVisible",
                        "ApproximateNumberOfMessagesDelayed",
                    ],
                )["Attributes"]
                waiting += sum(map(int, attributes.values()))
            quiet = time.monotonic() if waiting or not quiet else quiet
            return time.monotonic() - quiet > 4

        until(idle, seconds=seconds, every=0.5)

    def pass_time(self, days: float) -> None:
        """Fire the one-time schedules due by then."""
        self.stack.omsync("local", "clock", "advance", f"{int(days)}d", "--once-only")

    def dead_letters(self) -> dict[str, int]:
        found = {}
        for queue in ("Lifecycle", "Email", "EmailFeedback", "EmailRules"):
            url = self.stack.outputs[f"{queue}DlqUrl"]
            told = self.stack.aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            found[queue] = int(told["Attributes"]["ApproximateNumberOfMessages"])
        return found


@pytest.fixture(scope="module")
def clinic(stack: Stack) -> Iterator[Clinic]:
    oms = Oms(stack.endpoints["oms_api_url"], (stack.endpoints["oms_operator_id"], stack.endpoints["oms_operator_secret"]))
    oms.pushes(paused=False)
    yield Clinic(stack, oms)
    oms.pushes(paused=False)


type Story = Callable[[Clinic, Row], Any]


def soon(days: int) -> str:
    return (date.today() + timedelta(days=days)).isoformat()  # noqa: DTZ011


#: flow -> what makes it send
STORIES: dict[str, Story] = {
    "welcome-verify": lambda c, p: None,
    "finish-intake": lambda c, p: c.oms.act("start-intake", patient_id=p["id"], vertical="general")["intake_responses"][0],
    "order-confirmation": lambda c, p: c.order(p),
    "identity-photo-needed": lambda c, p: c.oms.act("require-identity-photo", order_id=c.review(p)["id"])["orders"][0],
    "visit-booked": lambda c, p: c.visit(p),
    "visit-reminder": lambda c, p: c.visit(p),
    "secure-message": lambda c, p: [
        c.oms.act("send-provider-message", patient_id=p["id"], body="Please call us.")["communications"][0] for _ in range(2)
    ],
    "prescription-decision": lambda c, p: c.prescription(p),
    "decision-next-steps": lambda c, p: c.decision(p, "decline")["consultations"][0],
    "pharmacy-processing": lambda c, p: c.filling(p),
    "coverage-cost-update": lambda c, p: c.oms.act("hold-for-coverage", order_id=c.review(p)["id"], reason="copay")["orders"][0],
    "payment-failed": lambda c, p: c.oms.act("fail-payment", order_id=c.order(p)["id"])["payments"][0],
    "order-delayed": lambda c, p: c.oms.act("hold-order", order_id=c.review(p)["id"], reason="stock", expected_on=soon(9))["orders"][0],
    "order-shipped": lambda c, p: c.oms.act("record-scan", shipment_id=c.parcel(p)["id"])["shipments"][0],
    "delivery-problem": lambda c, p: c.oms.act("record-exception", shipment_id=c.parcel(p)["id"])["shipments"][0],
    "order-delivered": lambda c, p: c.oms.act("deliver-shipment", shipment_id=c.parcel(p)["id"])["orders"][0],
    "order-cancelled-refunded": lambda c, p: c.oms.act("cancel-order", order_id=c.paid(p)["id"])["orders"][0],
    "treatment-check-in": lambda c, p: c.delivered(p),
    "auto-refill-upcoming": lambda c, p: c.oms.act("start-subscription", patient_id=p["id"], product_id=c.plain)["subscriptions"][0],
    "refill-due": lambda c, p: c.delivered(p),
    "renewal-visit-due": lambda c, p: c.prescription(p),
    "therapy-lapsed": lambda c, p: c.delivered(p),
}
#: flows whose email is repeated, or that have several; a second R email on the day the clock is advanced meets the cap
TWICE = {"identity-photo-needed", "payment-failed"}
#: flows of one delivered order: all R, so that on one day only one of them gets through
AHEAD = ("treatment-check-in", "refill-due", "therapy-lapsed")
SAID = {
    "welcome-verify": "/email/verify?token=",
    "order-confirmation": "Total: $49.00",
    "visit-booked": "When: ",
    "secure-message": "new message",
    "payment-failed": "Amount: $49.00",
    "order-delayed": "We now expect to be able to ship by",
    "order-shipped": "Carrier: USPS",
    "delivery-problem": "Now expected: March 9, 2030",
    "order-cancelled-refunded": "$49.00 will be back",
    "auto-refill-upcoming": "Amount: $49.00",
    "refill-due": "Lasts until: ",
    "renewal-visit-due": "Please book by: ",
}


def test_all_22_flows_send_exactly_once_with_their_data(clinic: Clinic) -> None:
    """Live, then through the schedules; every email's words, tag, headers and row in the OMS."""
    people = {flow: clinic.patient(flow, verified=flow != "welcome-verify") for flow in STORIES}
    for flow, story in STORIES.items():
        story(clinic, people[flow])
    clinic.settled()
    clinic.pass_time(400)
    clinic.settled()
    counts = clinic.counts()
    for flow in STORIES:
        expected = 2 if flow in TWICE else 1
        if FLOWS[flow].category == "refill" and flow in AHEAD:
            # the order's other R emails are due on this day too: the cap lets one of them through
            sent = sum(counts.get((flow, other), 0) for other in (*AHEAD, "renewal-visit-due"))
            assert sent == 1, (flow, counts)
            continue
        assert counts.get((flow, flow), 0) == expected, (flow, counts, clinic.reasons(str(people[flow]["id"])))
        for email in clinic.mail(flow, flow):
            assert "Hello Ada," in email["text"]
            assert "{{" not in email["html"] + email["text"] + email["subject"]
            assert SAID.get(flow, "Reference: ") in email["text"]
            assert email["configuration_set"] == "omsync-local-emails"
            assert ("List-Unsubscribe" in email["headers"]) == (FLOWS[flow].category != "transactional")
    assert clinic.dead_letters() == {"Lifecycle": 0, "Email": 0, "EmailFeedback": 0, "EmailRules": 0}


@pytest.mark.parametrize("flow", AHEAD)
def test_each_refill_flow_in_its_own_time(clinic: Clinic, flow: str) -> None:
    """An order's check-in, refill and lapse emails, one at a time: the others' schedules have not come yet, or find their cap."""
    person = clinic.patient(f"alone-{flow}")
    order = STORIES[flow](clinic, person)
    clinic.settled()
    fired = 0
    scheduler = clinic.stack.aws.client("scheduler")
    for page in scheduler.get_paginator("list_schedules").paginate(GroupName="omsync-local-emails"):
        for entry in page["Schedules"]:
            told = scheduler.get_schedule(Name=entry["Name"], GroupName="omsync-local-emails")
            if order["id"] in told["Target"]["Input"] and entry["Name"].startswith(flow[:20]):
                clinic.stack.omsync("local", "clock", "fire", entry["Name"])
                fired += 1
    assert fired == (2 if flow == "refill-due" else 1)
    clinic.settled()
    assert len(clinic.mail(f"alone-{flow}", flow)) == 1
    if flow == "refill-due":
        assert "capped" in clinic.reasons(str(order["id"]))


def test_what_was_sent_is_a_communication_in_the_oms(clinic: Clinic) -> None:
    """With flow, category and what SES said; without the links' tokens."""
    person = clinic.patient("logged")
    clinic.order(person)
    rows = until(
        lambda: [
            row
            for row in clinic.oms.rows("communications", patient_id=person["id"])
            if row["template_code"] == "transactional/order-confirmation"
        ],
        lambda found: bool(found) and found[0]["delivery_status"] == "delivered",
        seconds=90,
    )
    assert len(rows) == 1
    assert rows[0]["to_address"] == clinic.address("logged")
    assert "Total: $49.00" in rows[0]["body_text"]
    assert rows[0]["order_id"] is not None


#: (flow, what happens after its trigger and before it is looked at, reason)
HOLDS: list[tuple[str, Story, str]] = [
    ("welcome-verify", lambda c, p: c.oms.act("verify-email", patient_id=p["id"]), "already_verified"),
    ("finish-intake", lambda c, r: c.oms.act("submit-intake", intake_id=r["id"], answers={"q": "a"}), "submitted"),
    ("finish-intake", lambda c, r: c.oms.act("unsubscribe", patient_id=r["patient_id"]), "opted_out"),
    ("order-confirmation", lambda c, r: c.oms.act("cancel-order", order_id=r["id"]), "order_cancelled"),
    ("identity-photo-needed", lambda c, r: c.oms.act("receive-identity-photo", order_id=r["id"]), "photo_received"),
    ("visit-booked", lambda c, r: c.oms.act("cancel-consultation", consultation_id=r["id"]), "visit_not_ahead"),
    ("visit-reminder", lambda c, r: c.oms.act("cancel-consultation", consultation_id=r["id"]), "visit_not_ahead"),
    ("secure-message", lambda c, rs: [c.oms.act("read-message", communication_id=r["id"]) for r in rs], "messages_read"),
    ("prescription-decision", lambda c, r: c.oms.act("renew-prescription", prescription_id=r["id"]), "prescription_superseded"),
    ("decision-next-steps", lambda c, r: c.oms.create("consultations", patient_id=r["patient_id"], follow_up_of_id=r["id"], modality="async",
                                                      vertical="general"), "decision_superseded"),
    ("pharmacy-processing", lambda c, r: c.oms.act("ship-order", order_id=r["id"]), "left_pharmacy"),
    ("coverage-cost-update", lambda c, r: c.oms.act("resolve-coverage", order_id=r["id"]), "coverage_resolved"),
    ("payment-failed", lambda c, r: c.oms.act("pay-order", order_id=r["order_id"]), "payment_settled"),
    ("order-delayed", lambda c, r: c.oms.act("release-order", order_id=r["id"]), "delay_resolved"),
    ("order-shipped", lambda c, r: c.oms.act("deliver-shipment", shipment_id=r["id"]), "delivered"),
    ("delivery-problem", lambda c, r: c.oms.act("deliver-shipment", shipment_id=r["id"]), "delivered"),
    ("auto-refill-upcoming", lambda c, r: c.oms.act("pause-subscription", subscription_id=r["id"]), "plan_not_active"),
    ("treatment-check-in", lambda c, r: [c.oms.act("cancel-prescription", prescription_id=row["id"])
                                         for row in c.oms.rows("prescriptions", patient_id=r["patient_id"])], "discontinued"),
    ("refill-due", lambda c, r: c.order({"id": r["patient_id"]}), "ordered"),
    ("therapy-lapsed", lambda c, r: c.order({"id": r["patient_id"]}), "ordered"),
    ("renewal-visit-due", lambda c, r: c.visit({"id": r["patient_id"]}), "booked"),
]  # fmt: skip


def test_each_cancel_condition_holds_its_email_back(clinic: Clinic) -> None:
    """The pushes wait until the state has moved on; then nothing is sent, and the reason is on record."""
    held: list[tuple[str, str, Any, str]] = []
    clinic.oms.pushes(paused=True)
    try:
        for number, (flow, before, reason) in enumerate(HOLDS):
            name = f"held{number}"
            person = clinic.patient(name, verified=flow != "welcome-verify")
            subject = STORIES[flow](clinic, person) or person
            before(clinic, subject)
            held.append((name, flow, person if flow in ("welcome-verify", "secure-message") else subject, reason))
    finally:
        clinic.oms.pushes(paused=False)
    clinic.settled()
    clinic.pass_time(340)
    clinic.settled()
    for name, flow, subject, reason in held:
        assert clinic.mail(name, flow) == [], (flow, reason)
        assert reason in clinic.reasons(str(subject["id"])), (flow, reason, clinic.reasons(str(subject["id"])))


def test_a_visit_moved_away_and_back_gets_one_reminder(clinic: Clinic) -> None:
    person = clinic.patient("moving")
    visit = clinic.visit(person, days=6)
    ten = visit["scheduled_at"]
    for at in ((datetime.fromisoformat(ten) + timedelta(hours=2)).isoformat(), ten):
        clinic.oms.act("move-consultation", consultation_id=visit["id"], scheduled_at=at)
        clinic.settled()
    clinic.pass_time(7)
    clinic.settled()
    assert len(clinic.mail("moving", "visit-reminder")) == 1
    assert "moved" in clinic.reasons(str(visit["id"]))


def test_a_lost_push_still_gets_its_email_and_only_one(clinic: Clinic) -> None:
    """The outbox is read by cursor behind the pushes."""
    clinic.settled()
    clinic.stack.omsync("local", "clock", "fire", "LifecycleOutbox")
    person = clinic.patient("lost")
    clinic.settled()
    clinic.oms.pushes(paused=True)
    clinic.order(person)
    assert clinic.oms.lose_pushes() > 0
    clinic.oms.pushes(paused=False)
    clinic.settled()
    assert clinic.mail("lost", "order-confirmation") == []
    for _ in range(2):
        clinic.stack.omsync("local", "clock", "fire", "LifecycleOutbox")
        until(lambda: clinic.mail("lost", "order-confirmation"), seconds=60)
        clinic.settled()
    assert len(clinic.mail("lost", "order-confirmation")) == 1


def test_a_bounce_comes_back(clinic: Clinic) -> None:
    """The communication says so, the address is not verified any more, and nothing further goes there."""
    address = f"bounce+{clinic.run}@simulator.amazonses.com"
    person = clinic.patient("bouncing", email=address)
    clinic.order(person)
    until(
        lambda: [row["delivery_status"] for row in clinic.oms.rows("communications", patient_id=person["id"]) if row["channel"] == "email"],
        lambda found: "bounced" in found,
        seconds=90,
    )
    until(lambda: (clinic.oms.get("patients", person["id"]) or {})["email_verified_at"] is None, seconds=30)
    clinic.oms.act("verify-email", patient_id=person["id"])
    before = len(clinic.mailbox())
    visit = clinic.visit(person)
    clinic.settled()
    assert len(clinic.mailbox()) == before
    assert "suppressed_bounce" in clinic.reasons(str(visit["id"]))


def path_of(url: str) -> str:
    """A link's way on our API."""
    return url[url.index("/email/") :]


def test_the_links_of_an_email(clinic: Clinic) -> None:
    """The first email's link confirms the address, once; unsubscribing takes one POST without any log-in (RFC 8058)."""
    person = clinic.patient("links", verified=False)
    [welcome] = until(lambda: clinic.mail("links", "welcome-verify"), seconds=60)
    link = path_of(next(word for word in welcome["text"].split() if "/email/verify" in word))
    page = clinic.stack.call("GET", link)
    assert (page.status_code, "Confirm my address" in page.text) == (200, True)
    assert (clinic.oms.get("patients", person["id"]) or {})["email_verified_at"] is None, "a scanner's GET confirms nothing"
    assert clinic.stack.call("POST", link).status_code == 200
    assert (clinic.oms.get("patients", person["id"]) or {})["email_verified_at"] is not None
    assert clinic.stack.call("POST", link).status_code == 400
    assert clinic.stack.call("POST", link[:-3] + "AAA").status_code == 400

    STORIES["finish-intake"](clinic, person)
    clinic.settled()
    clinic.pass_time(2)
    [email] = until(lambda: clinic.mail("links", "finish-intake"), seconds=60)
    header = email["headers"]["List-Unsubscribe"]
    assert email["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    answer = clinic.stack.call("POST", path_of(header.strip("<>")), data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    assert (clinic.oms.get("patients", person["id"]) or {})["marketing_opt_in"] is False
    consents = [row for row in clinic.oms.rows("patient_consents", patient_id=person["id"]) if row["consent_type"] == "email_marketing"]
    assert all(row["revoked_at"] for row in consents)
