"""What holds an email back, looked at with fresh rows when it is to be sent. True: don't send; the condition's name is the reason noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from omsync.emails.anchors import BATCH, batch_end, written
from omsync.emails.subject import Subject, moment

ENDED: Final = ("cancelled", "entered_in_error", "replaced")
VISIT_OVER: Final = ("completed", "declined", "cancelled", "no_show", "expired")
#: a refund so soon after the order's cancellation is told with it
SAME_NEWS: Final = timedelta(minutes=5)
#: nobody is reminded of a treatment that ended so long ago
LAPSED: Final = timedelta(days=90)


def _status(*states: str) -> Callable[[Subject], bool]:
    return lambda subject: subject.row["status"] in states


def _not_status(*states: str) -> Callable[[Subject], bool]:
    return lambda subject: subject.row["status"] not in states


def _not_held(*reasons: str) -> Callable[[Subject], bool]:
    return lambda subject: subject.row["status"] != "on_hold" or subject.row["hold_reason"] not in reasons


def already_verified(subject: Subject) -> bool:
    return subject.patient["email_verified_at"] is not None


def submitted(subject: Subject) -> bool:
    return subject.row["submitted_at"] is not None


def visit_ended(subject: Subject) -> bool:
    """The visit that the questionnaire was for is over, or was given up: nobody waits for the answers."""
    visit = subject.state.row("consultations", subject.row["consultation_id"])
    return visit is not None and visit["status"] in VISIT_OVER


def visit_not_ahead(subject: Subject) -> bool:
    return subject.row["status"] != "scheduled" or moment(subject.row["scheduled_at"]) <= subject.now


def messages_read(subject: Subject) -> bool:
    end = batch_end(written(subject))
    return not subject.unread(end - BATCH, end)


def decision_superseded(subject: Subject) -> bool:
    return subject.row["status"] != "declined" or bool(subject.state.children("consultations", "follow_up_of_id", str(subject.row["id"])))


def payment_settled(subject: Subject) -> bool:
    """Paid, given up, or the order is gone."""
    gone = subject.order is not None and subject.order["status"] in ("cancelled", "declined")
    return subject.row["status"] in ("processing", "requires_capture", "succeeded", "canceled") or gone


def delay_resolved(subject: Subject) -> bool:
    held_otherwise = subject.row["status"] == "on_hold" and subject.row["hold_reason"] in ("identity_photo", "copay", "prior_authorization")
    return subject.row["status"] not in ("on_hold", "error") or held_otherwise


def refund_told(subject: Subject) -> bool:
    """A refund that belongs to the order's cancellation, of which an email of its own tells."""
    if subject.source is None or not subject.source.get("payment_id") or subject.row["cancelled_at"] is None:
        return False
    return abs(moment(subject.source["created_at"]) - moment(subject.row["cancelled_at"])) <= SAME_NEWS


def chargeback(subject: Subject) -> bool:
    """The bank took it back: the patient knows."""
    return subject.source is not None and subject.source.get("kind") == "chargeback"


def no_treatment(subject: Subject) -> bool:
    return not subject.prescriptions


def discontinued(subject: Subject) -> bool:
    """Every prescription behind the order has ended without a successor, or the plan was cancelled."""
    plan = subject.state.row("subscriptions", subject.row["subscription_id"])
    stopped = [row for row in subject.prescriptions if row["status"] in ("cancelled", "entered_in_error")]
    return (plan is not None and plan["status"] in ("cancelled", "ended")) or (bool(stopped) and len(stopped) == len(subject.prescriptions))


def ordered(subject: Subject) -> bool:
    return bool(subject.later_orders)


def on_plan(subject: Subject) -> bool:
    """The next order comes by itself."""
    plan = subject.state.row("subscriptions", subject.row["subscription_id"])
    return plan is not None and plan["status"] in ("active", "trialing", "past_due", "paused")


def no_refills(subject: Subject) -> bool:
    """Nothing left to order: the renewal's email tells."""
    return bool(subject.prescriptions) and all(int(row["refills_remaining"]) == 0 for row in subject.prescriptions)


def renewed(subject: Subject) -> bool:
    successors = subject.state.children("prescriptions", "replaces_rx_id", str(subject.row["id"]))
    return subject.row["status"] in ENDED or any(row["status"] not in ENDED for row in successors)


def booked(subject: Subject) -> bool:
    visits = subject.state.children("consultations", "patient_id", str(subject.patient["id"]))
    return any(row["status"] == "scheduled" and row["scheduled_at"] and moment(row["scheduled_at"]) > subject.now for row in visits)


def lapsed_too_long(subject: Subject) -> bool:
    return subject.supply_end is None or subject.now.astimezone(subject.zone).date() > subject.supply_end + LAPSED


BY_NAME: Final[Mapping[str, Callable[[Subject], bool]]] = {
    "already_verified": already_verified,
    "submitted": submitted,
    "visit_ended": visit_ended,
    "order_cancelled": _status("cancelled", "declined"),
    "photo_received": _not_held("identity_photo"),
    "visit_not_ahead": visit_not_ahead,
    "messages_read": messages_read,
    "prescription_superseded": _not_status("active", "depleted"),
    "decision_superseded": decision_superseded,
    "left_pharmacy": _not_status("filling"),
    "coverage_resolved": _not_held("copay", "prior_authorization"),
    "payment_settled": payment_settled,
    "delay_resolved": delay_resolved,
    "delivered": lambda subject: subject.row["tracking_status"] == "delivered" or subject.row["status"] in ("delivered", "cancelled"),
    "refund_told": refund_told,
    "chargeback": chargeback,
    "no_treatment": no_treatment,
    "discontinued": discontinued,
    "plan_not_active": _not_status("active", "trialing", "past_due"),
    "ordered": ordered,
    "on_plan": on_plan,
    "no_refills": no_refills,
    "renewed": renewed,
    "booked": booked,
    "lapsed_too_long": lapsed_too_long,
}
