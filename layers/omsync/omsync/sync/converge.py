"""The synchroniser of shared records: one for both directions.

`Synchroniser.synchronise(refs)` takes any number of records, each by its OMS id or its Salesforce id, and answers one outcome each.
Whatever called it - an event, a hint, the sweep, a redrive, a second one at the same moment - only says *which* record; both sides are
read now.

    look     ledger item, open intent resolved; Salesforce, then the OMS
    merge    per unit, against the base (`merge`, `plan`)
    intent   saved in the ledger before the first effect
    write    PATCH the OMS (If-Match, Idempotency-Key), then write Salesforce (the save count that was read)
    commit   base, versions, revision

A compare-and-set that loses anywhere raises `Stale`, and the record is looked at again, a bounded number of times. Salesforce is read
before the OMS: its write proves that nothing was saved there since, so the OMS was read while Salesforce stood as we saw it - one
snapshot of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from omsync.mapping.model import Json
from omsync.platform.errors import OmsyncError, Permanent, Retryable, Stale
from omsync.sync import deletes
from omsync.sync.append import append
from omsync.sync.births import bear, oms_id
from omsync.sync.commands import execute
from omsync.sync.context import Shared, Work, ask, look_up
from omsync.sync.digests import Digests
from omsync.sync.effects import (
    Attach,
    Await,
    Batch,
    CloseCase,
    FindKey,
    GetCase,
    LogConflict,
    PatchRow,
    ReadItem,
    ReadRecord,
    ReadRow,
    Relink,
    Steps,
    WriteRecord,
)
from omsync.sync.intents import born, holds_of, land, resolve, taken
from omsync.sync.parents import bear_parents, bring, follow_merges
from omsync.sync.plan import Look, Plan, case_for, plan
from omsync.sync.ports import Attachment, CaseStatus, LeftOut, Lookup, MissingParent, Patch, Ports, Refused, Registry, Write
from omsync.sync.records import Intent, Item, OmsRow, Outcome, RecordKey, RecordRef, SalesforceRecord, SalesforceRef

#: looks at one record before it is left to a later attempt: a birth with its parents takes five, the rest is for races
ROUNDS = 6
#: how long an insert without a unique key is nobody else's; longer than any function runs
LEASE_SECONDS = 20 * 60


class Synchroniser:
    """Brings shared records into step. Safe to run any number of times, concurrently, and to kill anywhere."""

    def __init__(self, registry: Registry, digests: Digests, ports: Ports, *, lease_seconds: int = LEASE_SECONDS) -> None:
        self._ports = ports
        self._shared = Shared(registry, digests, ports.clock, lease_seconds * 1_000_000)

    def synchronise(self, refs: Sequence[RecordRef], *, deadline: int | None = None) -> list[Outcome]:
        """One outcome for each ref, in order. Never raises for a record; raises what concerns none in particular (a bug in a port).

        `deadline` (microseconds since 1970): what is not finished by then comes back as retryable.
        """
        batch = self.batch(refs)
        for _ in batch.steps():
            if deadline is not None and self._ports.clock.now() >= deadline:
                batch.stop(Retryable("no time left", code="sync.deadline", after=0.0))
                break
        return [batch.outcome(ref) for ref in refs]

    def batch(self, refs: Iterable[RecordRef]) -> Batch:
        """The same, to be stepped through."""
        batch = Batch(self._ports, self._begin)
        for ref in refs:
            batch.add(Await(ref))
        return batch

    def _begin(self, wanted: Await) -> Steps[Outcome]:
        if isinstance(wanted.key, SalesforceRef):
            return self._locate(wanted.key)
        return self._converge(wanted.key, wanted.salesforce)

    async def _locate(self, ref: SalesforceRef) -> Outcome:
        """Which record does a Salesforce id name? The ledger knows, or the record says, or it is being born."""
        registry = self._shared.registry
        key = await FindKey(ref.id)
        if key is None:
            record = await ReadRecord(ref)
            if record is None:
                return Outcome("ignored", reason="unknown and gone")
            rules = registry.for_record(record)
            if rules is None:
                return Outcome("ignored", reason="no mapping names its record type")
            if record.oms_id is None and record.deleted:
                return Outcome("ignored", reason="deleted before it was known")
            if record.oms_id is None and not rules.born_in_salesforce:
                raise Permanent(f"{rules.table} are born in the OMS only", code="sync.birth", record=str(ref))
            key = RecordKey(rules.table, record.oms_id or oms_id(ref))
        return await Await(key, ref)

    async def _converge(self, key: RecordKey, seen: SalesforceRef | None) -> Outcome:
        rules = self._shared.registry.shared(key.table)
        if rules is None:
            raise Permanent(f"{key.table} is not a shared table", code="sync.table", record=str(key))
        work = Work(key, rules, self._shared, seen)
        look = converge if rules.guarded else append
        tried: set[SalesforceRef] = set()
        try:
            for _ in range(ROUNDS):
                try:
                    outcome = await look(work, tried)
                except Stale:
                    continue
                if outcome is not None:
                    return replace(outcome, brought=dict(work.brought))
        except OmsyncError as error:
            error.record = error.record or str(key)
            raise
        raise Retryable(f"still contended after {ROUNDS} looks", code="sync.contended", record=str(key))


async def converge(work: Work, tried: set[SalesforceRef]) -> Outcome | None:
    """One look at a record and what follows from it; None: look again."""
    stored = await ReadItem(work.key) or Item(key=work.key, mapping=work.rules.fingerprint)
    item = stored if stored.intent is None else await resolve(work, stored, stored.intent)
    where = work.where(item)
    sobject = item.object or (where.object if where else None) or await _object(work)
    record = await look_up(item, where, Lookup(sobject, work.key.id)) if sobject else None
    row = await ReadRow(work.key)
    if row is None:
        return await _without_row(work, item, record, tried)
    item = born(work, item, row)
    if item.merged_into is not None and (record is None or record.deleted):
        return await deletes.stay_retired(work, item, row)
    if record is None and item.salesforce_id is None:
        return await _create(work, item, row)
    if record is None or record.deleted:
        ref = where if record is None else SalesforceRef(record.object, record.id)
        return await deletes.follow(work, item, row, ref or _nowhere(work), record)
    return await _meet(work, stored, item, row, record, tried)


async def _object(work: Work) -> str | None:
    """The object of a record that nobody has seen yet: its row decides."""
    row = await ReadRow(work.key)
    return work.rules.object_for(row) if row is not None else None


def _nowhere(work: Work) -> SalesforceRef:
    raise RuntimeError(f"{work.key}: deleted, yet nowhere")


async def _without_row(work: Work, item: Item, record: SalesforceRecord | None, tried: set[SalesforceRef]) -> Outcome | None:
    if record is None or record.deleted:
        return Outcome("ignored", work.key, "on neither side")
    if item.base or not work.rules.born_in_salesforce:
        raise Permanent("the OMS has no such row", code="sync.row", record=str(work.key))
    if not await bear_parents(work, record, work.rules.units, tried, born=True):
        await bear(work, item, record)
    return None


async def _create(work: Work, item: Item, row: OmsRow) -> Outcome | None:
    """Insert a row's record. A unique OMS_Id__c refuses a second one."""
    rules = work.rules
    if deletes.is_ours(item, row):
        return Outcome("skipped", work.key, "deleted in Salesforce")
    if reason := rules.skip_reason(row):
        return Outcome("skipped", work.key, reason)
    row = await follow_merges(work, row, rules.units)
    sobject = rules.object_for(row)
    new = SalesforceRecord(object=sobject, id="", oms_id=work.key.id, fields={})
    look, left_out = Look(rules, work.shared.digests, item, row, new), work.left_out(row)
    fields = {name: value for name, value in rules.fields(row, sobject, None).items() if rules.unit_of_field(name) not in left_out}
    intent = Intent(id=work.shared.clock.new_id(), to_salesforce={**look.base(left_out), **look.lacking(left_out)})
    item = await work.save(replace(item, object=sobject, intent=intent))
    write = Write(object=sobject, id=None, fields=fields, write=intent.id, version=row.version, oms_id=work.key.id)
    record_id = await _write(work, item, row, write)
    if record_id is None:
        return None
    work.carried_from_oms(item, row)
    base = dict(intent.to_salesforce)
    done = replace(item, salesforce_id=record_id, buried=None, base=base, held={}, version=row.version, save=1, intent=None, afloat=())
    await _commit(work, item, done, row, {})
    _fail_for(left_out)
    return Outcome("written", work.key)


