"""The lifecycle emails on the whole stack: the OMS is driven by its actions, time by its schedules, and the mailbox shows what came of it.

All stories are told at once, each by a patient of its own, and time passes once for all of them (`the_year`); the tests look at what came of it.
A story that is to send runs live; one that is to be held back runs while the pushes are paused, so that the state has moved on before the
email is looked at. Time is fired, not passed: refill emails of one order, due on days of their own, are fired before the rest, or the cap of
one a day would let the first of them through alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from omsync.emails.anchors import batch_end
from omsync.emails.data import day_text, time_text
from omsync.emails.flows import load_flows
from omsync.emails.occurrences import communication_id
from tests.e2e.clinic import GROUP, NIGHT, Clinic, Email, Post, Waiting, claim_of, flow_of, together, zone_where
from tests.e2e.world import Row, World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FLOWS = load_flows()

type Story = Callable[[Clinic, Row], Any]


#: flow -> what makes it send
STORIES: dict[str, Story] = {
    "welcome-verify": lambda c, p: None,
    "finish-intake": lambda c, p: c.intake(p),
    "order-confirmation": lambda c, p: c.order(p),
    "identity-photo-needed": lambda c, p: c.oms.act("require-identity-photo", order_id=c.review(p)["id"])["orders"][0],
    "visit-booked": lambda c, p: c.visit(p),
    "visit-reminder": lambda c, p: c.visit(p),
    "secure-message": lambda c, p: c.messages(p),
    "prescription-decision": lambda c, p: c.prescription(p),
    "decision-next-steps": lambda c, p: c.decision(p, "decline")["consultations"][0],
    "pharmacy-processing": lambda c, p: c.filling(p),
    "coverage-cost-update": lambda c, p: c.oms.act("hold-for-coverage", order_id=c.review(p)["id"], reason="copay")["orders"][0],
    "payment-failed": lambda c, p: c.oms.act("fail-payment", order_id=c.order(p)["id"])["payments"][0],
    "order-delayed": lambda c, p: c.oms.act("hold-order", order_id=c.review(p)["id"], reason="stock", expected_on="2030-03-12")["orders"][
        0
    ],
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
#: flows with a repeat
TWICE = ("identity-photo-needed", "payment-failed")
#: flows of one delivered order: the patient of each gets it on a day of its own
APART = ("treatment-check-in", "refill-due", "therapy-lapsed")
#: what else happens in the story: the second refill email on one day, the refund that belongs to the cancellation
SKIPPED = {"refill-due": ["capped"], "order-cancelled-refunded": ["refund_told"]}
#: flow -> a line of its text part, of the patient, or of the row that the story gave
SAID: dict[str, Callable[[Clinic, Row], str]] = {
    "welcome-verify": lambda c, row: "/email/verify?token=",
    "order-confirmation": lambda c, row: f"Placed on: {day_text(c.today())}\nTotal: $49.00\n",
    "visit-booked": lambda c, row: f"When: {time_text(visit_time(c, row))}\n",
    "visit-reminder": lambda c, row: f"When: {time_text(visit_time(c, row))}\n",
    "secure-message": lambda c, row: "new message",
    "payment-failed": lambda c, row: "Amount: $49.00\n",
    "order-delayed": lambda c, row: "We now expect to be able to ship by March 12, 2030.",
    "order-shipped": lambda c, row: f"Carrier: USPS\nTracking number: {row['tracking_number']}\nExpected: March 9, 2030\n",
    "delivery-problem": lambda c, row: "Now expected: March 9, 2030",
    "order-cancelled-refunded": lambda c, row: "$49.00 will be back",
    "auto-refill-upcoming": lambda c, row: f"Order date: {day_text(row['next_order_on'])}\nAmount: $49.00\n",
    "refill-due": lambda c, row: f"Lasts until: {day_text(c.today() + timedelta(days=30))}\n",
    "renewal-visit-due": lambda c, row: f"Please book by: {day_text(row['expires_on'])}\n",
}


def visit_time(clinic: Clinic, row: Row) -> datetime:
    return datetime.fromisoformat(row["scheduled_at"]).astimezone(ZoneInfo(clinic.zone))


@dataclass(frozen=True)
class Hold:
    """`before` happens after the flow's trigger, and before it is looked at; then it is not sent, for this `reason`."""

    flow: str
    reason: str
    before: Story

    @property
    def name(self) -> str:
        return f"{self.flow}-{self.reason}".replace("_", "-")


