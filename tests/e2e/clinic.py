"""A clinic for the emails' stories: patients and what happens to them, the mailbox, the schedules, what was held back and why."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from local.stack.deploy import STACK
from tests.e2e.world import Oms, Row, World
from tests.polling import until

ZONES = ("America/Chicago", "Asia/Kolkata", "Pacific/Auckland", "Europe/Berlin")
QUEUES = ("LifecycleQueue", "EmailQueue", "EmailFeedbackQueue")
GROUP = f"{STACK}-emails"
#: stories told at the same time: the OMS answers one while the next is on its way
AT_ONCE = 4
#: nothing has moved for so long, in seconds: what SES tells comes 0.05 s after it has answered
STILL = 1.5

type Email = dict[str, Any]


#: hours of the day, and quiet ones, that both end in more than an hour
DAY, NIGHT = range(9, 20), (21, 22, 23, *range(7))


def zone_where(hours: Sequence[int]) -> str:
    """A zone in which it is one of these hours. There always is one for DAY and for NIGHT."""
    return next(zone for zone in ZONES if datetime.now(ZoneInfo(zone)).hour in hours)


@dataclass(frozen=True)
class Waiting:
    """A one-time schedule."""

    name: str
    at: datetime
    flow: str
    entity: str


@dataclass
class Clinic:
    """One run: its patients have addresses of their own, so that earlier runs on a borrowed stack don't count."""

    world: World
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    #: neither early nor late: no quiet hours stand in the way
    zone: str = field(default_factory=lambda: zone_where(DAY))

    @property
    def oms(self) -> Oms:
        return self.world.oms

    def open(self) -> None:
        """What the company has before patients come."""
        create = self.oms.create
        self.drug = create("products", sku=f"RX-{self.run}", name="Treatment", product_type="rx_drug", requires_prescription=True,
                           list_price_cents=12840)["id"]  # fmt: skip
        self.plain = create("products", sku=f"OTC-{self.run}", name="Supply", product_type="otc", list_price_cents=4900)["id"]
        self.provider = create("providers", npi=str(int(self.run, 16) % 10**10).zfill(10), first_name="Pat", last_name="Lee")["id"]
        self.pharmacy = create("pharmacies", name="Pharmacy", pharmacy_type="mail_order")["id"]

    def today(self) -> date:
        """Where the patients are."""
        return datetime.now(ZoneInfo(self.zone)).date()

    # ------------------------------------------------------------------------------------------------- what happens
    def address(self, name: str) -> str:
        return f"{name}-{self.run}@example.com"

    def patient(self, name: str, *, verified: bool = True, email: str | None = None, **more: object) -> Row:
        values = {"marketing_opt_in": True, "time_zone": self.zone, **more}
        written = self.oms.act("register-patient", first_name="Ada", last_name="Byron", email=email or self.address(name), **values)
        person = written["patients"][0]
        if verified:
            self.oms.act("verify-email", patient_id=person["id"])
        return person

    def intake(self, person: Row) -> Row:
        return self.oms.act("start-intake", patient_id=person["id"], vertical="general")["intake_responses"][0]

    def order(self, person: Row, *, plain: bool = True) -> Row:
        items = [{"product_id": self.plain if plain else self.drug, "quantity": 1}]
        return self.oms.act("place-order", patient_id=person["id"], items=items)["orders"][0]

    def paid(self, person: Row, *, plain: bool = True) -> Row:
        return self.oms.act("pay-order", order_id=self.order(person, plain=plain)["id"])["orders"][0]

    def visit(self, person: Row, days: float = 5) -> Row:
        at = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0).isoformat()
        written = self.oms.act("book-consultation", patient_id=person["id"], provider_id=self.provider, scheduled_at=at)
        return written["consultations"][0]

    def move(self, visit: Row, at: datetime) -> None:
        self.oms.act("move-consultation", consultation_id=visit["id"], scheduled_at=at.isoformat())

    def decision(self, person: Row, decision: str = "approve") -> dict[str, list[Row]]:
        intake = self.intake(person)
        self.oms.act("submit-intake", intake_id=intake["id"], answers={"allergies": "none"})
        treatment = {"product_id": self.drug, "refills": 2} if decision == "approve" else {}
        told = {"consultation_id": intake["consultation_id"], "decision": decision, "provider_id": self.provider}
        return self.oms.act("decide", **told, **treatment)

    def prescription(self, person: Row) -> Row:
        return self.decision(person)["prescriptions"][0]

    def review(self, person: Row) -> Row:
        """A paid order that waits for a prescription."""
        return self.paid(person, plain=False)

    def filling(self, person: Row) -> Row:
        return self.oms.act("accept-order", order_id=self.paid(person)["id"], pharmacy_id=self.pharmacy)["orders"][0]

    def parcel(self, person: Row, order: Row | None = None) -> Row:
        order = order or self.filling(person)
        return self.oms.act("ship-order", order_id=order["id"], estimated_delivery_on="2030-03-09")["shipments"][0]

    def delivered(self, person: Row) -> Row:
        """An order filled from a prescription, at the door."""
        self.prescription(person)
        order = self.paid(person, plain=False)
        self.oms.act("accept-order", order_id=order["id"], pharmacy_id=self.pharmacy)
        self.oms.act("deliver-shipment", shipment_id=self.parcel(person, order)["id"])
        return order

    def messages(self, person: Row) -> list[Row]:
        return [
            self.oms.act("send-provider-message", patient_id=person["id"], body="Please call us.")["communications"][0] for _ in range(2)
        ]

    # ------------------------------------------------------------------------------------------------------ the mailbox
    def mailbox(self) -> list[Email]:
        """This run's emails."""
        answer = self.world.stack.http.get(f"{self.world.stack.endpoints['mailbox_url']}/messages.json")
        return [email for email in answer.json() if any(self.run in address for address in email["to"])]

    def skips(self) -> list[tuple[str, str]]:
        """(claim, reason) of everything that was ever held back."""
        table = self.world.stack.outputs["EmailSkipTableName"]
        pages = self.world.stack.aws.client("dynamodb").get_paginator("scan").paginate(TableName=table)
        return [(item["pk"]["S"], item["reason"]["S"]) for page in pages for item in page["Items"]]

    # ------------------------------------------------------------------------------------------------------------- time
    def settled(self, *, feedback: bool = True, seconds: float = 240) -> None:
        """Everything is pushed, published, sent or skipped; with `feedback` what SES tells has arrived, too."""
        still = time.monotonic()

        def quiet() -> float:
            nonlocal still
            if int(self.oms.delivery()["pending"]) or any(self.world.depth(queue) for queue in QUEUES[: 3 if feedback else 2]):
                still = time.monotonic()
            return time.monotonic() - still

        until(quiet, lambda span: span > STILL, seconds=seconds, every=0.3)

    def pass_time(self, days: int) -> None:
        """Fire the one-time schedules due by then."""
        self.world.stack.omsync("local", "clock", "advance", f"{days}d", "--once-only")

    def fire(self, name: str) -> None:
        """Fire one schedule."""
        url = f"{self.world.stack.endpoints['aws_endpoint_url']}/_omsync/fire"
        assert self.world.stack.http.post(url, json={"name": name}).json(), f"no schedule {name}"

    def schedules(self, flow: str) -> list[Waiting]:
        """What of a flow waits for its time (the embedded Scheduler lists a hundred and no more)."""
        scheduler = self.world.stack.aws.client("scheduler")
        found = []
        for page in scheduler.get_paginator("list_schedules").paginate(GroupName=GROUP, NamePrefix=flow[:20]):
            for entry in page["Schedules"]:
                told = scheduler.get_schedule(Name=entry["Name"], GroupName=GROUP)
                at = datetime.fromisoformat(told["ScheduleExpression"][3:-1]).replace(tzinfo=UTC)
                occurrence = json.loads(told["Target"]["Input"])["occurrence"]
                found.append(Waiting(entry["Name"], at, occurrence["flow"], occurrence["entity"]))
        return found

    def good_name(self) -> None:
        """Forget this week's bounces and complaints: what earlier tests made SES's simulator answer would stop all marketing."""
        for back in range(8):
            day = f"email/{datetime.now(UTC) - timedelta(days=back):%Y-%m-%d}"
            self.world.stack.aws.client("dynamodb").delete_item(
                TableName=self.world.stack.outputs["StateTableName"], Key={"pk": {"S": day}}
            )

    def dead_letters(self) -> dict[str, int]:
        """What is buried in the emails' queues."""
        return {name: depth for name in ("Lifecycle", "Email", "EmailFeedback", "EmailRules") if (depth := self.world.depth(f"{name}Dlq"))}


def together[T, R](stories: Iterable[T], tell: Callable[[T], R]) -> list[R]:
    """Tell stories of different patients at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(tell, stories))


@dataclass
class Post:
    """What came of it all: this run's emails and the reasons of those that were held back, as they stand at the end."""

    run: str
    emails: Sequence[Email]
    skips: Sequence[tuple[str, str]]

    def to(self, name: str, flow: str) -> list[Email]:
        """A patient's emails of one flow."""
        return [email for email in self.emails if email["to"] == [f"{name}-{self.run}@example.com"] and flow_of(email) == flow]

    def reasons(self, flow: str, entity: str) -> list[str]:
        """Why emails of a flow about a row were not sent."""
        return [reason for claim, reason in self.skips if claim.startswith(f"{flow}:{entity}:")]


def flow_of(email: Mapping[str, Any]) -> str:
    return str(email["tags"].get("claim", "")).partition(".")[0]


def claim_of(email: Mapping[str, Any]) -> str:
    return str(email["tags"]["claim"])
