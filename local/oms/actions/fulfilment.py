"""From the pharmacy to the door: shipping, carrier scans, exceptions, delivery, returns, reshipping."""

from __future__ import annotations

import datetime
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from ..problems import refused
from .orders import Line, OfOrder, after_payment, create_order
from .unit import EXAMPLE_ID, Request, Row, Work, action, require

type TrackingStatus = Literal[
    "pre_transit", "in_transit", "out_for_delivery", "available_for_pickup", "delivered", "return_to_sender", "failure", "error"
]


class ShipOrder(OfOrder):
    carrier: str = "usps"
    service_level: str = Field("ground", max_length=80)
    tracking_number: str = Field("9400111899223197428490", max_length=60)
    tracking_url: str | None = Field(None, max_length=255)
    estimated_delivery_on: datetime.date | None = None
    line_numbers: list[int] | None = Field(None, description="The lines in this parcel; all that are left if left out.")


class RecordScan(Request):
    shipment_id: UUID
    tracking_status: TrackingStatus = "in_transit"
    occurred_at: AwareDatetime | None = None
    status_detail: str | None = Field(None, max_length=80)
    message: str | None = Field(None, max_length=255)
    city: str | None = Field(None, max_length=80)
    state_code: str | None = Field(None, max_length=20)
    estimated_delivery_on: datetime.date | None = None
    source_event_key: str | None = Field(None, max_length=200, description="The carrier's own key: the same scan twice is one row.")


class OfShipment(Request):
    shipment_id: UUID


class RecordException(OfShipment):
    message: str = Field("Delivery attempted, nobody at home", max_length=255)
    estimated_delivery_on: datetime.date | None = None


@action("fulfilment", ShipOrder, "A parcel leaves the pharmacy; a part of the lines makes the order partially shipped", order_id=EXAMPLE_ID)
def ship_order(work: Work, request: ShipOrder) -> None:
    order = work.row("orders", request.order_id)
    require(order, "filling", "partially_shipped")
    waiting = [item for item in work.many("order_items", order_id=order["id"]) if item["fill_status"] not in ("filled", "cancelled")]
    packed = [item for item in waiting if request.line_numbers is None or item["line_no"] in request.line_numbers]
    if not packed:
        raise refused("line_numbers", "name no line that is still to be shipped")
    work.because(actor="pharmacy")
    for item in packed:
        _fill(work, item)
    shipment = work.insert(
        "shipments",
        order_id=order["id"],
        patient_id=order["patient_id"],
        pharmacy_id=order["pharmacy_id"],
        **request.model_dump(include={"carrier", "service_level", "tracking_number", "tracking_url", "estimated_delivery_on"}),
    )
    work.update("shipments", shipment, status="label_created", tracking_status="pre_transit")
    work.update("shipments", shipment, status="handed_over", shipped_at=work.now())
    work.update("orders", order, status="shipped" if len(packed) == len(waiting) else "partially_shipped")


@action("fulfilment", RecordScan, "The carrier says where the parcel is", shipment_id=EXAMPLE_ID, tracking_status="in_transit", city="Reno")
def record_scan(work: Work, request: RecordScan) -> None:
    scan(work, work.row("shipments", request.shipment_id), request)


@action("fulfilment", RecordException, "The carrier has a problem", shipment_id=EXAMPLE_ID, estimated_delivery_on="2030-03-09")
def record_exception(work: Work, request: RecordException) -> None:
    problem = RecordScan(
        shipment_id=request.shipment_id,
        tracking_status="failure",
        message=request.message,
        estimated_delivery_on=request.estimated_delivery_on,
        source_event_key=None,
    )
    scan(work, work.row("shipments", request.shipment_id), problem)


@action("fulfilment", OfShipment, "The parcel is delivered; with the last one the order is", shipment_id=EXAMPLE_ID)
def deliver_shipment(work: Work, request: OfShipment) -> None:
    shipment = work.row("shipments", request.shipment_id)
    require(shipment, "handed_over")
    scan(work, shipment, RecordScan(shipment_id=request.shipment_id, tracking_status="delivered", message="Delivered"))


