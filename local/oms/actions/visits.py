"""Visits: intake, consultations, the clinician's decision, prescriptions, notes."""

from __future__ import annotations

import datetime
import hashlib
import json
from decimal import Decimal
from typing import Literal
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import AwareDatetime, Field, JsonValue

from ..problems import refused
from .orders import approve, decline_orders
from .unit import EXAMPLE_ID, Request, Row, Work, action, require

OPEN = ("requested", "awaiting_patient", "queued", "scheduled")
type Modality = Literal["async", "video", "phone", "chat"]


class StartIntake(Request):
    patient_id: UUID
    vertical: str
    modality: Modality = "async"
    questionnaire_code: str = "general"
    questionnaire_version: int = Field(1, ge=1, le=10_000)


class SubmitIntake(Request):
    intake_id: UUID
    answers: dict[str, JsonValue]
    bmi: Decimal | None = Field(None, ge=1, le=200, decimal_places=1)
    contraindication_flags: list[str] = Field(default_factory=list)


class BookConsultation(Request):
    patient_id: UUID
    consultation_id: UUID | None = Field(None, description="An open consultation; a new one is made if left out.")
    provider_id: UUID
    scheduled_at: AwareDatetime
    vertical: str = "general"
    modality: Modality = "video"


class OfConsultation(Request):
    consultation_id: UUID


class MoveConsultation(OfConsultation):
    scheduled_at: AwareDatetime


class CompleteConsultation(OfConsultation):
    outcome: Literal["no_treatment", "referred", "labs_ordered"]


class Decide(OfConsultation):
    decision: Literal["approve", "decline"]
    provider_id: UUID | None = None
    product_id: UUID | None = Field(None, description="What is prescribed; needed to approve.")
    sig: str = "Take as directed."
    quantity: Decimal = Field(Decimal(30), gt=0, lt=1_000_000, decimal_places=3)
    quantity_unit: str = "tablet"
    days_supply: int = Field(30, ge=1, le=365)
    refills: int = Field(0, ge=0, le=99)
    pharmacy_id: UUID | None = None
    reason: str | None = Field(None, max_length=255)


class OfPrescription(Request):
    prescription_id: UUID


class RenewPrescription(OfPrescription):
    refills: int = Field(0, ge=0, le=99)


class TransmitPrescription(OfPrescription):
    outcome: Literal["sent", "error"] = "sent"
    error: str | None = Field(None, max_length=255)


class DraftNote(Request):
    patient_id: UUID
    provider_id: UUID | None = None
    consultation_id: UUID | None = None
    note_type: Literal["soap", "progress", "addendum", "message_summary", "phone", "pharmacist", "lab_review"] = "progress"
    title: str | None = None
    body: str


class SignNote(Request):
    note_id: UUID
    provider_id: UUID | None = None


class AmendNote(Request):
    note_id: UUID
    provider_id: UUID | None = None
    body: str


@action("visits", StartIntake, "A patient starts a questionnaire; a consultation waits for it", patient_id=EXAMPLE_ID, vertical="derm")
def start_intake(work: Work, request: StartIntake) -> None:
    patient = work.row("patients", request.patient_id)
    consultation = work.insert("consultations", patient_id=patient["id"], modality=request.modality, vertical=request.vertical)
    work.update("consultations", consultation, status="awaiting_patient")
    work.insert(
        "intake_responses",
        patient_id=patient["id"],
        consultation_id=consultation["id"],
        questionnaire_code=request.questionnaire_code,
        questionnaire_version=request.questionnaire_version,
    )


@action(
    "visits", SubmitIntake, "The questionnaire is complete; an asynchronous visit is queued", intake_id=EXAMPLE_ID, answers={"q1": "no"}
)
def submit_intake(work: Work, request: SubmitIntake) -> None:
    intake = work.row("intake_responses", request.intake_id)
    if intake["submitted_at"] is not None:
        raise refused("submitted_at", "is set: the questionnaire was submitted before")
    text = json.dumps(request.answers, sort_keys=True, ensure_ascii=False)
    work.update(
        "intake_responses",
        intake,
        answers=Jsonb(request.answers),
        answers_hash=hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest(),
        bmi=request.bmi,
        contraindication_flags=request.contraindication_flags,
        submitted_at=work.now(),
    )
    if intake["consultation_id"] is None:
        return
    consultation = work.row("consultations", intake["consultation_id"])
    if consultation["status"] == "awaiting_patient" and consultation["modality"] in ("async", "chat"):
        work.update("consultations", consultation, status="queued", sla_due_at=work.now() + datetime.timedelta(hours=24))


