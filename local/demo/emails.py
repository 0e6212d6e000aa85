"""The 22 lifecycle emails: what happens to 22 patients makes each of them due, schedules are fired instead of waited for, the mailbox shows what came."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from local.demo.children import Children
from local.demo.journal import Mail, PromiseBroken
from local.demo.stage import Stage
from local.demo.story import daytime_zone
from local.demo.systems import Oms, Row
from omsync.emails.flows import load_flows

#: how long the emails may be on their way, and how long nothing must have moved before we believe it, in seconds
PATIENCE, STILL = 120, 3.0
#: how long one waits for an email that is lacking when all seems quiet
LATE = 20
QUEUES = ("Lifecycle", "Email", "EmailFeedback")
FAR = "400d"
#: flows of one order that are due on different days; fired on one day, the daily cap would let one of them through: each has its own patient
APART = ("treatment-check-in", "refill-due", "therapy-lapsed")


class Clinic:
    """What happens to patients. Each flow has a patient of its own."""

    def __init__(self, oms: Oms, catalogue: dict[str, Row]) -> None:
        self.oms, self.act = oms, oms.act
        self.drug, self.supply = catalogue["drug"]["id"], catalogue["supply"]["id"]
        self.provider, self.pharmacy = catalogue["providers"]["id"], catalogue["pharmacies"]["id"]
        self.zone = daytime_zone(datetime.now(UTC))

    def patient(self, flow: str) -> str:
        """Registered, and verified unless the flow is about that."""
        name = {"first_name": "Ines", "last_name": flow.replace("-", " ").title(), "email": f"{flow}@example.com"}
        patient = self.act("register-patient", **name, marketing_opt_in=True, time_zone=self.zone)["patients"][0]["id"]
        if flow != "welcome-verify":
            self.act("verify-email", patient_id=patient)
        return str(patient)

    def order(self, patient: str, *, drug: bool = False) -> str:
        items = [{"product_id": self.drug if drug else self.supply}]
        return str(self.act("place-order", patient_id=patient, items=items)["orders"][0]["id"])

    def paid(self, patient: str, *, drug: bool = False) -> str:
        order = self.order(patient, drug=drug)
        self.act("pay-order", order_id=order)
        return order

    def filling(self, patient: str, *, drug: bool = False) -> str:
        order = self.paid(patient, drug=drug)
        self.act("accept-order", order_id=order, pharmacy_id=self.pharmacy)
        return order

    def parcel(self, patient: str, *, drug: bool = False) -> str:
        shipped = self.act("ship-order", order_id=self.filling(patient, drug=drug), estimated_delivery_on=self.day(6))
        return str(shipped["shipments"][0]["id"])

    def decision(self, patient: str, decision: str = "approve") -> None:
        begun = self.act("start-intake", patient_id=patient, vertical="general")
        # submitted, as a clinician sees it: else the marketing email about it is due too, and takes the day's one place
        self.act("submit-intake", intake_id=begun["intake_responses"][0]["id"], answers={"allergies": "none"})
        visit = begun["consultations"][0]["id"]
        treatment = {"product_id": self.drug, "refills": 2} if decision == "approve" else {}
        self.act("decide", consultation_id=visit, decision=decision, provider_id=self.provider, **treatment)

    def delivered(self, patient: str) -> None:
        """A prescription's first fill, at the door."""
        self.decision(patient)
        self.act("deliver-shipment", shipment_id=self.parcel(patient, drug=True))

    def visit(self, patient: str) -> None:
        at = (datetime.now(UTC) + timedelta(days=5)).replace(microsecond=0).isoformat()
        self.act("book-consultation", patient_id=patient, provider_id=self.provider, scheduled_at=at)

    @staticmethod
    def day(ahead: int) -> str:
        return (datetime.now(UTC) + timedelta(days=ahead)).date().isoformat()


#: flow -> what makes it due
OCCASIONS: dict[str, Callable[[Clinic, str], object]] = {
    "welcome-verify": lambda c, p: None,
    "finish-intake": lambda c, p: c.act("start-intake", patient_id=p, vertical="general"),
    "order-confirmation": lambda c, p: c.order(p),
    "identity-photo-needed": lambda c, p: c.act("require-identity-photo", order_id=c.paid(p, drug=True)),
    "visit-booked": lambda c, p: c.visit(p),
    "visit-reminder": lambda c, p: c.visit(p),
    "secure-message": lambda c, p: c.act("send-provider-message", patient_id=p, body="Please call us."),
    "prescription-decision": lambda c, p: c.decision(p),
    "decision-next-steps": lambda c, p: c.decision(p, "decline"),
    "pharmacy-processing": lambda c, p: c.filling(p),
    "coverage-cost-update": lambda c, p: c.act("hold-for-coverage", order_id=c.paid(p, drug=True), reason="copay"),
    "payment-failed": lambda c, p: c.act("fail-payment", order_id=c.order(p)),
    "order-delayed": lambda c, p: c.act("hold-order", order_id=c.paid(p, drug=True), reason="stock", expected_on=c.day(9)),
    "order-shipped": lambda c, p: c.act("record-scan", shipment_id=c.parcel(p)),
    "delivery-problem": lambda c, p: c.act("record-exception", shipment_id=c.parcel(p)),
    "order-delivered": lambda c, p: c.act("deliver-shipment", shipment_id=c.parcel(p)),
    "order-cancelled-refunded": lambda c, p: c.act("cancel-order", order_id=c.paid(p)),
    "treatment-check-in": lambda c, p: c.delivered(p),
    "auto-refill-upcoming": lambda c, p: c.act("start-subscription", patient_id=p, product_id=c.supply),
    "refill-due": lambda c, p: c.delivered(p),
    "renewal-visit-due": lambda c, p: c.decision(p),
    "therapy-lapsed": lambda c, p: c.delivered(p),
}


