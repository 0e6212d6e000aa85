"""What one record's coroutine carries along: who it is, its table's rules, and the few things all records share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from omsync.platform.errors import Permanent
from omsync.sync.digests import Digests
from omsync.sync.effects import FindRecord, OpenCase, ReadRecord, SaveItem
from omsync.sync.ports import CaseRequest, Clock, Lookup, Registry, TableRules
from omsync.sync.records import Item, RecordKey, SalesforceRecord, SalesforceRef


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

    async def save(self, item: Item) -> Item:
        """Save the item; Stale if somebody else did meanwhile."""
        return await SaveItem(item)

    def where(self, item: Item) -> SalesforceRef | None:
        """The record's place in Salesforce, as far as known before looking."""
        if item.object and item.salesforce_id:
            return SalesforceRef(item.object, item.salesforce_id)
        return None if item.known else self.seen


async def look_up(item: Item, where: SalesforceRef | None, lookup: Lookup) -> SalesforceRecord | None:
    """The record by its Salesforce id; if that one is deleted or unknown, the one with this OMS_Id__c; live ones before deleted ones."""
    record = await ReadRecord(where) if where is not None else None
    if record is not None and not record.deleted:
        return record
    found = await FindRecord(lookup)
    if found is None or found.id == item.buried or (found.deleted and record is not None):
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
