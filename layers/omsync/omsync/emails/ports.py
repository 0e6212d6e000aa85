"""What the emails need of the world: SES, schedules, the bus, tables. Adapters in `omsync.emails.aws` and `omsync.emails.stores`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from omsync.emails.occurrences import EmailJob
from omsync.emails.state import Reader
from omsync.emails.transitions import Transition
from omsync.platform.errors import OmsyncError


@dataclass(frozen=True, slots=True)
class Envelope:
    """One email for SES."""

    template: str
    address: str
    data: Mapping[str, str]
    tag: str
    category: str
    #: for the List-Unsubscribe header, on M and R
    unsubscribe_url: str | None = None


class Refused(Exception):
    """SES did not take it, for certain: the claim may be released. `fault` says whether trying again helps."""

    def __init__(self, fault: OmsyncError) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Unclear(Exception):
    """No answer, or none that says what became of it: the claim stays."""


class Mailer(Protocol):
    """SES. Never tries twice."""

    def send(self, envelope: Envelope) -> str:
        """The message id. Raises Refused or Unclear."""


class Schedules(Protocol):
    """One-time schedules that put a job into the email queue."""

    def at(self, name: str, moment: datetime, job: EmailJob) -> None:
        """Once; a schedule of that name that is there already is the same."""


class Suppressions(Protocol):
    """Addresses that nothing goes to."""

    def reason(self, addresses: Sequence[str]) -> Mapping[str, str]:
        """Address -> why, of those suppressed."""

    def add(self, address: str, reason: str) -> None:
        """From now on."""


class Skips(Protocol):
    """What was not sent, and why."""

    def note(self, claim: str, flow: str, reason: str) -> None:
        """A row, and a count."""


class Reputation(Protocol):
    """Bounces and complaints of the last days."""

    def count(self, what: Literal["sent", "bounced", "complained"], number: int = 1) -> None:
        """So many more today."""

    def endangered(self) -> bool:
        """Close to what makes SES review the account: marketing stops."""


class Oms(Reader, Protocol):
    """The OMS as the emails use it."""

    def get(self, table: str, row_id: str) -> dict[str, Any] | None:
        """A row."""

    def create(self, table: str, row: Mapping[str, object], *, key: str) -> dict[str, Any]:
        """Create under its id; twice is once."""

    def patch(self, table: str, row_id: str, values: Mapping[str, object], *, version: int | None, key: str) -> dict[str, Any]:
        """Change columns of that version."""


class Bus(Protocol):
    """The lifecycle bus."""

    def publish(self, transitions: Sequence[Transition]) -> list[Transition]:
        """Publish; returns those the bus did not take."""


class Published(Protocol):
    """Which transitions were published: each once."""

    def begin(self, key: str) -> Literal["mine", "done", "busy"]:
        """Take it on; `busy`: somebody else is at it and may yet fail."""

    def done(self, key: str) -> None:
        """It is on the bus."""

    def undo(self, key: str) -> None:
        """It is not: somebody may take it on at once."""
