"""Deletes, undeletes and merges. The OMS's own soft delete needs nothing of this: `OMS_Deleted__c` is a field like any other.

Deleted in Salesforce:
    merged into another record     the loser's item is retired and never written; a Case asks for the merge in the OMS
    of what Salesforce owns        the row is soft-deleted in the OMS; restored if the record lives again
    of what the OMS owns           undone: undeleted, or created again from a fresh read; its children's lookups are written again
"""

from __future__ import annotations

from dataclasses import replace

from omsync.platform.errors import Permanent, Retryable
from omsync.sync.births import oms_id
from omsync.sync.context import Work, ask
from omsync.sync.effects import Await, CloseCase, GetCase, LogConflict, PatchRow, ReadItem, ReadRecord, ReadRow, Undelete
from omsync.sync.parents import MERGES
from omsync.sync.ports import CaseRequest, Conflict, LeftOut, Patch, Refused
from omsync.sync.records import CHANGED_BY, Intent, Item, OmsRow, Outcome, RecordKey, SalesforceRecord, SalesforceRef, to_iso


def is_ours(item: Item, row: OmsRow) -> bool:
    """Did the sync soft-delete the row, because its record was deleted? A lost ledger leaves only the OMS's word."""
    return row.deleted and (item.gone or (not item.known and row.changed_by == CHANGED_BY))


async def restore(work: Work, item: Item, row: OmsRow) -> None:
    """The record lives again: so does its row."""
    await _set_deleted(work, replace(item, relink=True), row, deleted=False)


async def follow(work: Work, item: Item, row: OmsRow, ref: SalesforceRef, record: SalesforceRecord | None) -> Outcome | None:
    """The record at `ref` is deleted, or purged (None). None: look again."""
    winner = await _winner(work, record) if record is not None else None
    if record is not None and winner is not None:
        await _retire(work, item, record, winner)
        return None
    if work.rules.record_owner == "salesforce":
        if row.deleted:
            done = replace(item, gone=True, object=ref.object, salesforce_id=ref.id, version=row.version)
            if done != item:
                await work.save(done)
            return Outcome("in_step", work.key, "deleted")
        await _set_deleted(work, replace(item, object=ref.object, salesforce_id=ref.id), row, deleted=True)
        return None
    await _undo(work, item, row, ref)
    return None


async def _set_deleted(work: Work, item: Item, row: OmsRow, *, deleted: bool) -> None:
    intent = Intent(id=work.shared.clock.new_id(), patches=True, gone=deleted)
    item = await work.save(replace(item, intent=intent))
    moment = to_iso(work.shared.clock.now()) if deleted else None
    try:
        await PatchRow(Patch(work.key, intent.id, row.version, {"deleted_at": moment}))
    except Refused:
        await work.save(replace(item, intent=None))
        raise
    work.carried("salesforce", None)
    await work.save(replace(item, gone=deleted, intent=None))


async def _undo(work: Work, item: Item, row: OmsRow, ref: SalesforceRef) -> None:
    item = await work.save(replace(item, object=ref.object, salesforce_id=ref.id, relink=True))
    await LogConflict(_undone(item))
    try:
        await Undelete(ref)
    except Permanent:
        record = await ReadRecord(ref)
        if record is None or record.deleted:  # gone for good: the next look creates it anew, or finds the live one that bears its OMS id
            await work.save(item.moved_to(None))


def _undone(item: Item) -> Conflict:
    return Conflict(
        id=f"{item.key}/deleted/{item.salesforce_id}/{item.revision}",
        record=item.key,
        unit="record",
        reason="deleted",
        policy="oms",
        winner="oms",
        winner_digest="",
        loser_digest="",
        save=item.save,
        edited_at=None,
    )


# ----------------------------------------------------------------------------------------------------------------- merges


async def _winner(work: Work, loser: SalesforceRecord) -> RecordKey | None:
    """The record that the loser was merged into, at the end of its merges; None: it was deleted before the OMS knew it."""
    record = loser
    for _ in range(MERGES):
        if record.master_id is None:
            return None
        ref = SalesforceRef(record.object, record.master_id)
        master = await ReadRecord(ref)
        if master is None:
            return None
        key = RecordKey(work.key.table, master.oms_id or oms_id(ref))
        if await ReadRow(key) is not None:
            return key
        if not master.deleted:
            await _bear(work, ref)
            return key
        record = master
    return None


async def _bear(work: Work, ref: SalesforceRef) -> None:
    """The winner of a merge is being born itself."""
    outcome = await Await(ref)
    if outcome.kind == "permanent" and not isinstance(outcome.error, LeftOut):
        raise Permanent(f"the winner of the merge cannot be born: {outcome.error}", code="sync.parent", record=str(work.key))
    if outcome.error is not None and not isinstance(outcome.error, LeftOut):
        raise Retryable("the winner of the merge is not in the OMS yet", code="sync.merge", record=str(work.key))


async def _retire(work: Work, item: Item, loser: SalesforceRecord, winner: RecordKey) -> None:
    """The loser's item names the winner from now on."""
    await work.save(replace(item, object=loser.object, salesforce_id=loser.id, merged_into=winner.id, held={}, intent=None))
    for hold in item.held.values():
        await CloseCase(hold.case)


async def stay_retired(work: Work, item: Item, row: OmsRow | None) -> Outcome:
    """A retired item is never written. Its Case is open until the OMS merged the two as well."""
    if item.merged_into is None:
        raise RuntimeError(f"{item.key} is not retired")
    case = f"{item.key}/merged/{item.merged_into}"
    if row is not None and work.rules.merged_into(row) == item.merged_into:
        await CloseCase(case)
    elif await GetCase(case) == "none":
        into = RecordKey(item.key.table, item.merged_into)
        winner = await ReadItem(into)  # the loser is deleted: no Case can hang on it
        ref = SalesforceRef(winner.object, winner.salesforce_id) if winner and winner.object and winner.salesforce_id else None
        await ask(CaseRequest(case, item.key, "merged", ref, into=into))
    return Outcome("retired", work.key, "merged in Salesforce")