def follow_up(clinic: Clinic, row: Row) -> Row:
    return clinic.oms.create("consultations", patient_id=row["patient_id"], follow_up_of_id=row["id"], modality="async", vertical="general")


def stop_treatment(clinic: Clinic, row: Row) -> None:
    for prescription in clinic.oms.rows("prescriptions", patient_id=row["patient_id"]):
        clinic.oms.act("cancel-prescription", prescription_id=prescription["id"])


def spend_refills(clinic: Clinic, row: Row) -> None:
    for prescription in clinic.oms.rows("prescriptions", patient_id=row["patient_id"]):
        clinic.oms.patch("prescriptions", prescription["id"], refills_remaining=0)


HOLDS = [
    Hold("welcome-verify", "already_verified", lambda c, p: c.oms.act("verify-email", patient_id=p["id"])),
    Hold("finish-intake", "submitted", lambda c, r: c.oms.act("submit-intake", intake_id=r["id"], answers={"q": "a"})),
    Hold("finish-intake", "opted_out", lambda c, r: c.oms.act("unsubscribe", patient_id=r["patient_id"])),
    Hold("finish-intake", "visit_ended", lambda c, r: c.oms.act("cancel-consultation", consultation_id=r["consultation_id"])),
    Hold("order-confirmation", "order_cancelled", lambda c, r: c.oms.act("cancel-order", order_id=r["id"])),
    Hold("identity-photo-needed", "photo_received", lambda c, r: c.oms.act("receive-identity-photo", order_id=r["id"])),
    Hold("visit-booked", "visit_not_ahead", lambda c, r: c.oms.act("cancel-consultation", consultation_id=r["id"])),
    Hold("visit-reminder", "visit_not_ahead", lambda c, r: c.oms.act("cancel-consultation", consultation_id=r["id"])),
    Hold("secure-message", "messages_read", lambda c, rs: [c.oms.act("read-message", communication_id=r["id"]) for r in rs]),
    Hold("prescription-decision", "prescription_superseded", lambda c, r: c.oms.act("renew-prescription", prescription_id=r["id"])),
    Hold("decision-next-steps", "decision_superseded", follow_up),
    Hold("pharmacy-processing", "left_pharmacy", lambda c, r: c.oms.act("ship-order", order_id=r["id"])),
    Hold("coverage-cost-update", "coverage_resolved", lambda c, r: c.oms.act("resolve-coverage", order_id=r["id"])),
    Hold("payment-failed", "payment_settled", lambda c, r: c.oms.act("pay-order", order_id=r["order_id"])),
    Hold("order-delayed", "delay_resolved", lambda c, r: c.oms.act("release-order", order_id=r["id"])),
    Hold("order-shipped", "delivered", lambda c, r: c.oms.act("deliver-shipment", shipment_id=r["id"])),
    Hold("delivery-problem", "delivered", lambda c, r: c.oms.act("deliver-shipment", shipment_id=r["id"])),
    Hold("treatment-check-in", "discontinued", stop_treatment),
    Hold("auto-refill-upcoming", "plan_not_active", lambda c, r: c.oms.act("pause-subscription", subscription_id=r["id"])),
    Hold("refill-due", "ordered", lambda c, r: c.order({"id": r["patient_id"]})),
    Hold("refill-due", "discontinued", stop_treatment),
    Hold("refill-due", "no_refills", spend_refills),
    Hold("therapy-lapsed", "ordered", lambda c, r: c.order({"id": r["patient_id"]})),
    Hold("therapy-lapsed", "discontinued", stop_treatment),
    Hold("renewal-visit-due", "renewed", lambda c, r: c.oms.act("renew-prescription", prescription_id=r["id"])),
    Hold("renewal-visit-due", "booked", lambda c, r: c.visit({"id": r["patient_id"]})),
]


@dataclass
class Year:
    """What was told, who to, and what came of it."""

    clinic: Clinic
    people: dict[str, Row] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    pages: list[requests.Response] = field(default_factory=list)
    lost_before: list[Email] = field(default_factory=list)
    night: list[Waiting] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.post = Post(self.clinic.run, (), ())

    def story(self, name: str, tell: Story, **patient: Any) -> None:
        """A patient, and what happens to them."""
        self.people[name] = self.clinic.patient(name, **patient)
        self.rows[name] = tell(self.clinic, self.people[name]) or self.people[name]

    def entity(self, name: str, flow: str) -> str:
        """The id that the flow's claims hold."""
        return str((self.people if FLOWS[flow].entity == "patients" else self.rows)[name]["id"])


