"""From accepted OMS events to transitions on the bus: each once, by whichever way it came first, the push or the outbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import ValidationError

from omsync.emails.flows import Flows
from omsync.emails.ports import Bus, Published
from omsync.emails.transitions import Transition, flows_for, transition_of
from omsync.oms.client import OutboxPage
from omsync.oms.events import CloudEvent
from omsync.platform.errors import OmsyncError, Retryable
from omsync.sync.consume import NOT_REACHED, Result
from omsync.sync.messages import LifecycleMessage

#: the outbox's place among the saved cursors
FEED = "lifecycle/outbox"
PAGE = 200


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """`Worker` of the lifecycle queue's consumer."""

    flows: Flows
    bus: Bus
    published: Published
    time_is_up: Callable[[], bool] = lambda: False

    def __call__(self, messages: Sequence[LifecycleMessage]) -> list[Result]:
        """One result a message: published, silent (no email hangs on it), duplicate."""
        results: dict[int, Result] = {}
        mine: dict[int, Transition] = {}
        for place, message in enumerate(messages):
            if self.time_is_up():
                results[place] = NOT_REACHED
                continue
            transition = transition_of(message)
            if transition is None or not flows_for(transition, self.flows):
                results[place] = Result("silent")
                continue
            outcome = self._begin(transition)
            if outcome is None:
                mine[place] = transition
            else:
                results[place] = outcome
        results |= self._publish(mine)
        return [results[place] for place in range(len(messages))]

    def _begin(self, transition: Transition) -> Result | None:
        try:
            match self.published.begin(transition.key):
                case "mine":
                    return None
                case "done":
                    return Result("duplicate", record=_record(transition))
        except OmsyncError as fault:
            return Result("failed", fault, _record(transition))
        return Result("failed", Retryable("another invocation publishes it", code="emails.publishing", after=60.0), _record(transition))

    def _publish(self, mine: dict[int, Transition]) -> dict[int, Result]:
        refused = {transition.key for transition in self.bus.publish(list(mine.values()))} if mine else set()
        results = {}
        for place, transition in mine.items():
            if transition.key in refused:
                self.published.undo(transition.key)
                results[place] = Result("failed", Retryable("the bus did not take it", code="emails.bus"), _record(transition))
            else:
                self.published.done(transition.key)
                results[place] = Result("published", record=_record(transition))
        return results


class Cursor(Protocol):
    """Saved positions (`omsync.sync.stores.Cursors`)."""

    def read(self, feed: str) -> str | None:
        """The saved position."""

    def move(self, feed: str, position: str, *, seen: str | None) -> bool:
        """Save, if nobody else did."""


class Outbox(Protocol):
    """The OMS's outbox (`omsync.oms.client`)."""

    def outbox(self, after: str | None, *, limit: int = PAGE) -> OutboxPage:
        """A page."""

    def now_cursor(self) -> str:
        """Where a reader that starts today begins."""


@dataclass(frozen=True, slots=True)
class OutboxReader:
    """Reads the outbox behind the pushes, so that a lost one loses no email. Begins at its first run: what was before is history."""

    oms: Outbox
    cursors: Cursor
    lifecycle: Lifecycle
    time_is_up: Callable[[], bool] = lambda: False

    def run(self) -> dict[str, int]:
        """Counts of what the pages held. Raises Retryable; the cursor then stands where the work is done."""
        seen = self.cursors.read(FEED)
        if seen is None:
            self.cursors.move(FEED, self.oms.now_cursor(), seen=None)
            return {"begun": 1}
        counts: dict[str, int] = {}
        while not self.time_is_up():
            page = self.oms.outbox(seen, limit=PAGE)
            for result in self.lifecycle([message for event in page.events if (message := message_of(event)) is not None]):
                if not result.reached:
                    return counts
                if result.fault is not None:
                    raise result.fault
                counts[result.kind] = counts.get(result.kind, 0) + 1
            if page.next == seen or not self.cursors.move(FEED, page.next, seen=seen):
                return counts  # the end, or another reader is at it
            seen = page.next
            if len(page.events) < PAGE:
                return counts
        return counts


def message_of(event: dict[str, object]) -> LifecycleMessage | None:
    """An outbox event as the door would have enqueued it; None for what the door would have refused."""
    try:
        parsed = CloudEvent.model_validate(event)
    except ValidationError:
        return None
    data = parsed.data
    return LifecycleMessage(
        correlation_id=parsed.correlation_id,
        origin="oms",
        committed_at=parsed.time,
        event_id=parsed.id,
        table=data.table,
        id=data.id,
        version=data.version,
        operation=parsed.operation,
        row=data.row,
        old=data.old,
    )


def _record(transition: Transition) -> str:
    return f"{transition.table}/{transition.id}"
