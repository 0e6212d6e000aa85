"""One email that is to be sent once: which flow, about what, due when; and the names that follow from it.

The claim's name is `flow:entity:due value`. The due value is what the email is about (a version, a visit's time, a date), not when it was
asked for: whoever asks twice, in whatever order, asks for the same email.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from omsync.emails.transitions import Transition

#: namespace of communications' ids
NAMESPACE = uuid.UUID("5f2c1a4e-8f0b-5c58-9d55-0c6f6e0a7b11")


class Occurrence(BaseModel):
    """One email to come."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    flow: str
    entity: str
    #: what the moment is counted from, as text: `7` (a version), `20260312T203000Z`, `20260308`
    value: str
    #: `after48h`, `before7d`, or empty
    slug: str = ""
    due: datetime
    #: version and row of the transition it came from
    version: int
    source: str
    at: datetime

    @property
    def due_value(self) -> str:
        """The last part of the claim."""
        return f"{self.value}_{self.slug}" if self.slug else self.value

    @property
    def claim(self) -> str:
        """Its name; what is claimed before it is sent."""
        return f"{self.flow}:{self.entity}:{self.due_value}"

    @property
    def tag(self) -> str:
        """The claim in the characters SES takes in a tag."""
        return self.claim.replace(":", ".")

    @property
    def communication_id(self) -> str:
        """The id under which the OMS knows the email."""
        return communication_id(self.claim)

    def schedule_name(self, at: datetime) -> str:
        """The same email at the same moment has one schedule, however often it is asked for."""
        return f"{self.flow[:20]}-{hashlib.sha256(f'{self.claim}@{at.isoformat()}'.encode()).hexdigest()[:40]}"


def claim_of_tag(tag: str) -> str:
    """A claim's name from its tag."""
    return tag.replace(".", ":")


def communication_id(claim: str) -> str:
    """uuid5 of a claim."""
    return str(uuid.uuid5(NAMESPACE, claim))


def compact(moment: datetime) -> str:
    """A moment as part of a claim: `20260312T203000Z`."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


class EmailJob(BaseModel):
    """What travels in the email queue: a transition that a flow's rule saw, or an occurrence whose time has come."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    flow: str
    transition: Transition | None = None
    occurrence: Occurrence | None = None
    correlation_id: str = "unknown"
    attempt: int = 0