@pytest.fixture(scope="module")
def the_year(world: World) -> Iterator[Year]:
    clinic = Clinic(world)
    year = Year(clinic)
    clinic.oms.pushes(paused=False)
    clinic.open()
    clinic.good_name()
    clinic.fire("LifecycleOutbox")  # so that the outbox is read from here on
    try:
        live(year)
        held_back(year)
        passes(year)
        yield year
    finally:
        clinic.oms.pushes(paused=False)


def live(year: Year) -> None:
    """What happens while everything works; and one click on a link."""
    clinic = year.clinic
    mailed = {name: f"{name}+{clinic.run}@simulator.amazonses.com" for name in ("bounce", "complaint")}
    stories: list[tuple[str, Story, dict[str, Any]]] = [
        (flow, story, {"verified": flow != "welcome-verify"}) for flow, story in STORIES.items()
    ]
    stories += [
        ("bounce", lambda c, p: c.visit(p), {"email": mailed["bounce"]}),
        ("complaint", lambda c, p: c.order(p), {"email": mailed["complaint"]}),
        ("moving", lambda c, p: c.visit(p, days=6), {}),
        ("links", STORIES["finish-intake"], {"verified": False}),
        ("night", STORIES["finish-intake"], {"time_zone": zone_where(NIGHT)}),
    ]
    together(stories, lambda told: year.story(told[0], told[1], **told[2]))
    clinic.settled()
    [welcome] = [email for email in clinic.mailbox() if email["to"] == [clinic.address("links")] and flow_of(email) == "welcome-verify"]
    link = path_of(next(word for word in welcome["text"].split() if "/email/verify" in word))
    for method, path in (("GET", link), ("POST", link[:-3] + "AAA"), ("POST", link), ("POST", link)):
        year.pages.append(clinic.world.stack.call(method, path))


def path_of(url: str) -> str:
    """A link's way on our API."""
    return url[url.index("/email/") :]


def held_back(year: Year) -> None:
    """What moves on before anybody looks; a push that is lost; a visit that is moved; an address that bounced."""
    clinic = year.clinic

    def tell(hold: Hold) -> None:
        year.story(hold.name, STORIES[hold.flow], verified=hold.flow != "welcome-verify")
        hold.before(clinic, year.rows[hold.name])

    year.people["lost"] = clinic.patient("lost")
    clinic.settled(feedback=False)
    clinic.oms.pushes(paused=True)
    year.rows["lost"] = clinic.order(year.people["lost"])
    assert clinic.oms.lose_pushes() > 0
    together(HOLDS, tell)
    clinic.oms.pushes(paused=False)
    ten = datetime.fromisoformat(year.rows["moving"]["scheduled_at"])
    clinic.move(year.rows["moving"], ten + timedelta(hours=2))
    clinic.oms.act("verify-email", patient_id=year.people["bounce"]["id"])  # the bounce has taken it back
    year.rows["bounce again"] = clinic.visit(year.people["bounce"], days=9)
    clinic.settled()
    clinic.move(year.rows["moving"], ten)


def passes(year: Year) -> None:
    """The outbox is read behind the pushes, a year of schedules fires; what remains is the night's."""
    clinic = year.clinic
    clinic.settled(feedback=False)
    year.lost_before = [email for email in clinic.mailbox() if email["to"] == [clinic.address("lost")]]
    clinic.fire("LifecycleOutbox")
    for flow in APART:
        mine = [waiting for waiting in clinic.schedules(flow) if waiting.entity == year.rows[flow]["id"]]
        assert len(mine) == (2 if flow == "refill-due" else 1)
        for waiting in mine:
            clinic.fire(waiting.name)
    until(lambda: [email for email in clinic.mailbox() if email["to"] == [clinic.address("lost")]], seconds=120, every=0.5)
    clinic.settled(feedback=False)
    clinic.pass_time(400)
    clinic.settled()
    year.night = [waiting for waiting in clinic.schedules("finish-intake") if waiting.entity == year.rows["night"]["id"]]
    year.post = Post(clinic.run, clinic.mailbox(), clinic.skips())