@action("fulfilment", OfShipment, "The parcel came back; the order is returned", shipment_id=EXAMPLE_ID)
def return_shipment(work: Work, request: OfShipment) -> None:
    shipment = work.row("shipments", request.shipment_id)
    order = work.row("orders", shipment["order_id"])
    scan(work, shipment, RecordScan(shipment_id=request.shipment_id, tracking_status="return_to_sender"))
    if shipment["status"] == "handed_over":
        work.update("shipments", shipment, status="returned")
    work.because("returned", "carrier")
    work.update("orders", order, status="returned")


@action("fulfilment", OfOrder, "The order is closed", order_id=EXAMPLE_ID)
def complete_order(work: Work, request: OfOrder) -> None:
    work.update("orders", work.row("orders", request.order_id), status="completed")


@action("fulfilment", OfOrder, "The same things are sent once more, free of charge", order_id=EXAMPLE_ID)
def reship_order(work: Work, request: OfOrder) -> None:
    reship(work, work.row("orders", request.order_id))


# ---------------------------------------------------------------- shared with other actions


def scan(work: Work, shipment: Row, seen: RecordScan) -> None:
    """Write the scan down; the newest one by its own time is what the carrier says, but delivered stays delivered."""
    occurred_at = seen.occurred_at or work.now()
    key = seen.source_event_key or f"{shipment['id']}/{seen.tracking_status}/{occurred_at.isoformat()}"
    known = work.many("shipment_events", source_event_key=key)
    if known:
        return
    earlier = work.many("shipment_events", shipment_id=shipment["id"])
    work.insert(
        "shipment_events",
        shipment_id=shipment["id"],
        occurred_at=occurred_at,
        tracking_status=seen.tracking_status,
        status_detail=seen.status_detail,
        message=seen.message,
        city=seen.city,
        state_code=seen.state_code,
        source_event_key=key,
    )
    newest = all(occurred_at >= event["occurred_at"] for event in earlier)
    sticky = shipment["tracking_status"] == "delivered" and seen.tracking_status != "return_to_sender"
    if seen.tracking_status == "delivered" or (newest and not sticky):
        eta = {"estimated_delivery_on": seen.estimated_delivery_on} if seen.estimated_delivery_on else {}
        shipment = work.update("shipments", shipment, tracking_status=seen.tracking_status, **eta)
    if seen.tracking_status == "delivered" and shipment["status"] == "handed_over":
        _deliver(work, shipment, occurred_at)


def _deliver(work: Work, shipment: Row, at: datetime.datetime) -> None:
    work.update("shipments", shipment, status="delivered", delivered_at=at)
    order = work.row("orders", shipment["order_id"])
    on_their_way = [other for other in work.many("shipments", order_id=order["id"]) if other["status"] not in ("delivered", "cancelled")]
    if order["status"] == "shipped" and not on_their_way:
        work.because(actor="carrier")
        work.update("orders", order, status="delivered")


def _fill(work: Work, item: Row) -> None:
    """The line is filled. A prescription's first fill is free, each later one takes a refill; the last one depletes it."""
    if item["prescription_id"] is None:
        work.update("order_items", item, fill_status="filled")
        return
    prescription = work.row("prescriptions", item["prescription_id"])
    fills = sum(1 for other in work.many("order_items", prescription_id=prescription["id"]) if other["fill_status"] == "filled")
    if fills and prescription["refills_remaining"] == 0:
        raise refused("prescription_id", "has no refill left")
    work.update("order_items", item, fill_status="filled", fill_number=fills)
    left = prescription["refills_remaining"] - (1 if fills else 0)
    state = {"status": "depleted"} if left == 0 and prescription["status"] == "active" else {}
    if fills or state:
        work.update("prescriptions", prescription, refills_remaining=left, **state)


def reship(work: Work, order: Row) -> Row:
    """A new order for the same lines, without a price, approved at once."""
    require(order, "shipped", "delivered", "completed", "returned")
    lines = [Line(product_id=item["product_id"], quantity=item["quantity"]) for item in work.many("order_items", order_id=order["id"])]
    if not lines:
        raise refused("order_id", "has no lines to send again")
    copied = ("pharmacy_id", "consultation_id", "subscription_id")
    patient = {**work.row("patients", order["patient_id"]), "preferred_pharmacy_id": order["pharmacy_id"]}
    links = {column: order[column] for column in copied if column != "pharmacy_id"}
    return after_payment(work, create_order(work, patient, lines, order_type="reship", parent_order_id=order["id"], **links))