def occasions(stage: Stage) -> None:
    """22 patients; what happens to each makes one flow's email due, now or later."""
    flows = {flow.flow for flow in load_flows()}
    if set(OCCASIONS) != flows:
        raise PromiseBroken("the demo does not know every flow")
    clinic = Clinic(stage.oms, stage.story.catalogue)
    for flow, occasion in OCCASIONS.items():
        stage.show.waiting(f"making {flow} due")
        patient = clinic.patient(flow)
        stage.story.patients[flow] = patient
        occasion(clinic, patient)
    stage.fact(f"{len(OCCASIONS)} patients, each with a reason for one of the {len(flows)} emails")


def arrive(stage: Stage, children: Children) -> None:
    """What is due at once has come; then the clock is advanced, and the rest comes."""
    settle(stage, "the emails that are due at once")
    at_once = len(stage.systems.mailbox())
    stage.fact(f"{at_once} emails were due at once and are in the mailbox")
    for flow in APART:
        for schedule in schedules_of(stage, flow):
            children.omsync("local", "clock", "fire", schedule)
    settle(stage, "refill emails")
    told = json.loads(children.omsync("local", "clock", "advance", FAR, "--once-only", "--json").splitlines()[-1])
    settle(stage, "the scheduled emails")
    end = time.monotonic() + LATE
    while _lacking(stage.systems.mailbox()) and time.monotonic() < end:
        stage.show.waiting("waiting for the last emails")
        time.sleep(1)
    mails = stage.systems.mailbox()
    stage.fact(f"{len(mails) - at_once} more after {len(told)} schedules were fired by `omsync local clock`")
    _judge(stage, mails)


def _judge(stage: Stage, mails: list[Row]) -> None:
    """Each flow once to the patient it is about; no occurrence twice, whoever it went to."""
    claims = Counter(str(mail["tags"].get("claim", mail["id"])) for mail in mails)
    duplicates = sum(number - 1 for number in claims.values())
    flows = {_flow(mail) for mail in mails} & set(OCCASIONS)
    scans = stage.systems.dynamodb.get_paginator("scan").paginate(TableName=stage.systems.outputs["EmailSkipTableName"])
    skipped = sum(len(page["Items"]) for page in scans)
    stage.journal.summary["emails"] = {"flows_sent": len(flows), "sent": len(mails), "skipped": skipped, "duplicates": duplicates}
    first = {_flow(mail): mail for mail in mails}
    stage.journal.mails = [Mail(flow, first[flow]["subject"], first[flow]["html"]) for flow in OCCASIONS if flow in first]
    stage.fact(
        f"{len(flows)} of {len(OCCASIONS)} flows sent, {len(mails)} emails in all, {skipped} held back, each with its reason on record"
    )
    lacking = _lacking(mails)
    if lacking:
        stage.broken(f"not sent to the patient it is about: {', '.join(lacking)}")
    if duplicates:
        stage.broken(f"{duplicates} emails were sent twice")
    else:
        stage.fact("no email was sent twice")


def _lacking(mails: list[Row]) -> list[str]:
    """Flows whose email has not come to the patient it is about."""
    arrived = {(_flow(mail), address) for mail in mails for address in mail["to"]}
    return [flow for flow in OCCASIONS if (flow, f"{flow}@example.com") not in arrived]


def _flow(mail: Row) -> str:
    return str(mail["tags"].get("claim", "")).partition(".")[0]


def schedules_of(stage: Stage, flow: str) -> list[str]:
    """Names of the waiting schedules of a flow about its patient's orders."""
    scheduler: Any = stage.systems.aws.client("scheduler")
    orders = [row["id"] for row in stage.oms.rows("orders", patient_id=stage.story.patients[flow])]
    found = []
    for page in scheduler.get_paginator("list_schedules").paginate(
        NamePrefix=flow[:20]
    ):  # the embedded Scheduler lists a hundred and no more
        for entry in page["Schedules"]:
            told = scheduler.get_schedule(Name=entry["Name"], GroupName=entry["GroupName"])
            if any(order in told["Target"]["Input"] for order in orders):
                found.append(entry["Name"])
    return found


def settle(stage: Stage, what: str) -> None:
    """Wait until nothing of the emails has been under way for a while."""
    queues, still = stage.systems.queues(), time.monotonic()

    def quiet() -> float:
        nonlocal still
        if stage.oms.waiting() or any(stage.systems.depth(queues[f"{name}Queue"]) for name in QUEUES):
            still = time.monotonic()
        return time.monotonic() - still

    stage.until(f"waiting for {what}", quiet, lambda seconds: seconds > STILL, seconds=PATIENCE, every=0.5)
