"""A small world for the emails: an OMS of dictionaries, SES as a list, tables as dicts. Fakes, each with the contract of its port."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from omsync.emails.claims import LEASE_SECONDS, Claim, Taking
from omsync.emails.compose import template
from omsync.emails.flows import Flows
from omsync.emails.lifecycle import Lifecycle
from omsync.emails.occurrences import EmailJob
from omsync.emails.plan import Planner
from omsync.emails.ports import Envelope, Refused, Unclear
from omsync.emails.sender import House, Sender, World
from omsync.emails.tokens import Tokens
from omsync.emails.transitions import Transition, flows_for
from omsync.platform.errors import Stale
from omsync.sync.consume import Result
from omsync.sync.messages import LifecycleMessage
from ops.emails.build import load_flows_source

type Row = dict[str, Any]

NOON = datetime(2026, 3, 2, 18, 0, tzinfo=UTC)  # a Monday, noon in Chicago
FLOWS: Flows = load_flows_source()
ids = (str(uuid.UUID(int=number)) for number in itertools.count(1))


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass
class FakeOms:
    """Rows by table and id, with versions, as the API gives them; every change is also an event."""

    clock: Clock
    tables: dict[str, dict[str, Row]] = field(default_factory=dict)
    events: list[LifecycleMessage] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    down: bool = False

    def add(self, table: str, **values: Any) -> Row:
        row: Row = {"id": next(ids), "version": 1, "deleted_at": None, "created_at": stamp(self.clock.now()), "changed_by": "oms", **values}
        self.tables.setdefault(table, {})[row["id"]] = row
        self._tell(table, row, "created", {})
        return row

    def set(self, table: str, row: Row, **values: Any) -> Row:
        current = self.tables[table][row["id"]]
        old = {name: current.get(name) for name in values if current.get(name) != values[name]}
        current.update(values, version=current["version"] + 1)
        self._tell(table, current, "updated", old)
        return current

    def _tell(self, table: str, row: Row, operation: str, old: Row) -> None:
        event_id = next(ids)
        self.events.append(
            LifecycleMessage(
                correlation_id=f"c-{event_id[-6:]}", origin="oms", committed_at=self.clock.now(), event_id=event_id, table=table, id=row["id"],
                version=row["version"], operation=operation, row=dict(row), old=old,
            )
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------ the client
    def batch_get(self, table: str, ids: Sequence[str]) -> dict[str, Row]:
        self._call(f"batch-get {table}")
        return {row_id: dict(row) for row_id in ids if (row := self.tables.get(table, {}).get(row_id))}

    def children(self, table: str, column: str, parent: str) -> Iterator[Row]:
        self._call(f"children {table}")
        yield from (dict(row) for row in list(self.tables.get(table, {}).values()) if row.get(column) == parent)

    def children_of(self, table: str, column: str, parents: Sequence[str]) -> Iterator[Row]:
        self._call(f"children-of {table}")
        yield from (dict(row) for row in list(self.tables.get(table, {}).values()) if row.get(column) in parents)

    def get(self, table: str, row_id: str) -> Row | None:
        self._call(f"get {table}")
        found = self.tables.get(table, {}).get(row_id)
        return dict(found) if found else None

    def create(self, table: str, row: Mapping[str, object], *, key: str) -> Row:
        self._call(f"create {table}")
        rows = self.tables.setdefault(table, {})
        rows.setdefault(str(row["id"]), {"version": 1, "deleted_at": None, "revoked_at": None, **row})
        return rows[str(row["id"])]

    def patch(self, table: str, row_id: str, values: Mapping[str, object], *, version: int | None, key: str) -> Row:
        self._call(f"patch {table}")
        row = self.tables[table][row_id]
        if version != row["version"]:
            raise Stale("moved on", code="oms.precondition")
        row.update(values, version=row["version"] + 1)
        return dict(row)

    def _call(self, what: str) -> None:
        self.calls.append(what)
        if self.down:
            from omsync.platform.errors import Retryable

            raise Retryable("no answer", code="oms.unreachable")


@dataclass
class Clock:
    at: datetime = NOON

    def now(self) -> datetime:
        return self.at

    def pass_(self, span: timedelta) -> None:
        self.at += span


@dataclass
class FakeClaims:
    """Claims in a dict; each method is one atomic step, as a conditional write is."""

    clock: Clock
    items: dict[str, Claim] = field(default_factory=dict)
    caps: dict[str, str] = field(default_factory=dict)
    triggers: dict[tuple[str, str], int] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def take(self, name: str, owner: str, now: float, *, cap: str | None) -> Taking:
        if name in self.items:
            return "held"
        if cap and self.caps.get(cap, name) != name:
            return "capped"
        self.items[name] = Claim(name, "claimed", owner, now + LEASE_SECONDS)
        if cap:
            self.caps[cap] = name
        return "taken"

    def read(self, name: str) -> Claim | None:
        return self.items.get(name)

    def sent(self, name: str, owner: str, *, message_id: str, at: str) -> None:
        held = self.items[name]
        if held.state == "claimed" and held.owner == owner:
            self.items[name] = replace(held, state="sent", message_id=message_id, sent_at=at)

    def release(self, name: str, owner: str, *, cap: str | None) -> None:
        held = self.items.get(name)
        if held and held.state == "claimed" and held.owner == owner:
            del self.items[name]
            if cap:
                self.caps.pop(cap, None)

    def confirm(self, name: str, *, message_id: str, at: str) -> bool:
        held = self.items.get(name)
        if held and held.state != "sent":
            self.items[name] = replace(held, state="sent", message_id=message_id, sent_at=at)
            return True
        return False

    def logged(self, name: str) -> None:
        self.items[name] = replace(self.items[name], logged=True)

    def give_up(self, name: str, owner: str) -> bool:
        held = self.items[name]
        if held.state == "claimed" and held.owner == owner:
            self.items[name] = replace(held, state="unknown")
            return True
        return False

    def newest_trigger(self, flow: str, entity: str, version: int) -> int:
        self.triggers[flow, entity] = max(version, self.triggers.get((flow, entity), 0))
        return self.triggers[flow, entity]

    def token_used(self, identity: str) -> bool:
        return identity in self.tokens

    def use_token(self, identity: str) -> None:
        self.tokens.add(identity)


@dataclass
class FakeMailer:
    """SES: what it takes is sent; `mood` makes it refuse, or fall silent before or after sending."""

    sent: list[Envelope] = field(default_factory=list)
    mood: Literal["well", "throttled", "refusing", "silent_before", "silent_after"] = "well"

    def send(self, envelope: Envelope) -> str:
        from omsync.platform.errors import Permanent, Retryable

        if self.mood == "throttled":
            raise Refused(Retryable("Throttling", code="ses.throttling"))
        if self.mood == "refusing":
            raise Refused(Permanent("MessageRejected", code="ses.refused"))
        if self.mood == "silent_before":
            raise Unclear("ReadTimeoutError")
        self.sent.append(envelope)
        if self.mood == "silent_after":
            raise Unclear("ReadTimeoutError")
        return f"ses-{len(self.sent)}"


@dataclass
class FakeSchedules:
    jobs: dict[str, tuple[datetime, EmailJob]] = field(default_factory=dict)

    def at(self, name: str, moment: datetime, job: EmailJob) -> None:
        self.jobs.setdefault(name, (moment, job))


@dataclass
class FakeSuppressions:
    reasons: dict[str, str] = field(default_factory=dict)

    def reason(self, addresses: Sequence[str]) -> Mapping[str, str]:
        return {address: self.reasons[address.lower()] for address in addresses if address.lower() in self.reasons}

    def add(self, address: str, reason: str) -> None:
        self.reasons.setdefault(address.lower(), reason)


@dataclass
class FakeSkips:
    notes: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, claim: str, flow: str, reason: str) -> None:
        self.notes.append((claim, flow, reason))


@dataclass
class FakeReputation:
    counts: dict[str, int] = field(default_factory=dict)
    bad: bool = False

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def endangered(self) -> bool:
        return self.bad


@dataclass
class FakeCases:
    opened: list[tuple[str, str, str]] = field(default_factory=list)

    def open(self, kind: str, record: str, detail: str) -> None:
        if (kind, record) not in {(known, about) for known, about, _ in self.opened}:
            self.opened.append((kind, record, detail))


@dataclass
class FakePublished:
    done_keys: set[str] = field(default_factory=set)
    busy_keys: set[str] = field(default_factory=set)

    def begin(self, key: str) -> Literal["mine", "done", "busy"]:
        if key in self.done_keys:
            return "done"
        if key in self.busy_keys:
            return "busy"
        self.busy_keys.add(key)
        return "mine"

    def done(self, key: str) -> None:
        self.busy_keys.discard(key)
        self.done_keys.add(key)

    def undo(self, key: str) -> None:
        self.busy_keys.discard(key)


class EmailWorld:
    """The OMS, the lifecycle consumer, the rules (as patterns), the email queue, the sender, and time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.oms = FakeOms(self.clock)
        self.claims = FakeClaims(self.clock)
        self.mailer, self.schedules, self.suppressions = FakeMailer(), FakeSchedules(), FakeSuppressions()
        self.skips, self.reputation, self.cases, self.published = FakeSkips(), FakeReputation(), FakeCases(), FakePublished()
        self.tokens = Tokens((b"key",), lambda: self.clock.now().timestamp())
        self.queue: list[EmailJob] = []
        self.bus: list[Transition] = []
        self.results: list[Result] = []
        house = House(
            "UpScript Health <care@upscript.example>",
            "https://my.upscript.example/login",
            "https://api.upscript.example/live",
            "100 Main Street",
        )
        world = World(
            self.oms, self.claims, self.mailer, self.schedules, self.suppressions, self.skips, self.reputation, self.cases, self.clock.now
        )
        self.sender = Sender(FLOWS, Planner("America/Chicago"), house, world, self.tokens)
        self.lifecycle = Lifecycle(FLOWS, self, self.published)

    def publish(self, transitions: Sequence[Transition]) -> list[Transition]:
        """The bus with its 22 rules."""
        self.bus += transitions
        for item in transitions:
            self.queue += [EmailJob(flow=flow.flow, transition=item, correlation_id=item.correlation_id) for flow in flows_for(item, FLOWS)]
        return []

    def push(self) -> None:
        """The OMS's events arrive, and what they ask for is done."""
        events, self.oms.events = self.oms.events, []
        self.lifecycle(events)
        self.work()

    def work(self) -> list[Result]:
        """Until the queue is empty or only holds what must wait."""
        for _ in range(5):
            if not self.queue:
                break
            jobs, self.queue = self.queue, []
            results = self.sender(jobs)
            self.results += results
            self.queue += [job for job, result in zip(jobs, results, strict=True) if result.fault is not None]
            if self.queue:
                break
        return self.results

    def until(self, moment: datetime) -> None:
        """Time passes; schedules fire when they are due."""
        while due := [entry for entry in self.schedules.jobs.items() if entry[1][0] <= moment]:
            name, (at, job) = min(due, key=lambda entry: entry[1][0])
            del self.schedules.jobs[name]
            self.clock.at = max(self.clock.at, at)
            self.queue.append(job)
            self.work()
        self.clock.at = max(self.clock.at, moment)

    def after(self, **span: float) -> None:
        self.until(self.clock.now() + timedelta(**span))

    def sent(self, flow: str) -> list[Envelope]:
        return [envelope for envelope in self.mailer.sent if envelope.tag.startswith(f"{flow}.")]

    def reasons(self, flow: str) -> list[str]:
        return [reason for _, noted, reason in self.skips.notes if noted == flow]

    # ---------------------------------------------------------------------------------------------------------- people
    def patient(self, **values: Any) -> Row:
        return self.oms.add(
            "patients",
            **{
                "first_name": "Zoë", "preferred_name": None, "email": "zoe@example.com", "email_verified_at": stamp(self.clock.now()),
                "marketing_opt_in": True, "preferred_language": "en", "time_zone": "America/Chicago", "status": "active", **values,
            },
        )  # fmt: skip

    def order(self, patient: Row, **values: Any) -> Row:
        row = self.oms.add(
            "orders",
            patient_id=patient["id"],
            subscription_id=None,
            status="draft",
            hold_reason=None,
            placed_at=None,
            cancelled_at=None,
            total_cents=12840,
            currency="USD",
            expected_on=None,
        )
        wanted = {"status": "pending_payment", "placed_at": stamp(self.clock.now()), **values}
        return self.oms.set("orders", row, **wanted)

    def prescription(self, patient: Row, **values: Any) -> Row:
        row = self.oms.add(
            "prescriptions",
            **{
                "patient_id": patient["id"], "consultation_id": None, "replaces_rx_id": None, "status": "draft", "days_supply": 30,
                "refills_remaining": 2, "expires_on": str(date(2027, 3, 2)), **values,
            },
        )  # fmt: skip
        self.oms.set("prescriptions", row, status="ready_to_sign")
        return self.oms.set("prescriptions", row, status="active")

    def delivered_order(self, patient: Row, prescription: Row | None, **values: Any) -> Row:
        order = self.order(patient, **values)
        line = {"order_id": order["id"], "line_no": 1, "fill_status": "filled"}
        self.oms.add("order_items", **line, prescription_id=prescription["id"] if prescription else None)
        self.shipment(order, tracking_status="delivered", status="delivered", delivered_at=stamp(self.clock.now()))
        return self.oms.set("orders", order, status="delivered")

    def shipment(self, order: Row, **values: Any) -> Row:
        row = self.oms.add(
            "shipments",
            order_id=order["id"],
            patient_id=order["patient_id"],
            return_of_id=None,
            carrier="usps",
            tracking_number="9400",
            status="pending",
            tracking_status="unknown",
            estimated_delivery_on="2026-03-08",
            delivered_at=None,
        )
        self.oms.set("shipments", row, status="handed_over", tracking_status="pre_transit")
        return self.oms.set("shipments", row, **values) if values else row

    def visit(self, patient: Row, at: datetime, **values: Any) -> Row:
        row = self.oms.add("consultations", patient_id=patient["id"], follow_up_of_id=None, status="requested", scheduled_at=None)
        return self.oms.set("consultations", row, **{"status": "scheduled", "scheduled_at": stamp(at), **values})

    def subscription(self, patient: Row, **values: Any) -> Row:
        return self.oms.add(
            "subscriptions",
            **{
                "patient_id": patient["id"],
                "status": "active",
                "next_order_on": "2026-03-30",
                "price_cents": 4900,
                "currency": "USD",
                **values,
            },
        )

    def message(self, patient: Row) -> Row:
        return self.oms.add(
            "communications", patient_id=patient["id"], channel="portal", direction="outbound", delivery_status="delivered", order_id=None
        )


def rendered(envelope: Envelope) -> str:
    """Subject and text as the patient reads them."""
    from omsync.emails.compose import render

    parts = template(envelope.template.partition("-")[2], envelope.template.partition("-")[0])
    parts.check(envelope.data)
    return render(f"{parts.subject}\n{parts.text}", envelope.data)
