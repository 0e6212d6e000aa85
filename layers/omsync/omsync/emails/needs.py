"""What a flow's questions look at beside its row and its patient, so that a whole batch's rows are read in a few calls.

Said by the name of the moment, condition or variable that looks. What is not said here is still read, one call each: a test finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from omsync.emails.flows import Flow


@dataclass(frozen=True, slots=True)
class Referred:
    """The row of `table` that the entity's `column` refers to."""

    column: str
    table: str


@dataclass(frozen=True, slots=True)
class Referring:
    """The rows of `table` whose `column` refers to the entity, or to the patient."""

    table: str
    column: str
    to: Literal["entity", "patient"] = "entity"


type Need = Referred | Referring

_LINES: Final = Referring("order_items", "order_id")
_PLAN: Final = Referred("subscription_id", "subscriptions")
_MESSAGES: Final = Referring("communications", "patient_id", "patient")
_BY_NAME: Final[dict[str, tuple[Need, ...]]] = {
    "supply_end": (Referring("shipments", "order_id"), _LINES),
    "visit_ended": (Referred("consultation_id", "consultations"),),
    "messages_read": (_MESSAGES,),
    "count": (_MESSAGES,),
    "decision_superseded": (Referring("consultations", "follow_up_of_id"),),
    "payment_settled": (Referred("order_id", "orders"),),
    "refund_told": (Referring("refunds", "order_id"),),
    "no_treatment": (_LINES,),
    "discontinued": (_LINES, _PLAN),
    "on_plan": (_PLAN,),
    "ordered": (Referring("orders", "patient_id", "patient"),),
    "renewed": (Referring("prescriptions", "replaces_rx_id"),),
    "booked": (Referring("consultations", "patient_id", "patient"),),
}
#: where refill emails look whether somebody has left our emails, who is not opted in
CONSENTS: Final = Referring("patient_consents", "patient_id", "patient")


def needs_of(flow: Flow) -> frozenset[Need]:
    """Of all its moments, conditions and variables."""
    return frozenset(need for name in (flow.timing.anchor, *flow.cancel_if, *flow.data) for need in _BY_NAME.get(name, ()))
