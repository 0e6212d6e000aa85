"""Orders up to the pharmacy: placing, paying, reviewing, holding, routing, cancelling, refunding."""

from __future__ import annotations

import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from ..problems import refused
from .unit import EXAMPLE_ID, Request, Row, Work, action, require

CENTS = 100_000_000
SHIP_TO = {
    "ship_name": "recipient_name",
    "ship_line1": "line1",
    "ship_line2": "line2",
    "ship_city": "city",
    "ship_state": "state_code",
    "ship_postal_code": "postal_code",
    "ship_country": "country_code",
}


class Line(Request):
    product_id: UUID
    quantity: int = Field(1, ge=1, le=1000)


class PlaceOrder(Request):
    id: UUID | None = None
    patient_id: UUID
    items: list[Line] = Field(min_length=1, max_length=50)
    consultation_id: UUID | None = None
    channel: Literal["web", "app", "phone", "api"] = "web"
    discount_cents: int = Field(0, ge=0, le=CENTS)
    shipping_cents: int = Field(0, ge=0, le=CENTS)
    tax_cents: int = Field(0, ge=0, le=CENTS)
    promo_code: str | None = Field(None, max_length=40)
    customer_note: str | None = Field(None, max_length=4000)


class OfOrder(Request):
    order_id: UUID


class PayOrder(OfOrder):
    card_brand: str = "visa"
    card_last4: str = Field("4242", pattern="^[0-9]{4}$")


class FailPayment(OfOrder):
    failure_code: str = Field("card_declined", max_length=60)


class HoldForCoverage(OfOrder):
    reason: Literal["copay", "prior_authorization"]


class DelayOrder(OfOrder):
    reason: str = Field("stock", min_length=1, max_length=100)
    expected_on: datetime.date | None = None


class RouteOrder(OfOrder):
    pharmacy_id: UUID | None = Field(None, description="The order's, else the patient's preferred one, if left out.")


class CancelOrder(OfOrder):
    reason: str = Field("patient_request", max_length=255)


class RefundOrder(OfOrder):
    amount_cents: int | None = Field(None, ge=1, le=CENTS, description="All that is left if left out.")
    kind: Literal["refund", "chargeback", "goodwill"] = "refund"
    reason: str = Field("patient_request", max_length=255)


@action(
    "orders",
    PlaceOrder,
    "A patient places an order: it waits for its payment, `placed_at` is set",
    patient_id=EXAMPLE_ID,
    items=[{"product_id": EXAMPLE_ID, "quantity": 1}],
    shipping_cents=500,
)
def place_order(work: Work, request: PlaceOrder) -> None:
    extras = request.model_dump(include={"discount_cents", "shipping_cents", "tax_cents", "promo_code", "customer_note", "channel"})
    work.because(actor="patient")
    create_order(
        work, work.row("patients", request.patient_id), request.items, row_id=request.id, consultation_id=request.consultation_id, **extras
    )


@action("orders", PayOrder, "The payment succeeds; the order goes to review, or on if nothing needs one", order_id=EXAMPLE_ID)
def pay_order(work: Work, request: PayOrder) -> None:
    order = work.row("orders", request.order_id)
    require(order, "pending_payment")
    work.because(actor="patient")
    for payment in _open_payments(work, order):
        work.update(
            "payments", payment, status="processing", failure_code=None, card_brand=request.card_brand, card_last4=request.card_last4
        )
        work.update("payments", payment, status="succeeded", amount_captured_cents=payment["amount_cents"], captured_at=work.now())
    after_payment(work, order)


@action("orders", FailPayment, "An attempt to pay fails", order_id=EXAMPLE_ID, failure_code="insufficient_funds")
def fail_payment(work: Work, request: FailPayment) -> None:
    order = work.row("orders", request.order_id)
    require(order, "pending_payment")
    payments = _open_payments(work, order)
    if not payments:
        raise refused("order_id", "has no payment to be made")
    for payment in payments:
        work.update("payments", payment, status="processing", failure_code=None)
        work.update("payments", payment, status="requires_payment_method", failure_code=request.failure_code)


@action("orders", OfOrder, "The review is passed", order_id=EXAMPLE_ID)
def approve_order(work: Work, request: OfOrder) -> None:
    order = work.row("orders", request.order_id)
    require(order, "pending_review")
    work.because(actor="provider")
    approve(work, order)


@action("orders", OfOrder, "The order waits for a photo of the patient's identity card", order_id=EXAMPLE_ID)
def require_identity_photo(work: Work, request: OfOrder) -> None:
    hold(work, work.row("orders", request.order_id), "identity_photo")


@action("orders", OfOrder, "The photo has come: the patient is identified, the order goes on", order_id=EXAMPLE_ID)
def receive_identity_photo(work: Work, request: OfOrder) -> None:
    order = work.row("orders", request.order_id)
    _require_hold(order, "identity_photo")
    work.update("patients", work.row("patients", order["patient_id"]), identity_verified_at=work.now())
    release(work, order)


