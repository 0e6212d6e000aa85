"""What one look at both sides comes to: which units go where, which wait for a human, who lost. Pure.

A unit is held when its policy asks a human (`conflict`) or the OMS refused it for good (`refused`). A hold ends when the sides agree, when
its Case is closed (conflict: Salesforce's value is accepted; refused: tried again), when either side moves (refused only), or when the unit
becomes the OMS's own. Nothing else of the record waits.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from omsync.sync.digests import Digests
from omsync.sync.merge import OmsSide, SalesforceSide, Verdict, decide
from omsync.sync.ports import CaseRequest, CaseStatus, Conflict, ConflictReason, TableRules
from omsync.sync.records import EDITED_SINCE, Hold, Item, Mark, OmsRow, SalesforceRecord, SalesforceRef, Side, Unit

#: conflicts' ids are uuid5 of what decided them, under this name
CONFLICTS = uuid.UUID("6f1d3a52-7a0e-5a67-9a3f-5f1c1f7b8d10")


@dataclass(slots=True)
class Plan:
    """`to_oms`: units whose Salesforce value is PATCHed. All others that differ and are not held go to Salesforce."""

    to_oms: set[str] = field(default_factory=set)
    held: dict[str, Hold] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    close: list[str] = field(default_factory=list)  # Cases with nothing left to do


class Look:
    """Both sides of one record as read, and its item."""

    def __init__(self, rules: TableRules, digests: Digests, item: Item, row: OmsRow, record: SalesforceRecord) -> None:
        self.rules, self.digests, self.item, self.row, self.record = rules, digests, item, row, record
        self.in_oms = rules.row_values(row, record.object)
        self.in_salesforce = rules.record_values(record)
        self.locked = rules.locked(row)

    def of(self, row: OmsRow) -> Look:
        """The same look at another state of the row."""
        return self if row is self.row else Look(self.rules, self.digests, self.item, row, self.record)

    def differ(self, unit: str) -> bool:
        return self.in_oms[unit] != self.in_salesforce[unit]

    def oms(self, unit: str) -> OmsSide:
        value, edited_at = self.in_oms[unit], self.rules.edited_at(self.row, unit)
        return OmsSide(value, edited_at, self._as_base(unit) if edited_at is None else None, self.rules.is_revoked(unit, value))

    def _as_base(self, unit: str) -> bool | None:
        """Is the OMS's value the base's? For an OMS that keeps no times."""
        mark = self.item.base.get(unit)
        if mark is None or self.item.mapping != self.rules.fingerprint:
            return None
        return self.digests.same(mark.digest, self.item.key, unit, self.in_oms[unit])

    def salesforce(self, unit: str) -> SalesforceSide:
        value = self.in_salesforce[unit]
        return SalesforceSide(value, self.rules.stamp(self.record, unit), self.rules.is_revoked(unit, value))

    def mark(self, unit: str) -> Mark:
        """The unit's base, once Salesforce holds the OMS's value as of this look."""
        stamp, edited_at, known = self.rules.stamp(self.record, unit), self.rules.edited_at(self.row, unit), self.item.base.get(unit)
        save = stamp.save if stamp else 0
        if known is not None and edited_at is not None and (save, edited_at) == known[1:] and self.digests.is_current(known.digest):
            return known  # neither side moved
        return Mark(self.digests.of(self.item.key, unit, self.in_oms[unit]), save, edited_at)

    def base(self, held: Collection[str]) -> dict[str, Mark]:
        """The whole base after both sides agree on all but what is held. Units that are the OMS's own need none."""
        marks = {name: self.mark(name) for name, unit in self.rules.units.items() if unit.owner != "oms" and name not in held}
        return {**{name: mark for name, mark in self.item.base.items() if name in held}, **marks}

    def lacking(self, units: Iterable[str]) -> dict[str, Mark]:
        """The base of units that a new record could not take: whatever the OMS has is news to Salesforce, whose emptiness is nobody's edit."""
        shared = [unit for unit in units if self.rules.units[unit].owner != "oms"]
        return {unit: Mark(self.digests.of(self.item.key, unit, self.in_salesforce[unit]), 0, EDITED_SINCE) for unit in shared}

    def hold(self, unit: str, reason: Literal["conflict", "refused"]) -> Hold:
        return new_hold(self.item, unit, reason, self.salesforce(unit).save, self.oms(unit).edited_at)

    def read_mark(self, unit: str) -> Mark:
        """Where both sides of a unit stand, with Salesforce's value."""
        salesforce = self.salesforce(unit)
        return Mark(self.digests.of(self.item.key, unit, salesforce.value), salesforce.save, self.oms(unit).edited_at)

    def conflict(self, unit: str, reason: ConflictReason, winner: Side) -> Conflict:
        key = self.item.key
        digests = {"oms": self.digests.of(key, unit, self.in_oms[unit]), "salesforce": self.digests.of(key, unit, self.in_salesforce[unit])}
        save, edited_at = self.salesforce(unit).save, self.oms(unit).edited_at
        return Conflict(
            id=str(uuid.uuid5(CONFLICTS, f"{key}/{unit}/{reason}/{winner}/{save}/{edited_at}")),
            record=key,
            unit=unit,
            reason=reason,
            policy=self.rules.units[unit].policy,
            winner=winner,
            winner_digest=digests.pop(winner),
            loser_digest=digests.popitem()[1],
            save=save,
            edited_at=edited_at,
        )