# ------------------------------------------------------------------------------------------------------------- what was sent
@pytest.mark.parametrize("flow", STORIES)
def test_each_flow_sends_exactly_once_with_its_data(the_year: Year, flow: str) -> None:
    """Live, or when its time comes; the words, the tag, the headers."""
    row, emails = the_year.rows[flow], the_year.post.to(flow, flow)
    assert len(emails) == expected(flow, row)
    assert the_year.post.reasons(flow, the_year.entity(flow, flow)) == SKIPPED.get(flow, [])
    for email in emails:
        assert "Hello Ada," in email["text"]
        assert "{{" not in email["html"] + email["text"] + email["subject"]
        assert SAID.get(flow, lambda c, row: "Reference: ")(the_year.clinic, row) in email["text"]
        assert email["configuration_set"] == GROUP
        assert ("List-Unsubscribe" in email["headers"]) == (FLOWS[flow].category != "transactional")


def expected(flow: str, row: Any) -> int:
    """How many emails a story makes."""
    if flow == "secure-message":  # one a quarter of an hour
        return len({batch_end(datetime.fromisoformat(message["created_at"])) for message in row})
    return 2 if flow in TWICE else 1


def test_nothing_was_sent_twice_and_nothing_is_buried(the_year: Year) -> None:
    claims = Counter(claim_of(email) for email in the_year.post.emails)
    assert [claim for claim, number in claims.items() if number > 1] == []
    assert the_year.clinic.dead_letters() == {}


def test_every_email_is_a_communication_on_both_sides(the_year: Year) -> None:
    """With flow, category and what SES said; without the links' tokens."""
    wanted = {communication_id(claim_of(email).replace(".", ":")): email for email in the_year.post.emails}
    rows = {row["id"]: row for name in the_year.people for row in communications(the_year, name)}
    assert {row_id: row["delivery_status"] for row_id, row in rows.items()} == {row_id: fate(email) for row_id, email in wanted.items()}
    for row_id, email in wanted.items():
        flow = FLOWS[flow_of(email)]
        assert rows[row_id]["template_code"] == flow.code
        assert [rows[row_id]["to_address"]] == email["to"]
        assert rows[row_id]["subject"] == email["subject"]
        assert "token=" not in rows[row_id]["body_text"]
        assert rows[row_id]["body_text"] == words_without_tokens(email["text"])

    def salesforce() -> dict[str, str]:
        named = ", ".join(f"'{row_id}'" for row_id in wanted)
        soql = f"SELECT OMS_Id__c, Delivery_Status__c FROM EmailMessage WHERE OMS_Id__c IN ({named})"
        return {row["OMS_Id__c"]: row["Delivery_Status__c"] for row in the_year.clinic.world.org.query(soql)}

    until(salesforce, lambda found: found == {row_id: fate(email) for row_id, email in wanted.items()}, seconds=120, every=1)


def communications(year: Year, name: str) -> list[Row]:
    """A patient's emails in the OMS."""
    return [row for row in year.clinic.oms.rows("communications", patient_id=year.people[name]["id"]) if row["channel"] == "email"]


def fate(email: Email) -> str:
    return "bounced" if email["to"][0].startswith("bounce") else "delivered"


def words_without_tokens(text: str) -> str:
    return re.sub(r"[?]token=\S+", "", text)


# ---------------------------------------------------------------------------------------------------------- what was held back
@pytest.mark.parametrize("hold", HOLDS, ids=[hold.name for hold in HOLDS])
def test_each_cancel_condition_holds_its_email_back(the_year: Year, hold: Hold) -> None:
    """The state had moved on when the email was looked at: nothing is sent, and the reason is on record."""
    entity = the_year.entity(hold.name, hold.flow)
    about = [email for email in the_year.post.to(hold.name, hold.flow) if entity in claim_of(email)]
    assert about == []
    assert hold.reason in the_year.post.reasons(hold.flow, entity)


def test_a_visit_moved_away_and_back_gets_one_reminder(the_year: Year) -> None:
    """From 10 to 12 and back to 10."""
    assert len(the_year.post.to("moving", "visit-reminder")) == 1
    assert "moved" in the_year.post.reasons("visit-reminder", the_year.rows["moving"]["id"])


def test_a_lost_push_still_gets_its_email_and_only_one(the_year: Year) -> None:
    """The outbox is read by cursor behind the pushes; what was pushed as well, it finds done."""
    assert the_year.lost_before == []
    assert len(the_year.post.to("lost", "order-confirmation")) == 1


