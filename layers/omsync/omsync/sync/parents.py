"""Parents: whom a record's lookups name, on either side, and what to do when they are not there yet or no longer.

A parent's lookups lead away from its children, so waiting for parents ends. A patient merged in Salesforce stands for itself no longer: its
retired item names the winner, and its children's lookups are written, and compared, as the winner's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from omsync.mapping import DEFAULT_OWNER_ID
from omsync.platform.errors import OmsyncError, Permanent, Retryable
from omsync.sync.births import oms_id
from omsync.sync.context import Work
from omsync.sync.effects import Await, Ensure, ReadItem, ReadRow
from omsync.sync.ports import LedgerPort, LeftOut
from omsync.sync.records import OmsRow, Outcome, Parent, RecordKey, SalesforceRecord, SalesforceRef

#: merges of merges followed
MERGES = 10


async def winner_of(key: RecordKey) -> RecordKey:
    """The record that stands for `key` in Salesforce: itself, unless it was merged away there."""
    for _ in range(MERGES):
        item = await ReadItem(key)
        if item is None or item.merged_into is None:
            return key
        key = RecordKey(key.table, item.merged_into)
    raise Permanent(f"more than {MERGES} merges in a row", code="sync.merges", record=str(key))


def standing(ledger: LedgerPort, keys: Sequence[RecordKey]) -> dict[RecordKey, str]:
    """Of records that Salesforce has, as far as the ledger knows: the OMS id of who stands for them, at the end of all merges.

    For the blind writer, which asks before it calls.
    """
    at = {key: key for key in keys}
    known: dict[RecordKey, bool] = {}
    for _ in range(MERGES):
        asked = [key for key in dict.fromkeys(at.values()) if key not in known]
        for key, item in zip(asked, ledger.read(asked) if asked else (), strict=True):
            if isinstance(item, OmsyncError):
                raise item
            known[key] = item is not None and item.salesforce_id is not None
            if item is not None and item.merged_into is not None:
                winner = RecordKey(key.table, item.merged_into)
                at = {start: winner if now == key else now for start, now in at.items()}
        if all(now in known for now in at.values()):
            break
    return {key: now.id for key, now in at.items() if known.get(now)}


async def follow_merges(work: Work, row: OmsRow, units: Iterable[str]) -> OmsRow:
    """The row with these units' lookups pointing to the winners of merges in Salesforce."""
    for name in units:
        table = work.rules.units[name].parent
        parent_id = work.rules.reference(name, row) if table is not None else None
        if table is None or parent_id is None or work.shared.registry.shared(table) is None:
            continue
        winner = await winner_of(RecordKey(table, parent_id))
        if winner.id != parent_id:
            row = work.rules.with_reference(name, row, winner.id)
    return row


async def bring(work: Work, row: OmsRow, parent_id: str) -> bool:
    """Write the missing parent of this row to Salesforce. True: it is there; False: the row is to be looked at again."""
    table = next(
        (unit.parent for name, unit in work.rules.units.items() if unit.parent and work.rules.reference(name, row) == parent_id), None
    )
    if table is None and parent_id == DEFAULT_OWNER_ID:
        raise Permanent(
            "no User stands in for staff who have none: `omsync migrate plan` sees to it", code="sync.owner", record=str(work.key)
        )
    if table is None:
        raise Permanent("Salesforce misses a parent that this row does not name", code="sync.parent", record=str(work.key))
    key = RecordKey(table, parent_id)
    if work.shared.registry.shared(table) is None:
        await Ensure(key)
        return True
    outcome = await Await(key)
    if outcome.kind in ("in_step", "written"):
        return True
    if isinstance(outcome.error, LeftOut):
        return True
    if outcome.kind != "retired":
        now = await ReadRow(work.key)
        if now is not None and now.version == row.version:  # else it names another parent by now
            _fail(outcome, key)
    return False


async def bear_parents(
    work: Work, record: SalesforceRecord, units: Collection[str], tried: set[SalesforceRef], *, born: bool = False
) -> bool:
    """Synchronise parents that are being born in Salesforce, each once; False if there was nothing to do.

    Those are parents without an OMS id, and of these units' lookups also those whose row is not in the OMS yet (the id is written first).
    `born`: the record is being born itself, and cannot be without its parents.
    """
    unborn = {ref for field, parent in record.parents.items() if (ref := await _unborn(work, field, parent, units)) is not None} - tried
    for ref in sorted(unborn):
        tried.add(ref)
        outcome = await Await(ref)
        if outcome.kind == "retryable":
            raise Retryable("a parent is not in the OMS yet", code="sync.parent")
        if outcome.kind == "permanent" and born and not isinstance(outcome.error, LeftOut):
            raise Permanent(f"its parent cannot be born: {outcome.error}", code="sync.parent")
    return bool(unborn)


async def _unborn(work: Work, field: str, parent: Parent, units: Collection[str]) -> SalesforceRef | None:
    table, ref = work.rules.parent_of(field), SalesforceRef(parent.object, parent.salesforce_id)
    rules = work.shared.registry.shared(table) if table is not None else None
    if table is None or rules is None or not rules.born_in_salesforce:
        return None
    if parent.oms_id is None:
        return ref
    wanted = parent.oms_id == oms_id(ref) and work.rules.unit_of_field(field) in units
    return ref if wanted and await ReadRow(RecordKey(table, parent.oms_id)) is None else None


def _fail(outcome: Outcome, key: RecordKey) -> None:
    """A parent that is not there: a child of a broken one is broken; of a late one, late."""
    if outcome.kind == "retryable":
        raise Retryable(f"its parent {key} is not there yet", code="sync.parent")
    raise Permanent(f"its parent {key} cannot be written: {outcome.reason or outcome.error}", code="sync.parent")
