"""Claims: an occurrence is sent at most once, and never silently not at all.

    (absent) --take--> claimed --sent--> sent --logged--> sent, logged
                          |  ^
                          |  `-- nothing: an expired claim is never taken again
                          |--release--> (absent)      only by its owner, only after a definite refusal
                          |--confirm--> sent          SES's own event, tagged with the claim, says that it went out
                          `--give_up--> unknown       a lease and a grace later, without such an event: a Case, a person decides

Invariants: (1) one owner at a time, by a conditional put; (2) only that owner releases or marks sent; (3) no state leads back to a second
take, but a definite refusal; (4) sent and unknown stay for good; (5) a cap is taken and released with its claim, in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

#: longer than the sender's time-out: while it runs out, its owner may still be sending
LEASE_SECONDS: Final = 180
#: after the lease: so long SES's event is waited for before a person is asked
GRACE_SECONDS: Final = 900

type ClaimState = Literal["claimed", "sent", "unknown"]
type Taking = Literal["taken", "held", "capped"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known of an occurrence. `lease_until`: epoch seconds."""

    name: str
    state: ClaimState
    owner: str
    lease_until: float
    message_id: str | None = None
    sent_at: str | None = None
    logged: bool = False


class Claims(Protocol):
    """The claims table. All raise Retryable if it does not answer."""

    def take(self, name: str, owner: str, now: float, *, cap: str | None) -> Taking:
        """Claim it; with `cap` (`patient/day`) only if nothing else has that day."""

    def read(self, name: str) -> Claim | None:
        """The claim, strongly consistent."""

    def sent(self, name: str, owner: str, *, message_id: str, at: str) -> None:
        """It went out. Harmless if SES's event said so first."""

    def release(self, name: str, owner: str, *, cap: str | None) -> None:
        """It was refused: somebody may take it again."""

    def confirm(self, name: str, *, message_id: str, at: str) -> bool:
        """SES says it went out: True if the claim knew nothing of it."""

    def logged(self, name: str) -> None:
        """The OMS knows of it."""

    def give_up(self, name: str, owner: str) -> bool:
        """Nobody can tell: True the first time."""

    def newest_trigger(self, flow: str, entity: str, version: int) -> int:
        """Note a trigger's version and return the highest noted: a repeat of an older one is superseded."""

    def token_used(self, identity: str) -> bool:
        """Was the link with this identity used?"""

    def use_token(self, identity: str) -> None:
        """It is used now."""