def test_quiet_hours_postpone_to_eight(the_year: Year) -> None:
    """A marketing email that came due at night where the patient is: a schedule at 08:00 there."""
    assert the_year.post.to("night", "finish-intake") == []
    zone = ZoneInfo(the_year.people["night"]["time_zone"])
    assert [(waiting.at.astimezone(zone).hour, waiting.at.astimezone(zone).minute) for waiting in the_year.night] == [(8, 0)]
    assert the_year.night[0].at - datetime.now(UTC) < timedelta(hours=12)


# ------------------------------------------------------------------------------------------------------ what comes back to us
def test_a_bounce_comes_back(the_year: Year) -> None:
    """To both sides; a Case, since the email was clinical; nothing further goes there, and a Case of that, too."""
    world, patient = the_year.clinic.world, the_year.people["bounce"]
    [row] = communications(the_year, "bounce")
    assert row["delivery_status"] == "bounced"
    world.shows("EmailMessage", email_message(world, row["id"]), "Delivery_Status__c", "bounced", seconds=60)
    assert [case["Subject"] for case in world.org.cases(f"communications/{row['id']}")] == ["Please look: email undelivered"]
    assert the_year.post.reasons("visit-booked", the_year.rows["bounce again"]["id"]) == ["suppressed_bounce"]
    assert [case["Subject"] for case in world.org.cases(f"patients/{patient['id']}")] == ["Please look: email undeliverable"]


def test_a_bounced_address_is_verified_no_more(the_year: Year) -> None:
    told = the_year.clinic.world.outbox(lambda event: event["data"]["id"] == the_year.people["bounce"]["id"])
    verified = [event["data"]["row"]["email_verified_at"] is not None for event in told]
    assert verified == [False, True, False, True], "registered, verified, bounced, verified once more"


def test_a_complaint_ends_marketing_on_both_sides(the_year: Year) -> None:
    world, patient = the_year.clinic.world, the_year.people["complaint"]
    [row] = communications(the_year, "complaint")
    assert row["delivery_status"] == "delivered"
    gone(the_year, "complaint")
    world.shows("Account", world.account(patient, seconds=60), "PersonHasOptedOutOfEmail", value=True, seconds=60)


def test_the_links_of_an_email(the_year: Year) -> None:
    """The first email's link confirms the address, once; unsubscribing takes one POST without any log-in (RFC 8058)."""
    asked, forged, confirmed, again = the_year.pages
    assert (asked.status_code, "Confirm my address" in asked.text) == (200, True)
    assert [page.status_code for page in (forged, confirmed, again)] == [400, 200, 400]
    clinic, patient = the_year.clinic, the_year.people["links"]
    events = clinic.world.outbox(lambda event: event["data"]["id"] == patient["id"])
    assert [event["data"]["row"]["email_verified_at"] is not None for event in events[:2]] == [False, True], (
        "a scanner's GET confirms nothing"
    )
    [email] = the_year.post.to("links", "finish-intake")
    assert email["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = path_of(email["headers"]["List-Unsubscribe"].strip("<>"))
    assert clinic.world.stack.call("GET", url).status_code == 200
    assert (clinic.oms.get("patients", patient["id"]) or {})["marketing_opt_in"] is True, "nor does it unsubscribe"
    assert clinic.world.stack.call("POST", url, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    gone(the_year, "links")
    world = clinic.world
    world.shows("Account", world.account(patient, seconds=60), "PersonHasOptedOutOfEmail", value=True, seconds=60)


def gone(year: Year, name: str) -> None:
    """A patient who has left our emails: the opt-in is cleared, and no consent stands, but a refusal or a revocation does."""
    oms, patient_id = year.clinic.oms, year.people[name]["id"]
    assert (oms.get("patients", patient_id) or {})["marketing_opt_in"] is False
    consents = [row for row in oms.rows("patient_consents", patient_id=patient_id) if row["consent_type"] == "email_marketing"]
    assert consents
    assert all(row["revoked_at"] or not row["granted"] for row in consents)


def email_message(world: World, oms_id: str) -> str:
    """The Salesforce id of an email."""
    found = until(lambda: world.org.find("EmailMessage", oms_id), seconds=60)
    assert found is not None
    return str(found["Id"])