@action("orders", HoldForCoverage, "The order waits for a copay or a prior authorization", order_id=EXAMPLE_ID, reason="copay")
def hold_for_coverage(work: Work, request: HoldForCoverage) -> None:
    hold(work, work.row("orders", request.order_id), request.reason)


@action("orders", OfOrder, "The insurer's question is settled", order_id=EXAMPLE_ID)
def resolve_coverage(work: Work, request: OfOrder) -> None:
    order = work.row("orders", request.order_id)
    _require_hold(order, "copay", "prior_authorization")
    release(work, order)


@action("orders", DelayOrder, "The order is held for another reason", order_id=EXAMPLE_ID, reason="stock", expected_on="2030-03-08")
def hold_order(work: Work, request: DelayOrder) -> None:
    hold(work, work.row("orders", request.order_id), request.reason, request.expected_on)


@action("orders", OfOrder, "The hold ends; the order goes back to where it was", order_id=EXAMPLE_ID)
def release_order(work: Work, request: OfOrder) -> None:
    release(work, work.row("orders", request.order_id))


@action("orders", RouteOrder, "The order is sent to its pharmacy", order_id=EXAMPLE_ID, pharmacy_id=EXAMPLE_ID)
def route_order(work: Work, request: RouteOrder) -> None:
    route(work, work.row("orders", request.order_id), request.pharmacy_id)


@action("orders", RouteOrder, "The pharmacy accepts and begins to fill (routing it first, if need be)", order_id=EXAMPLE_ID)
def accept_order(work: Work, request: RouteOrder) -> None:
    order = work.row("orders", request.order_id)
    if order["status"] in ("approved", "routing"):
        order = route(work, order, request.pharmacy_id)
    require(order, "placed")
    work.because(actor="pharmacy")
    for item in work.many("order_items", order_id=order["id"]):
        work.update("order_items", item, fill_status="filling")
    work.update("orders", order, status="filling")


@action(
    "orders", DelayOrder, "Something went wrong with the order", order_id=EXAMPLE_ID, reason="pharmacy_rejected", expected_on="2030-03-08"
)
def fail_order(work: Work, request: DelayOrder) -> None:
    work.because(request.reason)
    work.update("orders", work.row("orders", request.order_id), status="error", expected_on=request.expected_on)


@action("orders", RouteOrder, "An order in error is sent to its pharmacy again", order_id=EXAMPLE_ID)
def retry_order(work: Work, request: RouteOrder) -> None:
    order = work.row("orders", request.order_id)
    require(order, "error")
    route(work, order, request.pharmacy_id)


@action("orders", CancelOrder, "The order is cancelled; what was paid is refunded", order_id=EXAMPLE_ID)
def cancel_order(work: Work, request: CancelOrder) -> None:
    cancel(work, work.row("orders", request.order_id), request.reason)


@action("orders", RefundOrder, "Money goes back", order_id=EXAMPLE_ID, amount_cents=1000)
def refund_order(work: Work, request: RefundOrder) -> None:
    order = work.row("orders", request.order_id)
    left = refund(work, order, request.amount_cents, request.kind, request.reason)
    if left or (request.amount_cents is None and not any(table == "refunds" for table, _ in work.written)):
        raise refused("amount_cents", "is more than was captured and not refunded yet")


# ---------------------------------------------------------------- shared with other actions


def create_order(
    work: Work, patient: Row, lines: list[Line], *, row_id: UUID | None = None, order_type: str | None = None, **values: object
) -> Row:
    """A draft with its lines and its payment, placed in the same transaction."""
    products = {line.product_id: work.row("products", line.product_id) for line in lines}
    discount, shipping, tax = (int(str(values.pop(f"{part}_cents", 0))) for part in ("discount", "shipping", "tax"))
    subtotal = sum(products[line.product_id]["list_price_cents"] * line.quantity for line in lines)
    if order_type == "reship":
        subtotal = 0
    if discount > subtotal:
        raise refused("discount_cents", "is more than the items cost")
    address = work.many("patient_addresses", patient_id=patient["id"], kind="shipping", is_default=True)
    ship_to = {column: address[0][part] for column, part in SHIP_TO.items()} if address else {}
    order = work.insert(
        "orders",
        **({"id": row_id} if row_id else {}),
        patient_id=patient["id"],
        pharmacy_id=patient["preferred_pharmacy_id"],
        order_type=order_type or ("new" if any(product["requires_prescription"] for product in products.values()) else "otc"),
        subtotal_cents=subtotal,
        discount_cents=discount,
        shipping_cents=shipping,
        tax_cents=tax,
        total_cents=subtotal - discount + shipping + tax,
        **ship_to,
        **values,
    )
    for number, line in enumerate(lines, start=1):
        _add_line(work, order, number, line, products[line.product_id])
    if order["total_cents"] > 0:
        work.insert(
            "payments",
            patient_id=patient["id"],
            order_id=order["id"],
            subscription_id=order["subscription_id"],
            amount_cents=order["total_cents"],
            status="requires_payment_method",
        )
    return work.update("orders", order, status="pending_payment", placed_at=work.now())


