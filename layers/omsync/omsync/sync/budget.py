"""The API budget as the live consumers share it: each notes what Salesforce's answers say of it, the one-minute round acts on it.

Nobody asks for the budget as long as somebody calls Salesforce: every answer tells it (`Sforce-Limit-Info`). What was noted long ago says
nothing of now, since the 24 hours move on: then `/limits` is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from omsync.sync.limits import Usage, window

#: seconds for which what was noted is taken for true
FRESH_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Noted:
    """What an answer said, and when (seconds since 1970)."""

    usage: Usage
    at: float


class BudgetStore(Protocol):
    """Where the last known usage is kept."""

    def read(self) -> Noted | None: ...

    def note(self, usage: Usage) -> None: ...


class Windows(Protocol):
    """The batching windows of the live queues' event source mappings."""

    def stretch(self, seconds: int) -> None:
        """Let each batch collect for so long. Doing it twice is harmless."""


class Gauge(Protocol):
    """Metrics."""

    def budget(self, usage: Usage) -> None:
        """Requests left, and the share that is used."""


def spread(store: BudgetStore, ask: Callable[[], Usage], windows: Windows, gauge: Gauge, now: Callable[[], float]) -> int:
    """The round's part: set the windows by what is left. Returns the window in seconds. `ask` may raise: then all stays as it is."""
    noted = store.read()
    if noted is not None and now() - noted.at <= FRESH_SECONDS:
        usage = noted.usage
    else:
        usage = ask()
        store.note(usage)
    gauge.budget(usage)
    seconds = window(usage)
    windows.stretch(seconds)
    return seconds
