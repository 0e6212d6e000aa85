"""What SES tells of its emails, by EventBridge: claims are settled, communications updated, addresses suppressed, people told.

SES's events come late, twice and in any order; each step can be repeated. A status never goes back: a bounce that follows a delivery counts,
a delivery told after a bounce does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from omsync.cases.ports import CasePort
from omsync.emails.claims import Claims
from omsync.emails.flows import Flow, Flows
from omsync.emails.occurrences import claim_of_tag, communication_id
from omsync.emails.ports import Oms, Reputation, Suppressions
from omsync.emails.rights import leave
from omsync.platform.errors import OmsyncError, Retryable
from omsync.sync.consume import NOT_REACHED, Result

#: order of the communications' statuses: never back
_RANK: Final = {"queued": 0, "sent": 1, "delivered": 2, "opened": 3, "bounced": 4, "failed": 4}
_STATUS: Final = {"Delivery": "delivered", "Bounce": "bounced", "Reject": "failed", "Rendering Failure": "failed"}

type Rows = dict[str, dict[str, Any]]


class Mail(BaseModel):
    """The part all events have."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    message_id: str = Field(alias="messageId")
    timestamp: str
    destination: tuple[str, ...] = ()
    tags: dict[str, list[str]] = Field(default_factory=dict)


class SesDetail(BaseModel):
    """An event as SES publishes it (developer guide, "Examples of event data")."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    event_type: str = Field(alias="eventType")
    mail: Mail
    bounce: dict[str, Any] | None = None


class SesEvent(BaseModel):
    """EventBridge's envelope around it, as it lies in the queue."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = "unknown"
    detail: SesDetail
    attempt: int = 0

    @property
    def correlation_id(self) -> str:
        """The event's id."""
        return self.id


@dataclass(frozen=True, slots=True)
class Feedback:
    """`Worker` of the feedback queue's consumer."""

    flows: Flows
    oms: Oms
    claims: Claims
    suppressions: Suppressions
    reputation: Reputation
    cases: CasePort
    now: Callable[[], str]
    time_is_up: Callable[[], bool] = field(default=lambda: False)

    def __call__(self, events: Sequence[SesEvent]) -> list[Result]:
        """One result an event. Raises Retryable if the OMS cannot be read at all."""
        rows = self._logged(events)
        return [self._event(event.detail, rows) for event in events]

    def _logged(self, events: Sequence[SesEvent]) -> Rows:
        """Our communications that events tell of, by id: read in one call, and kept up to date by what we change."""
        told = [event.detail for event in events if event.detail.event_type != "Send" and event.detail.mail.tags.get("claim")]
        ids = list(dict.fromkeys(communication_id(claim_of_tag(detail.mail.tags["claim"][0])) for detail in told))
        return self.oms.batch_get("communications", ids) if ids else {}

    def _event(self, told: SesDetail, rows: Rows) -> Result:
        if self.time_is_up():
            return NOT_REACHED
        tags = told.mail.tags.get("claim")
        if not tags:
            return Result("not_ours")
        claim = claim_of_tag(tags[0])
        record = f"communications/{communication_id(claim)}"
        try:
            return self._apply(told, claim, record, rows)
        except OmsyncError as fault:
            return Result("failed", fault, record)

    def _apply(self, told: SesDetail, claim: str, record: str, rows: Rows) -> Result:
        flow = self.flows.get(claim.partition(":")[0])
        if told.event_type in ("Send", "Delivery", "Bounce", "Complaint"):
            self.claims.confirm(claim, message_id=told.mail.message_id, at=told.mail.timestamp)
        if told.event_type == "Send":
            return Result("confirmed", record=record)
        if status := _STATUS.get(told.event_type):
            permanent = told.event_type != "Bounce" or (told.bounce or {}).get("bounceType") == "Permanent"
            if not permanent:
                return Result("transient_bounce", record=record)
            row = self._update(record, status, rows)
            self._undelivered(told, flow, row, record, status)
            return Result(status, record=record)
        if told.event_type == "Complaint":
            row = _row(record, rows)
            self._suppress(told, "complaint")
            leave(self.oms, str(row["patient_id"]), self.now())
            self.reputation.count("complained")  # last: what is tried again counts once
            return Result("complained", record=record)
        return Result("ignored", record=record)

    def _undelivered(self, told: SesDetail, flow: Flow | None, row: Mapping[str, Any], record: str, status: str) -> None:
        if status == "delivered":
            return
        if status == "bounced":
            self._suppress(told, "bounce")
            self._unverify(str(row["patient_id"]), told.mail.destination)
        if flow is None or flow.clinical or status == "failed":
            detail = f"The email {row['template_code']} could not be delivered ({told.event_type}). Please reach the patient another way."
            self.cases.open("email_undelivered", record, detail)
        if status == "bounced":
            self.reputation.count("bounced")

    def _suppress(self, told: SesDetail, reason: str) -> None:
        for address in told.mail.destination:
            self.suppressions.add(address, reason)

    def _update(self, record: str, status: str, rows: Rows) -> Mapping[str, Any]:
        row = _row(record, rows)
        if _RANK[status] <= _RANK.get(str(row["delivery_status"]), 0):
            return row
        key = f"email-{row['id']}-{status}-{row['version']}"
        rows[str(row["id"])] = self.oms.patch(
            "communications", str(row["id"]), {"delivery_status": status}, version=int(row["version"]), key=key
        )
        return rows[str(row["id"])]

    def _unverify(self, patient_id: str, addresses: Sequence[str]) -> None:
        """An address that does not exist is no verified one. If the patient has a new one by now, that stays."""
        patient = self.oms.get("patients", patient_id)
        if patient is None or patient["email_verified_at"] is None:
            return
        if str(patient["email"]).lower() not in {address.lower() for address in addresses}:
            return
        key = f"email-bounced-{patient_id}-{patient['version']}"
        self.oms.patch("patients", patient_id, {"email_verified_at": None}, version=int(patient["version"]), key=key)


def _row(record: str, rows: Rows) -> dict[str, Any]:
    row = rows.get(record.partition("/")[2])
    if row is None:  # SES was quicker than our log
        raise Retryable("the OMS does not know the email yet", code="emails.unlogged", record=record, after=10.0)
    return row
