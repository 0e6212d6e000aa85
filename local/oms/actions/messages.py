"""Messages between patient and care team, and support cases."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from ..problems import refused
from .unit import EXAMPLE_ID, Request, Work, action, require


class SendProviderMessage(Request):
    patient_id: UUID
    staff_user_id: UUID | None = None
    subject: str | None = None
    body: str


class ReceiveMessage(Request):
    patient_id: UUID
    channel: Literal["sms", "chat", "portal"] = "portal"
    body: str


class ReadMessage(Request):
    communication_id: UUID


class OpenCase(Request):
    patient_id: UUID | None = None
    order_id: UUID | None = None
    category: Literal["delivery", "billing", "clinical_question", "adverse_event", "technical", "privacy_request", "other"]
    subject: str
    description: str | None = None
    priority: Literal["low", "medium", "high", "urgent"] = "medium"


class ResolveCase(Request):
    case_id: UUID
    resolution: str


@action("messages", SendProviderMessage, "The care team writes to the patient in the portal", patient_id=EXAMPLE_ID, body="Please call us.")
def send_provider_message(work: Work, request: SendProviderMessage) -> None:
    patient = work.row("patients", request.patient_id)
    work.insert(
        "communications",
        patient_id=patient["id"],
        staff_user_id=request.staff_user_id,
        channel="portal",
        direction="outbound",
        subject=request.subject,
        body_text=request.body,
        delivery_status="delivered",
        sent_at=work.now(),
    )


@action("messages", ReadMessage, "The patient has read the message", communication_id=EXAMPLE_ID)
def read_message(work: Work, request: ReadMessage) -> None:
    message = work.row("communications", request.communication_id)
    if message["direction"] != "outbound":
        raise refused("communication_id", "came from the patient")
    work.update("communications", message, delivery_status="opened")


@action("messages", ReceiveMessage, "The patient writes to the care team", patient_id=EXAMPLE_ID, body="When will it come?")
def receive_message(work: Work, request: ReceiveMessage) -> None:
    patient = work.row("patients", request.patient_id)
    work.insert(
        "communications",
        patient_id=patient["id"],
        channel=request.channel,
        direction="inbound",
        body_text=request.body,
        delivery_status="received",
        sent_at=work.now(),
    )


@action("messages", OpenCase, "Somebody asks for help", patient_id=EXAMPLE_ID, category="delivery", subject="Parcel is late")
def open_case(work: Work, request: OpenCase) -> None:
    work.insert("support_cases", **request.model_dump(), origin="phone")


@action("messages", ResolveCase, "The case is settled", case_id=EXAMPLE_ID, resolution="Parcel found.")
def resolve_case(work: Work, request: ResolveCase) -> None:
    case = work.row("support_cases", request.case_id)
    require(case, "new", "open", "pending_patient", "pending_pharmacy", "escalated")
    work.update("support_cases", case, status="resolved", resolution=request.resolution, closed_at=work.now())
