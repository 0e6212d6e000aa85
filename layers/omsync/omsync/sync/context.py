"""What one record's coroutine carries along: who it is, its table's rules, and the few things all records share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from omsync.platform.errors import Permanent
from omsync.sync.digests import Digests
from omsync.sync.effects import FindRecord, OpenCase, ReadRecord, SaveItem
from omsync.sync.ports import CaseRequest, Clock, Lookup, Registry, TableRules
from omsync.sync.records import CHANGED_BY, Item, OmsRow, RecordKey, SalesforceRecord, SalesforceRef, Side, from_iso


@dataclass(frozen=True, slots=True)
class Shared:
    """Of all records."""

    registry: Registry
    digests: Digests
    clock: Clock
    lease: int  # microseconds; longer than a function may run


@dataclass(frozen=True, slots=True)
class Work:
    """Of one record. `seen`: where a hint saw it in Salesforce, for a record that the ledger does not know yet."""

    key: RecordKey
    rules: TableRules
    shared: Shared
    seen: SalesforceRef | None = None
    brought: dict[Side, int | None] = field(default_factory=dict)  # see Outcome

    refused: dict[str, Permanent] = field(default_factory=dict)  # units whose value Salesforce refused, and why

    def left_out(self, row: OmsRow) -> dict[str, Permanent]:
        """Units that cannot be brought to Salesforce. The rest goes on; the record fails for good once that is done."""
        return {**self.rules.unfit(row), **self.refused}

    def carried(self, side: Side, since: int | None) -> None:
        """A change of that side is on the other one; of several the oldest counts."""
        known = self.brought.get(side)
        self.brought[side] = since if known is None else min(known, since or known)

    def carried_from_oms(self, item: Item, row: OmsRow) -> None:
        """Salesforce took the row. Unless it had that version already: then a person's edit was put right, and no change was carried."""
        if item.version is None or row.version > item.version:
            told = row.values.get("updated_at")
            self.carried("oms", from_iso(told) if isinstance(told, str) and row.changed_by != CHANGED_BY else None)

    def carried_from_salesforce(self, record: SalesforceRecord, units: Iterable[str]) -> None:
        """The OMS took these units."""
        stamps = [stamp.at for unit in units if (stamp := self.rules.stamp(record, unit)) is not None]
        self.carried("salesforce", min(stamps, default=None))

    async def save(self, item: Item) -> Item:
        """Save the item; Stale if somebody else did meanwhile."""
        return await SaveItem(item)

    def where(self, item: Item) -> SalesforceRef | None:
        """The record's place in Salesforce, as far as known before looking."""
        if item.object and item.salesforce_id:
            return SalesforceRef(item.object, item.salesforce_id)
        return None if item.known else self.seen


async def look_up(item: Item, where: SalesforceRef | None, lookup: Lookup) -> SalesforceRecord | None:
    """The record by its Salesforce id; if that one is deleted or unknown, the one with this OMS_Id__c: live ones before deleted ones, of
    those the last. (A slow insert may have created a second one after the first was deleted.)"""
    record = await ReadRecord(where) if where is not None else None
    if record is not None and not record.deleted:
        return record
    found = await FindRecord(lookup)
    if found is None or found.id == item.buried:
        return record
    return found


async def ask(request: CaseRequest) -> None:
    """Open a Case. If it cannot hang on its record (deleted meanwhile), it only names it."""
    try:
        await OpenCase(request)
    except Permanent:
        if request.salesforce is None:
            raise
        await OpenCase(replace(request, salesforce=None))