@action(
    "visits",
    BookConsultation,
    "A visit is booked",
    patient_id=EXAMPLE_ID,
    provider_id=EXAMPLE_ID,
    scheduled_at="2030-03-01T15:30:00Z",
)
def book_consultation(work: Work, request: BookConsultation) -> None:
    patient = work.row("patients", request.patient_id)
    if request.consultation_id:
        consultation = work.row("consultations", request.consultation_id)
        if consultation["patient_id"] != patient["id"]:
            raise refused("consultation_id", "belongs to another patient")
    else:
        consultation = work.insert("consultations", patient_id=patient["id"], modality=request.modality, vertical=request.vertical)
    work.update("consultations", consultation, status="scheduled", provider_id=request.provider_id, scheduled_at=request.scheduled_at)


@action("visits", MoveConsultation, "A booked visit moves", consultation_id=EXAMPLE_ID, scheduled_at="2030-03-02T15:30:00Z")
def move_consultation(work: Work, request: MoveConsultation) -> None:
    consultation = work.row("consultations", request.consultation_id)
    require(consultation, "scheduled")
    work.update("consultations", consultation, scheduled_at=request.scheduled_at)


@action("visits", OfConsultation, "The visit begins", consultation_id=EXAMPLE_ID)
def start_consultation(work: Work, request: OfConsultation) -> None:
    _begin(work, work.row("consultations", request.consultation_id))


@action("visits", CompleteConsultation, "The visit ends without a prescription", consultation_id=EXAMPLE_ID, outcome="referred")
def complete_consultation(work: Work, request: CompleteConsultation) -> None:
    consultation = work.row("consultations", request.consultation_id)
    work.update("consultations", consultation, status="completed", outcome=request.outcome, ended_at=work.now())


@action("visits", OfConsultation, "The visit is cancelled", consultation_id=EXAMPLE_ID)
def cancel_consultation(work: Work, request: OfConsultation) -> None:
    work.update("consultations", work.row("consultations", request.consultation_id), status="cancelled")


@action("visits", OfConsultation, "The patient did not come", consultation_id=EXAMPLE_ID)
def mark_no_show(work: Work, request: OfConsultation) -> None:
    work.update("consultations", work.row("consultations", request.consultation_id), status="no_show")


@action("visits", OfConsultation, "Nobody came back to it", consultation_id=EXAMPLE_ID)
def expire_consultation(work: Work, request: OfConsultation) -> None:
    work.update("consultations", work.row("consultations", request.consultation_id), status="expired")


@action(
    "visits",
    Decide,
    "The clinician approves (an active prescription, waiting orders approved) or declines (waiting orders declined and refunded)",
    consultation_id=EXAMPLE_ID,
    decision="approve",
    provider_id=EXAMPLE_ID,
    product_id=EXAMPLE_ID,
    refills=2,
)
def decide(work: Work, request: Decide) -> None:
    consultation = work.row("consultations", request.consultation_id)
    if consultation["status"] in OPEN:
        consultation = _begin(work, consultation)
    require(consultation, "in_progress")
    work.because(request.reason, "provider")
    provider_id = request.provider_id or consultation["provider_id"]
    if request.decision == "decline":
        work.update(
            "consultations",
            consultation,
            status="declined",
            outcome="declined_unsafe",
            decline_reason=request.reason,
            ended_at=work.now(),
            provider_id=provider_id,
        )
        decline_orders(work, consultation)
        return
    if provider_id is None or request.product_id is None:
        raise refused("provider_id" if provider_id is None else "product_id", "is needed to approve")
    work.update("consultations", consultation, status="completed", outcome="prescribed", ended_at=work.now(), provider_id=provider_id)
    product = work.row("products", request.product_id)
    prescription = work.insert(
        "prescriptions",
        patient_id=consultation["patient_id"],
        consultation_id=consultation["id"],
        prescriber_id=provider_id,
        pharmacy_id=request.pharmacy_id,
        product_id=product["id"],
        drug_description=product["name"],
        sig=request.sig,
        quantity=request.quantity,
        quantity_unit=request.quantity_unit,
        days_supply=request.days_supply,
        refills_allowed=request.refills,
        refills_remaining=request.refills,
        written_at=work.now(),
    )
    prescription = _activate(work, prescription)
    for order in work.many("orders", consultation_id=consultation["id"], status="pending_review"):
        approve(work, order, prescription)