def _add_line(work: Work, order: Row, number: int, line: Line, product: Row) -> None:
    """A line; what needs a prescription takes the patient's active one, if there is one."""
    prescriptions = work.many("prescriptions", patient_id=order["patient_id"], product_id=product["id"], status="active")
    work.insert(
        "order_items",
        order_id=order["id"],
        line_no=number,
        product_id=product["id"],
        prescription_id=prescriptions[-1]["id"] if product["requires_prescription"] and prescriptions else None,
        product_name_snapshot=product["name"][:255],
        quantity=line.quantity,
        unit_price_cents=0 if order["order_type"] == "reship" else product["list_price_cents"],
    )


def after_payment(work: Work, order: Row) -> Row:
    """A paid order goes on: to review if a line still needs a prescription, else it is approved."""
    if order["order_type"] != "reship" and _needs_review(work, order):
        return work.update("orders", order, status="pending_review")
    return work.update("orders", order, status="approved", approved_at=work.now())


def _needs_review(work: Work, order: Row) -> bool:
    items = work.many("order_items", order_id=order["id"])
    return any(item["prescription_id"] is None and work.row("products", item["product_id"])["requires_prescription"] for item in items)


def approve(work: Work, order: Row, prescription: Row | None = None) -> Row:
    """Reviewed: lines of the prescription's product are filled from it."""
    if prescription:
        for item in work.many("order_items", order_id=order["id"], product_id=prescription["product_id"]):
            work.update("order_items", item, prescription_id=prescription["id"])
    return work.update("orders", order, status="approved", approved_at=work.now())


def decline_orders(work: Work, consultation: Row) -> None:
    """The orders that waited for this consultation are declined; their money goes back."""
    for order in work.many("orders", consultation_id=consultation["id"], status="pending_review"):
        work.update("orders", order, status="declined")
        _undo_payments(work, order, "declined")


def hold(work: Work, order: Row, reason: str, expected_on: datetime.date | None = None) -> Row:
    if order["status"] == "approved":
        raise refused("status", "is approved; it can be held while in review or filling")
    work.because(reason)
    dates = {"expected_on": expected_on} if expected_on else {}
    return work.update("orders", order, status="on_hold", hold_reason=reason, **dates)


def release(work: Work, order: Row) -> Row:
    """Back to the state before the hold."""
    require(order, "on_hold")
    history = [entry for entry in work.many("order_status_history", order_id=order["id"]) if entry["to_status"] == "on_hold"]
    before = max(history, key=lambda entry: entry["seq"])["from_status"] if history else None
    work.because("released")
    return work.update("orders", order, status=before if before in ("pending_review", "filling") else "approved", hold_reason=None)


def _require_hold(order: Row, *reasons: str) -> None:
    require(order, "on_hold")
    require(order, *reasons, column="hold_reason")


def route(work: Work, order: Row, pharmacy_id: UUID | None = None) -> Row:
    """To `placed` at a pharmacy."""
    patient = work.row("patients", order["patient_id"])
    chosen = pharmacy_id or order["pharmacy_id"] or patient["preferred_pharmacy_id"]
    if chosen is None:
        raise refused("pharmacy_id", "is needed: neither order nor patient has one")
    if order["status"] != "routing":
        order = work.update("orders", order, status="routing", pharmacy_id=chosen)
    return work.update("orders", order, status="placed", pharmacy_id=chosen)


def cancel(work: Work, order: Row, reason: str) -> Row:
    work.because(reason)
    order = work.update("orders", order, status="cancelled", cancelled_at=work.now())
    for item in work.many("order_items", order_id=order["id"]):
        work.update("order_items", item, fill_status="cancelled")
    _undo_payments(work, order, reason)
    return order


def refund(work: Work, order: Row, amount: int | None, kind: str, reason: str) -> int:
    """Refund `amount` (all, if None) from the order's captured payments; returns what could not be refunded."""
    left = amount
    for payment in work.many("payments", order_id=order["id"], status="succeeded"):
        available = payment["amount_captured_cents"] - payment["amount_refunded_cents"]
        part = available if left is None else min(left, available)
        if part <= 0:
            continue
        made = work.insert(
            "refunds", payment_id=payment["id"], order_id=order["id"], kind=kind, amount_cents=part, reason=reason, status="pending"
        )
        work.update("refunds", made, status="succeeded", settled_at=work.now())
        work.update("payments", payment, amount_refunded_cents=payment["amount_refunded_cents"] + part)
        left = None if left is None else left - part
    return left or 0


def _undo_payments(work: Work, order: Row, reason: str) -> None:
    for payment in _open_payments(work, order):
        work.update("payments", payment, status="canceled")
    refund(work, order, None, "refund", reason)


def _open_payments(work: Work, order: Row) -> list[Row]:
    return [payment for payment in work.many("payments", order_id=order["id"]) if payment["status"] not in ("succeeded", "canceled")]