async def _meet(work: Work, stored: Item, item: Item, row: OmsRow, record: SalesforceRecord, tried: set[SalesforceRef]) -> Outcome | None:
    """Both sides are there and live (the row may be soft-deleted)."""
    if item.salesforce_id is not None and record.id != item.salesforce_id:
        item = item.moved_to(record.id)
    item = land(replace(item, object=record.object, salesforce_id=record.id, buried=None, merged_into=None), record)
    if record.version is not None and record.version > row.version:
        again = await ReadRow(work.key)
        if again is None or record.version > again.version:
            raise Permanent("Salesforce holds a later version than the OMS has", code="sync.version", record=str(work.key))
        row = again
    if deletes.is_ours(item, row):
        await deletes.restore(work, item, row)
        return None
    if await execute(work, record):
        return None
    look = Look(work.rules, work.shared.digests, item, row, record)
    lookups = [name for name, unit in work.rules.units.items() if unit.parent is not None and look.differ(name)]
    if await bear_parents(work, record, lookups, tried):
        return None
    look = look.of(await follow_merges(work, row, lookups))
    return await _merge(work, stored, look, lookups)


async def _merge(work: Work, stored: Item, look: Look, lookups: list[str]) -> Outcome | None:
    """Decide and carry out. `lookups`: units whose parents may have been merged away."""
    item, record = look.item, look.record
    cases = {hold.case: await GetCase(hold.case) for hold in item.held.values()}
    made = plan(look, cases)
    columns = _columns(look, made)
    intent = _intent(work, look, made)
    if intent is not None:
        item = await work.save(replace(item, held={**item.held, **made.held}, intent=intent))
    for conflict in made.conflicts:
        await LogConflict(conflict)
    if intent is not None and columns:
        row = await _patch(work, item, intent, Patch(work.key, intent.id, look.row.version, columns))
        if row is None:
            return None
        work.carried_from_salesforce(record, made.to_oms)
        look = look.of(await follow_merges(work, row, lookups))
        for unit in filter(look.differ, made.to_oms):
            await LogConflict(look.conflict(unit, "altered", "oms"))
    save = await _bring_salesforce(work, item, look, made)
    if save is None:
        return None
    for case in made.close:
        await CloseCase(case)
    left_out = {unit: why for unit, why in work.left_out(look.row).items() if unit not in made.held}
    base = look.base({*made.held, *left_out})
    afloat = tuple(given_up for given_up in item.afloat if given_up.seen == save)
    done = replace(item, base=base, held=made.held, version=look.row.version, save=save, intent=None, gone=False, afloat=afloat)
    await _commit(work, stored, done, look.row, cases)
    _fail_for(left_out)
    return Outcome("in_step" if intent is None and save == record.save else "written", work.key)


