"""Patients: registration, verification, addresses, consents, unsubscribing, merging."""

from __future__ import annotations

import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from ..problems import refused
from ..values import ADDRESS_PARTS
from .unit import EXAMPLE_ID, Request, Row, Work, action

type ConsentType = Literal["hipaa_npp", "telehealth", "sms", "email_marketing", "research", "credit_card_on_file"]
type Channel = Literal["web", "app", "sms", "phone", "import"]

#: a consent and the patient's flag that says the same
OPT_INS = {"sms": "sms_opt_in", "email_marketing": "marketing_opt_in"}
DOCUMENT = "2024-06"


class Address(Request):
    recipient_name: str | None = None
    line1: str = Field(min_length=1)
    line2: str | None = None
    city: str = Field(min_length=1)
    state_code: str | None = None
    postal_code: str | None = None
    country_code: str = Field("US", min_length=2, max_length=2)


class RegisterPatient(Request):
    id: UUID | None = None
    first_name: str
    last_name: str
    email: str
    phone_e164: str | None = None
    date_of_birth: datetime.date | None = None
    sex_at_birth: Literal["female", "male", "intersex", "unknown"] | None = None
    preferred_language: str = "en"
    time_zone: str | None = None
    sms_opt_in: bool = False
    marketing_opt_in: bool = False
    shipping_address: Address | None = None


class OfPatient(Request):
    patient_id: UUID


class ChangeAddress(OfPatient):
    kind: Literal["shipping", "billing"] = "shipping"
    address: Address | None


class GrantConsent(OfPatient):
    consent_type: ConsentType
    document_version: str = DOCUMENT
    channel: Channel = "web"


class RevokeConsent(OfPatient):
    consent_type: ConsentType


class MergePatients(Request):
    survivor_id: UUID
    loser_id: UUID


ADDRESS_EXAMPLE = {"line1": "12 Elm St", "city": "Austin", "state_code": "TX", "postal_code": "78701"}


@action(
    "patients",
    RegisterPatient,
    "A patient registers; privacy and telehealth consents are recorded",
    first_name="Ada",
    last_name="Byron",
    email="ada@example.com",
    time_zone="America/Chicago",
    marketing_opt_in=True,
    shipping_address=ADDRESS_EXAMPLE,
)
def register_patient(work: Work, request: RegisterPatient) -> None:
    values = request.model_dump(exclude={"shipping_address"}, exclude_none=True)
    if request.shipping_address:
        values["shipping_address"] = _parts(request.shipping_address)
    patient = work.insert("patients", **values)
    wanted = {"sms": request.sms_opt_in, "email_marketing": request.marketing_opt_in}
    for consent_type in ("hipaa_npp", "telehealth", *(kind for kind, granted in wanted.items() if granted)):
        _grant(work, patient, consent_type, DOCUMENT, "web")


@action("patients", OfPatient, "The patient has confirmed the e-mail address", patient_id=EXAMPLE_ID)
def verify_email(work: Work, request: OfPatient) -> None:
    patient = work.row("patients", request.patient_id)
    if patient["email"] is None:
        raise refused("email", "is missing")
    work.update("patients", patient, email_verified_at=patient["email_verified_at"] or work.now())


@action("patients", ChangeAddress, "Set or clear a default address", patient_id=EXAMPLE_ID, kind="shipping", address=ADDRESS_EXAMPLE)
def change_address(work: Work, request: ChangeAddress) -> None:
    patient = work.row("patients", request.patient_id)
    work.update("patients", patient, **{f"{request.kind}_address": _parts(request.address) if request.address else None})


@action("patients", GrantConsent, "Record a consent", patient_id=EXAMPLE_ID, consent_type="sms")
def grant_consent(work: Work, request: GrantConsent) -> None:
    patient = work.row("patients", request.patient_id)
    _grant(work, patient, request.consent_type, request.document_version, request.channel)
    if flag := OPT_INS.get(request.consent_type):
        work.update("patients", patient, **{flag: True})


@action("patients", RevokeConsent, "Revoke the consents of a type", patient_id=EXAMPLE_ID, consent_type="sms")
def revoke_consent(work: Work, request: RevokeConsent) -> None:
    _revoke(work, work.row("patients", request.patient_id), request.consent_type)


@action("patients", OfPatient, "No more marketing e-mail: clears the opt-in and revokes the consent", patient_id=EXAMPLE_ID)
def unsubscribe(work: Work, request: OfPatient) -> None:
    _revoke(work, work.row("patients", request.patient_id), "email_marketing")


@action("patients", MergePatients, "Two records are one person: the loser's rows move", survivor_id=EXAMPLE_ID, loser_id=EXAMPLE_ID)
def merge_patients(work: Work, request: MergePatients) -> None:
    for patient_id in sorted((request.survivor_id, request.loser_id)):  # one order for all: no deadlock
        work.row("patients", patient_id)
    survivor = work.row("patients", request.survivor_id)
    loser = work.row("patients", request.loser_id)
    if loser["merged_into_patient_id"] is not None:
        raise refused("loser_id", "is merged already")
    work.update("patients", loser, merged_into_patient_id=survivor["id"])


def _parts(address: Address) -> dict[str, object]:
    values = address.model_dump()
    return {part: values[part] for part in ADDRESS_PARTS}


def _grant(work: Work, patient: Row, consent_type: str, document_version: str, channel: str) -> None:
    work.insert(
        "patient_consents",
        patient_id=patient["id"],
        consent_type=consent_type,
        document_version=document_version,
        granted=True,
        granted_at=work.now(),
        capture_channel=channel,
    )


def _revoke(work: Work, patient: Row, consent_type: str) -> None:
    for consent in work.many("patient_consents", patient_id=patient["id"], consent_type=consent_type):
        if consent["revoked_at"] is None and consent["granted"]:
            work.update("patient_consents", consent, revoked_at=work.now())
    if flag := OPT_INS.get(consent_type):
        work.update("patients", patient, **{flag: False})
