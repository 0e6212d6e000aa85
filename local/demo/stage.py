"""What a step works with: both systems, the journal, and ways to see one side show what the other did."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from local.demo.journal import Direction, Fact, Journal, Lag, PromiseBroken, StepRecord
from local.demo.show import Show
from local.demo.systems import Oms, Org, Refused, Row, Systems
from omsync.mapping import compile_mapping, load_mappings

#: how long a change may take to be seen on the other side, and how often one looks, in seconds
PATIENCE, EVERY = 45.0, 0.15

type Rows = Mapping[str, Sequence[Row]]


@dataclass
class Story:
    """Whom and what the steps tell of; each step adds what the next one needs."""

    catalogue: dict[str, Row] = field(default_factory=dict)
    patient: Row | None = None
    account: str = ""
    consultation: str = ""
    prescription: str = ""
    order: str = ""
    shipment: str = ""
    #: flow -> the patient who has a reason for its email
    patients: dict[str, str] = field(default_factory=dict)


@dataclass
class Stage:
    """Handed to every step."""

    systems: Systems
    journal: Journal
    show: Show
    story: Story = field(default_factory=Story)
    quick: bool = False
    _step: StepRecord | None = None

    @cached_property
    def oms(self) -> Oms:
        return self.systems.oms()

    @cached_property
    def org(self) -> Org:
        return self.systems.org()

    # -------------------------------------------------------------------------------------------------------- telling
    def begin(self, name: str, title: str) -> StepRecord:
        """A step begins; facts are its from now on."""
        self._step = self.journal.begin(name, title)
        self.show.step(self._step)
        return self._step

    def fact(self, text: str, seconds: float | None = None, direction: Direction | None = None) -> None:
        """Something was observed."""
        fact = Fact(text, seconds, direction)
        if self._step is not None:
            self._step.facts.append(fact)
        self.show.rest()
        self.show.fact(fact)

    def broken(self, text: str) -> None:
        """A promise was broken; the demo goes on and ends with an error."""
        if self._step is not None:
            self._step.broken.append(text)
        self.show.rest()
        self.show.broken(text)

    # ------------------------------------------------------------------------------------------------------ observing
    def until[T](
        self, what: str, look: Callable[[], T], holds: Callable[[T], object] = bool, *, seconds: float = PATIENCE, every: float = EVERY
    ) -> T:
        """Look again and again until what is seen holds; PromiseBroken after `seconds`. A system that is away shows nothing."""
        deadline = time.monotonic() + seconds
        self.show.waiting(what)
        while True:
            seen = self.look(look, otherwise=None)
            if seen is not None and holds(seen):
                return seen
            if time.monotonic() > deadline:
                raise PromiseBroken(f"{what}: not within {seconds:.0f} s")
            time.sleep(every)

    def look[T, E](self, look: Callable[[], T], *, otherwise: E) -> T | E:
        """What is seen; `otherwise` if a system is away."""
        try:
            return look()
        except Refused as refused:
            if refused.status not in (0, 429, 500, 503):
                raise
            return otherwise

    def saw(self, direction: Direction, since: float) -> float:
        """A change that was made at `since` (time.monotonic) is seen now: keep its lag; the seconds."""
        seconds = time.monotonic() - since
        self.journal.lag(Lag(since - self.journal.begun, seconds, direction))
        return seconds

    def follow(self, rows: Rows, what: str) -> float:
        """Wait until each of these rows, in this version or a later one, is in Salesforce; the seconds of the last."""
        since = time.monotonic()
        left = {
            (sobject, str(row["id"])): int(row["version"])
            for table, some in rows.items()
            for row in some
            for sobject in _objects(table, row)
        }
        if not left:
            raise PromiseBroken(f"{what}: no row of it belongs into Salesforce")
        last = 0.0

        def look() -> int:
            nonlocal last
            for sobject in {sobject for sobject, _ in left}:
                ids = [row_id for one, row_id in left if one == sobject]
                for row_id, record in self.org.by_oms_id(sobject, ids, "OMS_Version__c").items():
                    if int(record["OMS_Version__c"] or 0) >= left[sobject, row_id]:
                        del left[sobject, row_id]
                        last = self.saw("oms_to_salesforce", since)
            return len(left)

        self.until(f"{what}: waiting for Salesforce", look, lambda number: number == 0)
        return last

    def shown(self, sobject: str, oms_id: str, fields: str) -> Row:
        """A record as Salesforce shows it now."""
        found = self.org.by_oms_id(sobject, [oms_id], f"Id, {fields}")
        if oms_id not in found:
            raise PromiseBroken(f"{sobject} {oms_id} is not in Salesforce")
        return found[oms_id]


def _objects(table: str, row: Row) -> list[str]:
    """The objects a row is sent to; none if it is not sent by rule, or travels in another row, or is matched."""
    mappings = load_mappings()
    if table not in mappings or mappings[table].mode not in ("mirrored", "shared"):
        return []
    records = compile_mapping(mappings[table]).to_salesforce(row)
    return [record.object for record in records if "OMS_Version__c" in record.target.fields]
