"""Circuit breakers, one per outside system: while a system is away nobody calls it, and nobody has to look.

Consumers report what they met. After `THRESHOLD` batches in a row that met nothing but an absent system, the breaker opens and the
queues that need the system stop (their event source mappings are disabled): messages wait where they are safe. Every minute `attend` asks
the system itself; once it answers, the breaker closes, the queues run again, and a sweep brings whatever was missed. `attend` also puts
queues right that stand otherwise than their breaker says: a worker that died between two steps leaves nothing stuck.

Powertools' circuit breaker probes with the calls it guards; with the queues stopped there are none, hence this one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from omsync.platform.errors import BreakerOpen, OmsyncError, Retryable
from omsync.sync.ports import MissingParent

type System = Literal["salesforce", "oms"]
SYSTEMS: Final[tuple[System, ...]] = ("salesforce", "oms")

#: batches in a row that found the system away
THRESHOLD = 3
_LOG_INS: Mapping[str, System] = {"salesforce.login": "salesforce", "oms.login": "oms"}
#: seconds for which a message that comes to an open breaker is put aside
PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class BreakerState:
    """`failures` in a row while closed; `since`, seconds of 1970, while open."""

    failures: int = 0
    open_since: float | None = None

    @property
    def open(self) -> bool:
        """Nobody calls."""
        return self.open_since is not None


class BreakerStore(Protocol):
    """Where the breakers' states are kept."""

    def read(self, system: System) -> BreakerState:
        """The state now."""

    def count(self, system: System) -> int:
        """One more failure in a row, atomically; how many it makes."""

    def reset(self, system: System) -> None:
        """No failure in a row (only while closed)."""

    def open(self, system: System, since: float) -> bool:
        """Open it; False if it was open already."""

    def close(self, system: System) -> None:
        """Close it."""


class Valves(Protocol):
    """The event source mappings of the queues that need a system."""

    def set(self, away: Collection[System]) -> None:
        """Hold the queues that need one of these, let the others run. A queue needs several systems, so they are told together.

        Doing it twice is harmless.
        """


@dataclass(frozen=True, slots=True)
class Breakers:
    """All breakers."""

    store: BreakerStore
    valves: Valves
    now: Callable[[], float]

    def require_closed(self, systems: Sequence[System]) -> None:
        """Raise BreakerOpen if one of the systems is known to be away."""
        for system in systems:
            if self.store.read(system).open:
                raise BreakerOpen(f"{system} is away", code=f"{system}.breaker", after=PAUSE)

    def report(self, met: Mapping[System, bool]) -> None:
        """What a batch met: system -> did it answer at all?"""
        for system, answered in met.items():
            if answered:
                if self.store.read(system).failures:
                    self.store.reset(system)
            elif self.store.count(system) >= THRESHOLD and self.store.open(system, self.now()):
                self.valves.set({system, *(one for one in SYSTEMS if self.store.read(one).open)})


def attend(
    breakers: Breakers, probes: Mapping[System, Callable[[], bool]], recovered: Callable[[System, float], None]
) -> dict[System, str]:
    """The one-minute round: probe what is away, close what answers, put the valves right. Returns what each breaker is now.

    `recovered(system, seconds away)` is called after a breaker closed: it starts the sweep, and after many days reconciliation.
    """
    standing: dict[System, str] = {}
    back: dict[System, float] = {}
    for system, probe in probes.items():
        state = breakers.store.read(system)
        if state.open_since is not None and probe():
            breakers.store.close(system)
            back[system] = breakers.now() - state.open_since
        standing[system] = "closed again" if system in back else "open" if state.open else "closed"
    breakers.valves.set({system for system, state in standing.items() if state == "open"})
    for system, seconds in back.items():
        recovered(system, seconds)
    return standing


def absent(fault: OmsyncError | None) -> System | None:
    """Which system, if any, this fault shows to be away (rather than this one record to be troublesome).

    A system that refuses our log-in is away for us: no record is to blame, and a person must mend what the records can only wait for.
    """
    if fault is not None and fault.code in _LOG_INS:
        return _LOG_INS[fault.code]
    if not isinstance(fault, Retryable) or isinstance(fault, MissingParent):
        return None
    if fault.code.startswith("oms."):
        return "oms"
    if fault.code.startswith(("salesforce.", "HTTP_")) or fault.code in ("SERVER_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"):
        return "salesforce"
    return None
