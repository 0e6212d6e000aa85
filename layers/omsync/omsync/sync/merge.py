"""Who is right about one unit: a pure, three-way merge against the base.

Each side is compared only with its own part of the base's mark: Salesforce's save count of the unit with the count then, the OMS's
`edited_at` with the time then (an OMS without times: by value). The two systems' clocks are compared only if both sides moved, which
makes an uncontested edit safe from any skew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omsync.sync.ports import ConflictReason
from omsync.sync.records import Mark, Stamp, Unit, UnitValue

type Winner = Literal["same", "oms", "salesforce", "nobody"]


@dataclass(frozen=True, slots=True)
class OmsSide:
    """`edited_at` None: the OMS keeps no times. `as_base`: is the value the base's? None: nobody can tell."""

    value: UnitValue
    edited_at: int | None
    as_base: bool | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class SalesforceSide:
    """`stamp` None: no person ever edited the unit there."""

    value: UnitValue
    stamp: Stamp | None
    revoked: bool = False

    @property
    def save(self) -> int:
        return self.stamp.save if self.stamp else 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`conflict` says why somebody lost an edit; None: nobody did."""

    winner: Winner
    conflict: ConflictReason | None = None


SAME = Verdict("same")


def decide(unit: Unit, base: Mark | None, oms: OmsSide, salesforce: SalesforceSide, *, locked: bool = False) -> Verdict:
    """The unit's winner. `locked`: only the OMS may change it in this row. "nobody" asks a human."""
    if oms.value == salesforce.value:
        return SAME
    owner = "oms" if locked else unit.owner
    oms_moved, salesforce_moved = _oms_moved(base, oms), _salesforce_moved(base, salesforce)
    if owner == "oms":
        return Verdict("oms", "owned" if salesforce_moved else None)
    if unit.parent is not None and not salesforce_moved and _is_empty(salesforce.value):
        return Verdict("oms")  # nobody cleared that lookup: deleting its parent did
    if owner == "salesforce":
        return Verdict("salesforce", "owned" if oms_moved else None)
    if base is None or oms_moved is None:
        return _without_base(unit, oms, salesforce)
    if not salesforce_moved:
        return Verdict("oms")  # also if neither moved: what no person wrote in Salesforce is nobody's edit
    if not oms_moved:
        return Verdict("salesforce")
    return _by_policy(unit, oms, salesforce)


def _oms_moved(base: Mark | None, oms: OmsSide) -> bool | None:
    """None: unknown."""
    if base is None:
        return None
    if oms.edited_at is not None and base.edited_at is not None:
        return oms.edited_at != base.edited_at
    return None if oms.as_base is None else not oms.as_base


def _salesforce_moved(base: Mark | None, salesforce: SalesforceSide) -> bool:
    return salesforce.save > (base.save if base else 0)


def _is_empty(value: UnitValue) -> bool:
    return all(part is None for part in value.values())


def _by_policy(unit: Unit, oms: OmsSide, salesforce: SalesforceSide) -> Verdict:
    match unit.policy:
        case "oms" | "salesforce":
            return Verdict(unit.policy, "contested")
        case "manual":
            return Verdict("nobody")
        case "revoked_wins" if oms.revoked != salesforce.revoked:
            return Verdict("oms" if oms.revoked else "salesforce", "contested")
    later = salesforce.stamp is not None and oms.edited_at is not None and salesforce.stamp.at > oms.edited_at
    return Verdict("salesforce" if later else "oms", "contested")


def _without_base(unit: Unit, oms: OmsSide, salesforce: SalesforceSide) -> Verdict:
    """The ledger knows nothing, or nothing comparable: the policy's side, else the later edit, else a human."""
    if unit.policy == "manual":
        return Verdict("nobody")
    if unit.policy in ("oms", "salesforce") or (unit.policy == "revoked_wins" and oms.revoked != salesforce.revoked):
        return Verdict(_by_policy(unit, oms, salesforce).winner, "base_unknown")
    oms_at, salesforce_at = oms.edited_at, salesforce.stamp.at if salesforce.stamp else 0
    if oms_at is None or not (oms_at or salesforce_at):
        return Verdict("nobody")
    return Verdict("salesforce" if salesforce_at > oms_at else "oms", "base_unknown")
