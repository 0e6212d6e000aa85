"""What a patient says to our emails: this address is mine; no more of these. Both in the OMS, from where the sync brings them to Salesforce."""

from __future__ import annotations

import uuid

from omsync.emails.claims import Claims
from omsync.emails.occurrences import NAMESPACE
from omsync.emails.ports import Oms
from omsync.emails.tokens import BadToken, Tokens

DOCUMENT = "email-footer"


def verify(oms: Oms, claims: Claims, tokens: Tokens, token: str, now: str) -> None:
    """Confirm the address that the link went to. Raises BadToken (not ours, too old, used, or another address by now), Stale or Retryable."""
    said = tokens.read(token, "verify")
    if claims.token_used(said.identity):
        raise BadToken("the link was used before", code="emails.token_used")
    patient = oms.get("patients", said.patient)
    if patient is None or tokens.fingerprint(str(patient["email"] or "")) != said.address:
        raise BadToken("the address has changed since", code="emails.token_address")
    if patient["email_verified_at"] is None:
        key = f"email-verify-{said.identity}-{patient['version']}"
        oms.patch("patients", said.patient, {"email_verified_at": now}, version=int(patient["version"]), key=key)
    claims.use_token(said.identity)  # last: a crash in between costs nobody the link


def unsubscribe(oms: Oms, tokens: Tokens, token: str, now: str) -> None:
    """No more marketing and refill emails. Raises BadToken, Stale or Retryable; twice is once."""
    leave(oms, tokens.read(token, "unsubscribe").patient, now)


def leave(oms: Oms, patient_id: str, now: str) -> None:
    """Clear the opt-in and revoke the consents; who never consented gets a refusal on record, which refill emails heed."""
    patient = oms.get("patients", patient_id)
    if patient is None:
        return
    if patient["marketing_opt_in"]:
        key = f"email-leave-{patient_id}-{patient['version']}"
        oms.patch("patients", patient_id, {"marketing_opt_in": False}, version=int(patient["version"]), key=key)
    rows = [row for row in oms.children("patient_consents", "patient_id", patient_id) if row["consent_type"] == "email_marketing"]
    live = [row for row in rows if row["revoked_at"] is None and row["granted"] and row["deleted_at"] is None]
    for row in live:
        key = f"email-leave-{row['id']}-{row['version']}"
        oms.patch("patient_consents", str(row["id"]), {"revoked_at": now}, version=int(row["version"]), key=key)
    if not rows:
        refusal: dict[str, object] = {
            "id": str(uuid.uuid5(NAMESPACE, f"leave:{patient_id}")),
            "patient_id": patient_id,
            "consent_type": "email_marketing",
            "document_version": DOCUMENT,
            "granted": False,
            "granted_at": now,
        }
        oms.create("patient_consents", refusal, key=f"email-leave-{patient_id}")
