"""Subscriptions: start, pause, resume, skip, cancel, and the refill order that each period brings."""

from __future__ import annotations

import datetime
from uuid import UUID

from pydantic import Field

from ..problems import refused
from .orders import Line, after_payment, create_order
from .unit import EXAMPLE_ID, Request, Row, Work, action, require


class StartSubscription(Request):
    patient_id: UUID
    product_id: UUID
    interval_days: int = Field(30, ge=7, le=366)


class OfSubscription(Request):
    subscription_id: UUID


class CancelSubscription(OfSubscription):
    reason: str = Field("patient_request", max_length=255)


class RefillSubscription(OfSubscription):
    paid: bool = Field(True, description="Does charging the card on file succeed?")


@action("subscriptions", StartSubscription, "A treatment plan starts", patient_id=EXAMPLE_ID, product_id=EXAMPLE_ID, interval_days=30)
def start_subscription(work: Work, request: StartSubscription) -> None:
    patient, product = work.row("patients", request.patient_id), work.row("products", request.product_id)
    next_on = work.now().date() + datetime.timedelta(days=request.interval_days)
    work.insert(
        "subscriptions",
        patient_id=patient["id"],
        product_id=product["id"],
        status="active",
        interval_days=request.interval_days,
        price_cents=product["list_price_cents"],
        next_order_on=next_on,
        current_period_ends_at=datetime.datetime.combine(next_on, datetime.time(), datetime.UTC),
    )


@action("subscriptions", OfSubscription, "No orders until it is resumed", subscription_id=EXAMPLE_ID)
def pause_subscription(work: Work, request: OfSubscription) -> None:
    pause(work, work.row("subscriptions", request.subscription_id))


@action("subscriptions", OfSubscription, "Orders go on", subscription_id=EXAMPLE_ID)
def resume_subscription(work: Work, request: OfSubscription) -> None:
    resume(work, work.row("subscriptions", request.subscription_id))


@action("subscriptions", OfSubscription, "The next order is left out", subscription_id=EXAMPLE_ID)
def skip_next_order(work: Work, request: OfSubscription) -> None:
    skip_next(work, work.row("subscriptions", request.subscription_id))


@action("subscriptions", CancelSubscription, "The treatment plan ends", subscription_id=EXAMPLE_ID)
def cancel_subscription(work: Work, request: CancelSubscription) -> None:
    cancel(work, work.row("subscriptions", request.subscription_id), request.reason)


@action("subscriptions", RefillSubscription, "The period's refill order is placed and charged", subscription_id=EXAMPLE_ID)
def refill_subscription(work: Work, request: RefillSubscription) -> None:
    subscription = work.row("subscriptions", request.subscription_id)
    require(subscription, "active", "trialing", "past_due")
    patient = work.row("patients", subscription["patient_id"])
    line = Line(product_id=subscription["product_id"])
    order = create_order(work, patient, [line], order_type="refill", subscription_id=subscription["id"])
    for payment in work.many("payments", order_id=order["id"]):
        work.update("payments", payment, status="processing")
        if request.paid:
            work.update("payments", payment, status="succeeded", amount_captured_cents=payment["amount_cents"], captured_at=work.now())
        else:
            work.update("payments", payment, status="requires_payment_method", failure_code="card_declined")
    if request.paid:
        after_payment(work, order)
    _advance(work, subscription, status="active" if request.paid else "past_due")


# ---------------------------------------------------------------- shared with commands


def pause(work: Work, subscription: Row) -> Row:
    require(subscription, "active", "trialing", "past_due")
    return work.update("subscriptions", subscription, status="paused")


def resume(work: Work, subscription: Row) -> Row:
    require(subscription, "paused")
    today = work.now().date()
    behind = subscription["next_order_on"] is None or subscription["next_order_on"] < today
    dates = {"next_order_on": today} if behind else {}
    return work.update("subscriptions", subscription, status="active", **dates)


def skip_next(work: Work, subscription: Row) -> Row:
    require(subscription, "active", "trialing", "past_due")
    if subscription["next_order_on"] is None:
        raise refused("next_order_on", "is not set: there is no order to skip")
    return _advance(work, subscription)


def cancel(work: Work, subscription: Row, reason: str) -> Row:
    require(subscription, "active", "trialing", "past_due", "paused")
    changes = {"cancel_reason": subscription["cancel_reason"] or reason, "cancelled_at": work.now(), "next_order_on": None}
    return work.update("subscriptions", subscription, status="cancelled", **changes)


def _advance(work: Work, subscription: Row, **changes: object) -> Row:
    """One interval later."""
    start = subscription["next_order_on"] or work.now().date()
    next_on = start + datetime.timedelta(days=subscription["interval_days"])
    ends = datetime.datetime.combine(next_on, datetime.time(), datetime.UTC)
    return work.update("subscriptions", subscription, next_order_on=next_on, current_period_ends_at=ends, **changes)
