"""The names flows.yaml may use. Each module that gives one of them a meaning is held to this list by a test."""

from __future__ import annotations

from typing import Final

#: table -> the columns whose changes emails hang on. Only these leave the row: states as they are, the rest as "set" or null.
FACTS: Final[dict[str, tuple[str, ...]]] = {
    "patients": (),
    "intake_responses": ("submitted_at",),
    "orders": ("status", "hold_reason", "placed_at"),
    "consultations": ("status", "scheduled_at"),
    "communications": ("channel", "direction"),
    "prescriptions": ("status",),
    "payments": ("status",),
    "refunds": ("status",),
    "shipments": ("tracking_status", "return_of_id"),
    "subscriptions": ("status", "next_order_on"),
}

#: facts that are states: a closed set of words, none of which tells of a person
STATES: Final = frozenset({"status", "channel", "direction", "tracking_status"})

#: reasons of a hold that have an email of their own; any other text is "other"
HOLD_REASONS: Final = frozenset({"identity_photo", "copay", "prior_authorization"})

ANCHORS: Final = frozenset({"trigger", "visit_time", "message_batch", "next_order", "supply_end", "renewal"})

CONDITIONS: Final = frozenset(
    {
        *("already_verified", "submitted", "visit_ended", "order_cancelled", "photo_received", "visit_not_ahead", "messages_read"),
        *("prescription_superseded", "decision_superseded", "left_pharmacy", "coverage_resolved", "payment_settled", "delay_resolved"),
        *("delivered", "refund_told", "chargeback", "no_treatment", "discontinued", "plan_not_active", "ordered", "on_plan"),
        *("no_refills", "renewed", "booked", "lapsed_too_long"),
    }
)

VARIABLES: Final = frozenset({"verify_url", "total", "date", "visit_time", "count", "amount", "new_date", "carrier", "tracking", "eta"})