@action("visits", RenewPrescription, "A new prescription replaces the old one", prescription_id=EXAMPLE_ID, refills=3)
def renew_prescription(work: Work, request: RenewPrescription) -> None:
    old = work.row("prescriptions", request.prescription_id)
    require(old, "active", "depleted", "expired")
    copied = ("patient_id", "prescriber_id", "pharmacy_id", "product_id", "drug_description", "sig", "quantity", "quantity_unit")
    new = work.insert(
        "prescriptions",
        **{column: old[column] for column in copied},
        days_supply=old["days_supply"],
        replaces_rx_id=old["id"],
        refills_allowed=request.refills,
        refills_remaining=request.refills,
        written_at=work.now(),
    )
    _activate(work, new)
    if old["status"] == "active":
        work.update("prescriptions", old, status="replaced")


@action("visits", OfPrescription, "The prescription has run out of time", prescription_id=EXAMPLE_ID)
def expire_prescription(work: Work, request: OfPrescription) -> None:
    work.update("prescriptions", work.row("prescriptions", request.prescription_id), status="expired")


@action("visits", OfPrescription, "The treatment is discontinued", prescription_id=EXAMPLE_ID)
def cancel_prescription(work: Work, request: OfPrescription) -> None:
    work.update("prescriptions", work.row("prescriptions", request.prescription_id), status="cancelled")


@action("visits", TransmitPrescription, "The prescription goes to the pharmacy", prescription_id=EXAMPLE_ID, outcome="sent")
def transmit_prescription(work: Work, request: TransmitPrescription) -> None:
    prescription = work.row("prescriptions", request.prescription_id)
    require(prescription, "active")
    work.update("prescriptions", prescription, transmission_status="sending")
    error = (request.error or "transmission failed") if request.outcome == "error" else None
    work.update("prescriptions", prescription, transmission_status=request.outcome, erx_error=error)


@action("notes", DraftNote, "A clinician drafts a note", patient_id=EXAMPLE_ID, body="Feels better.")
def draft_note(work: Work, request: DraftNote) -> None:
    values = request.model_dump(exclude={"provider_id"})
    work.insert("clinical_notes", **values, author_provider_id=request.provider_id)


@action("notes", SignNote, "The note is signed: from now on it is immutable", note_id=EXAMPLE_ID)
def sign_note(work: Work, request: SignNote) -> None:
    note = work.row("clinical_notes", request.note_id)
    require(note, "draft")
    work.update("clinical_notes", note, status="signed", author_provider_id=request.provider_id or note["author_provider_id"])


@action("notes", AmendNote, "A signed note is corrected by a new one", note_id=EXAMPLE_ID, body="Correction: left knee.")
def amend_note(work: Work, request: AmendNote) -> None:
    note = work.row("clinical_notes", request.note_id)
    require(note, "signed")
    amendment = work.insert(
        "clinical_notes",
        patient_id=note["patient_id"],
        consultation_id=note["consultation_id"],
        author_provider_id=request.provider_id or note["author_provider_id"],
        amends_note_id=note["id"],
        note_type="addendum",
        title=note["title"],
        body=request.body,
        is_sensitive=note["is_sensitive"],
    )
    work.update("clinical_notes", amendment, status="signed")
    work.update("clinical_notes", note, status="amended")


def _begin(work: Work, consultation: Row) -> Row:
    """Into `in_progress`, over the states between."""
    if consultation["status"] in ("requested", "awaiting_patient"):
        consultation = work.update("consultations", consultation, status="queued")
    return work.update("consultations", consultation, status="in_progress", started_at=work.now())


def _activate(work: Work, prescription: Row) -> Row:
    today = work.now().date()
    work.update("prescriptions", prescription, status="ready_to_sign")
    return work.update("prescriptions", prescription, status="active", effective_on=today, expires_on=today + datetime.timedelta(days=365))