async def _bring_salesforce(work: Work, item: Item, look: Look, made: Plan) -> int | None:
    """Write what differs and is not held. -> Salesforce's save count; None: look again."""
    row, record = look.row, look.record
    left_out = work.left_out(row)
    units = frozenset(unit for unit in work.rules.units if unit not in made.held and unit not in left_out and look.differ(unit))
    renamed = record.oms_id != work.key.id
    if not units and not renamed and record.version == row.version:
        return record.save
    write = Write(
        object=record.object,
        id=record.id,
        fields=work.rules.fields(row, record.object, units),
        seen=record.save,
        write=item.intent.id if item.intent is not None else None,
        version=row.version,
        oms_id=work.key.id if renamed else None,
    )
    if await _write(work, item, row, write) is None:
        return None
    if units:
        work.carried_from_oms(item, row)
    return record.save + 1


def _columns(look: Look, made: Plan) -> dict[str, Json]:
    """What the PATCH carries. A unit whose value the OMS cannot hold is held instead, and the rest goes on."""
    columns: dict[str, Json] = {}
    for unit in sorted(made.to_oms):
        try:
            columns |= look.rules.columns(look.record, frozenset({unit}))
        except Permanent:
            made.to_oms.discard(unit)
            made.held[unit] = look.hold(unit, "refused")
    return columns