def plan(look: Look, cases: Mapping[str, CaseStatus]) -> Plan:
    """Merge all units. `cases`: the status of each hold's Case."""
    made = Plan()
    for name, unit in look.rules.units.items():
        hold = look.item.held.get(name)
        if hold is None:
            _place(look, made, unit, _verdict(look, unit))
        else:
            _place_held(look, made, unit, hold, cases.get(hold.case, "none"))
    return made


def _verdict(look: Look, unit: Unit) -> Verdict:
    base = look.item.base.get(unit.name)
    return decide(unit, base, look.oms(unit.name), look.salesforce(unit.name), locked=unit.name in look.locked)


def _place(look: Look, made: Plan, unit: Unit, verdict: Verdict) -> None:
    name = unit.name
    match verdict.winner:
        case "nobody":
            made.held[name] = look.hold(name, "conflict")
        case "salesforce":
            made.to_oms.add(name)
        case "oms" | "same":
            pass  # what differs goes to Salesforce
    if verdict.conflict is not None and verdict.winner in ("oms", "salesforce"):
        made.conflicts.append(look.conflict(name, verdict.conflict, "oms" if verdict.winner == "oms" else "salesforce"))


def _place_held(look: Look, made: Plan, unit: Unit, hold: Hold, case: CaseStatus) -> None:
    name = unit.name
    moved = (look.salesforce(name).save, look.oms(name).edited_at) != (hold.save, hold.edited_at)
    if not look.differ(name) or name in look.locked or (hold.reason == "refused" and (moved or case == "closed")):
        made.close.append(hold.case)
        _place(look, made, unit, _verdict(look, unit))
    elif hold.reason == "conflict" and case == "closed":
        _place(look, made, unit, Verdict("salesforce", "accepted"))
    else:
        made.held[name] = hold


def new_hold(item: Item, unit: str, reason: Literal["conflict", "refused"], save: int, edited_at: int | None) -> Hold:
    """A new hold. Its Case's key names the revision it is saved with, which no other hold of the unit can share."""
    return Hold(f"{item.key}/{unit}/{item.revision + 1}", reason, save, edited_at)


def case_for(item: Item, unit: str, hold: Hold) -> CaseRequest:
    """The Case of a hold."""
    salesforce = SalesforceRef(item.object, item.salesforce_id) if item.object and item.salesforce_id else None
    return CaseRequest(hold.case, item.key, hold.reason, salesforce, unit)
