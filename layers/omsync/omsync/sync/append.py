"""Records that are inserted once and then only report how they fared: communications (EmailMessage, Communication__c).

They keep no save count and no stamps, and EmailMessage no unique key. So a row of the OMS is inserted under a lease of its ledger
item, after a query by OMS_Id__c. The lease outlives any function and any request of it: until its end, whoever comes takes over what the
query finds (an insert whose answer was lost), but inserts nothing.
Afterwards only the units that are not `insert_only` (delivery status, deletion mark) are written, from the OMS. A record born in
Salesforce gets its row as any other birth does.
"""

from __future__ import annotations

from dataclasses import replace

from omsync.platform.errors import Permanent, Retryable
from omsync.sync.births import bear
from omsync.sync.context import Work
from omsync.sync.effects import FindRecord, ReadItem, ReadRecord, ReadRow, Undelete, WriteRecord
from omsync.sync.intents import born, resolve
from omsync.sync.parents import bear_parents, bring, follow_merges
from omsync.sync.ports import Lookup, MissingParent, Write
from omsync.sync.records import Item, Lease, OmsRow, Outcome, SalesforceRecord, SalesforceRef

#: nobody heard the end of it: the connection broke, or a proxy grew tired of waiting. Any other answer is Salesforce's own, given at the end;
#: whether the insert took effect is then the next query's to tell
_UNDER_WAY = frozenset({"salesforce.unreachable", "HTTP_408", "HTTP_502", "HTTP_504"})


async def append(work: Work, tried: set[SalesforceRef]) -> Outcome | None:
    """One look at a record; None: look again."""
    stored = await ReadItem(work.key)
    item = stored or Item(key=work.key, mapping=work.rules.fingerprint)
    if item.intent is not None:
        item = await resolve(work, item, item.intent)
    where = work.where(item)
    record = await ReadRecord(where) if where is not None else None
    row = await ReadRow(work.key)
    if row is None:
        if record is None or record.deleted:
            return Outcome("ignored", work.key, "on neither side")
        if not await bear_parents(work, record, work.rules.units, tried, born=True):
            await bear(work, item, record)
        return None
    item = born(work, item, row)
    if where is None:
        return await _insert(work, item, row)
    if record is None or record.deleted:
        await _revive(work, item, row, where)
        return None
    return await _report(work, stored, item, row, record)


async def _insert(work: Work, item: Item, row: OmsRow) -> Outcome | None:
    if reason := work.rules.skip_reason(row):
        return Outcome("skipped", work.key, reason)
    shared, sobject = work.shared, work.rules.object_for(row)
    row = await follow_merges(work, row, work.rules.units)
    fields = work.rules.fields(row, sobject, None)
    now = shared.clock.now()
    leased = item.lease is not None and item.lease.until > now
    record = await FindRecord(Lookup(sobject, work.key.id))  # whoever inserts after this has moved the item, and our lease is refused
    if record is not None and record.id != item.buried:
        await work.save(_inserted(work, item, row, record.id))
        return None
    if leased:
        raise Retryable("another function inserts it", code="sync.lease")
    write = Write(object=sobject, id=None, fields=fields, version=row.version, oms_id=work.key.id)
    for _ in range(2):
        item = await work.save(replace(item, object=sobject, lease=Lease(shared.clock.new_id(), shared.clock.now() + shared.lease)))
        try:
            record_id = await WriteRecord(write)
            break
        except (Permanent, Retryable) as refused:
            if isinstance(refused, Permanent) or refused.code not in _UNDER_WAY:
                item = await work.save(replace(item, lease=None))
            if not isinstance(refused, MissingParent):
                raise
            if not await bring(work, row, refused.external_id):
                return None
    else:
        return None
    work.carried_from_oms(item, row)
    await work.save(_inserted(work, item, row, record_id))
    return Outcome("written", work.key)


def _inserted(work: Work, item: Item, row: OmsRow, record_id: str) -> Item:
    return replace(
        item,
        object=work.rules.object_for(row),
        salesforce_id=record_id,
        buried=None,
        version=row.version,
        lease=None,
        mapping=work.rules.fingerprint,
    )


async def _revive(work: Work, item: Item, row: OmsRow, ref: SalesforceRef) -> None:
    """History is the OMS's: a deleted record is undeleted, or inserted again."""
    try:
        await Undelete(ref)
    except Permanent:
        record = await ReadRecord(ref)
        if record is None or record.deleted:
            await work.save(replace(item.moved_to(None), object=ref.object))


async def _report(work: Work, stored: Item | None, item: Item, row: OmsRow, record: SalesforceRecord) -> Outcome:
    values, found = work.rules.row_values(row, record.object), work.rules.record_values(record)
    units = frozenset(name for name, unit in work.rules.units.items() if not unit.insert_only and values[name] != found[name])
    stale = record.version is not None and record.version > row.version
    if not stale and (units or record.version != row.version):
        fields = work.rules.fields(row, record.object, units)
        await WriteRecord(Write(object=record.object, id=record.id, fields=fields, version=row.version, oms_id=work.key.id))
        if units:
            work.carried_from_oms(item, row)
    version = max(row.version, record.version or 0)
    done = replace(item, object=record.object, salesforce_id=record.id, version=version, lease=None, mapping=work.rules.fingerprint)
    if done != stored:
        await work.save(done)
    return Outcome("written" if units else "in_step", work.key)