def _intent(work: Work, look: Look, made: Plan) -> Intent | None:
    """Needed as soon as something goes out that the marks cannot tell from an edit afterwards; the OMS's own units can do without."""
    to_oms = {unit: look.read_mark(unit) for unit in made.to_oms}
    left_out = work.left_out(look.row)
    to_salesforce = {
        name: look.mark(name)
        for name, unit in look.rules.units.items()
        if unit.owner != "oms" and name not in made.held and name not in made.to_oms and name not in left_out and look.differ(name)
    }
    if not to_oms and not to_salesforce:
        return None
    return Intent(id=work.shared.clock.new_id(), patches=bool(to_oms), to_oms=to_oms, to_salesforce=to_salesforce, seen=look.record.save)


async def _patch(work: Work, item: Item, intent: Intent, patch: Patch) -> OmsRow | None:
    """The row as patched; None: the OMS refused units for good, they are held from now on."""
    try:
        return await PatchRow(patch)
    except Refused as refused:
        held = {**item.held, **holds_of(work, item, intent, refused.columns)}
        await work.save(replace(item, held=held, intent=None))
        return None


async def _write(work: Work, item: Item, row: OmsRow, write: Write) -> str | None:
    """The record's id; None: look again, a parent was missing and is there now, or a value that was refused is to be left out."""
    try:
        return await WriteRecord(write)
    except MissingParent as missing:
        await bring(work, row, missing.external_id)
        return None  # not written at once: the intent may be another's by now, and an insert would come behind theirs
    except Permanent as refused:
        unit = work.rules.unit_of_field(refused.field) if refused.field and refused.field in write.fields else None
        if unit is not None:
            work.refused[unit] = refused
            return None
        await _close_refused(work, item, row, write)
        raise next(iter(work.refused.values()), refused) from None  # what else was missed follows from what was left out


def _fail_for(left_out: Mapping[str, Permanent]) -> None:
    """The record is a failure although its other values are where they belong: a person mends what is named, and redrives."""
    for why in left_out.values():
        raise LeftOut(why.message, code=why.code, field=why.field)


async def _close_refused(work: Work, item: Item, row: OmsRow, write: Write) -> None:
    """Salesforce refused for good: what the OMS took stays known."""
    if item.intent is not None:
        base = {**item.base, **taken(work, item.intent.to_oms, row, write.object)}
        await work.save(replace(item, base=base, intent=None))


async def _commit(work: Work, stored: Item, item: Item, row: OmsRow, cases: Mapping[str, CaseStatus]) -> None:
    """Save what is known now, if it is news; then ask humans about what is held and not asked yet."""
    if item.relink:
        await Relink(work.key)
    files = await _attach(work, item, row)
    item = replace(item, relink=False, files=files, mapping=work.rules.fingerprint)
    if item != stored:
        item = await work.save(item)
    for unit, hold in item.held.items():
        if cases.get(hold.case, "none") == "none":
            await ask(case_for(item, unit, hold))


async def _attach(work: Work, item: Item, row: OmsRow) -> str:
    """Keep texts that are too long for their fields as files beside the record. -> What the item notes of them."""
    files = work.rules.files(row)
    if not files or item.object is None or item.salesforce_id is None:
        return ""
    digest = work.shared.digests.of(work.key, "files", {file.field: file.text for file in files})
    if digest != item.files:
        await Attach(Attachment(SalesforceRef(item.object, item.salesforce_id), files))
    return digest
