"""Both systems and our own stores, in memory, as the ports see them: with every guard the real ones have, and faults on demand.

`World.parts` names the guards; a simulation may take one away to show that it is needed. `World.fault()` is called before and after every
single thing that a port does: there a call may fail, lose its answer, or its caller may be killed.

A person's every edit is an `Edit`; the value it wrote carries its number (`Typed`) through both systems and the synchroniser, so that the
oracle knows at the end which edits became of which.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rules import COMMAND, MIRRORED, TABLES, fields_of

from omsync.mapping.model import Json
from omsync.platform.errors import OmsyncError, Permanent, Retryable, Stale
from omsync.sync.ports import (
    Answers,
    Attachment,
    CaseRequest,
    CaseStatus,
    Conflict,
    Creation,
    Inquiry,
    Lookup,
    MissingParent,
    Patch,
    Ports,
    Refused,
    Write,
)
from omsync.sync.records import (
    CHANGED_BY,
    Item,
    OmsRow,
    Parent,
    RecordKey,
    RecordRef,
    SalesforceRecord,
    SalesforceRef,
    Side,
    Stamp,
)

#: every guard that the protocol stands on
PARTS = frozenset({"revision", "intent", "key", "if_match", "count", "stamps", "edited_at", "unique", "lease"})

LOOKUPS = ("patient", "pharmacy")


class Killed(BaseException):
    """The process is gone."""


class Typed(str):
    """A value and the edit that wrote it. Equal to any other of the same text."""

    __slots__ = ("edit",)
    edit: int

    def __new__(cls, text: str, edit: int) -> Typed:
        made = super().__new__(cls, text)
        made.edit = edit
        return made


@dataclass
class Edit:
    """A person's edit. `over` is the edit whose value it replaced: what the person saw."""

    id: int
    side: Side
    at: int
    text: str
    over: int | None
    lost: bool = False  # destroyed with its record, by a person


@dataclass
class Row:
    """A row of the OMS."""

    key: RecordKey
    values: dict[str, Json]
    edited_at: dict[str, int]
    version: int = 1
    changed_by: str = "person"
    deleted: bool = False


@dataclass
class Record:
    """A Salesforce record. `parents`: lookup field -> Salesforce id (or, of a mirrored table, its OMS id)."""

    object: str
    id: str
    fields: dict[str, Json]
    parents: dict[str, str] = field(default_factory=dict)
    oms_id: str | None = None
    record_type: str | None = None
    version: int | None = None
    save: int = 1
    write: str | None = None
    stamps: dict[str, Stamp] = field(default_factory=dict)
    deleted: bool = False
    master_id: str | None = None


class World:
    """Everything outside the synchroniser."""

    def __init__(
        self, seed: int, parts: frozenset[str] = PARTS, *, lose: float = 0.0, dup: float = 0.25, skew: int = 0, times: bool = True
    ) -> None:
        self.random = random.Random(seed)
        self.parts, self.lose, self.dup = parts, lose, dup
        self.skew, self.times = skew, times  # Salesforce's clock against the OMS's; does the OMS keep times per column?
        self.time = 1_000_000
        self.numbers = 0
        self.rows: dict[RecordKey, Row] = {}
        self.records: dict[str, Record] = {}
        self.mirrored: set[str] = set()  # OMS ids of mirrored records in Salesforce
        self.mirrored_rows: set[str] = set()
        self.answers: dict[str, OmsRow | OmsyncError] = {}
        self.items: dict[RecordKey, Item] = {}
        self.pointers: dict[str, RecordKey] = {}
        self.cases: dict[str, tuple[CaseRequest, CaseStatus]] = {}
        self.log: dict[str, Conflict] = {}
        self.hints: list[RecordRef] = []
        self.edits: dict[int, Edit] = {}
        self.by_unit: dict[tuple[str, str], list[int]] = {}  # (record's identity, unit) -> edits, oldest first
        self.requested: dict[int, str] = {}  # command's edit -> order's OMS id
        self.executed: dict[int, int] = {}
        self.inserted: dict[str, int] = {}  # OMS id of a message -> how often it was inserted
        self.files: dict[str, list[str]] = {}  # Salesforce id -> texts attached
        self.purged: dict[str, int] = {}  # OMS id -> how often a person emptied its record out of the recycle bin
        self.fault: Callable[[str, str], None] = lambda system, moment: None
        self.trace: list[str] | None = None

    # ------------------------------------------------------------------------------------------------------------ helpers
    def tick(self) -> int:
        self.time += 1000
        return self.time

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def say(self, *words: object) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.time // 1000:5} " + " ".join(str(word) for word in words))

    def hint(self, ref: RecordRef) -> None:
        if self.random.random() >= self.lose:
            self.hints += [ref] * (1 + (self.random.random() < self.dup))

    def live(self, key: RecordKey) -> Record | None:
        found = [r for r in self.records.values() if r.oms_id == key.id and r.object == TABLES[key.table].object and not r.deleted]
        return found[-1] if found else None

    def edit(self, identity: str, unit: str, side: Side, text: str, over: object) -> Typed:
        """Note an edit; -> the value to store."""
        made = Edit(self.number(), side, self.tick(), text, over.edit if isinstance(over, Typed) else None)
        self.edits[made.id] = made
        self.by_unit.setdefault((identity, unit), []).append(made.id)
        return Typed(text, made.id)

    def covered(self, value: Json) -> set[int]:
        """The edit that wrote a value, and all that it was made on top of."""
        value = value["line"] if isinstance(value, dict) else value
        return self.covered_by(value.edit if isinstance(value, Typed) else None)

    def covered_by(self, number: int | None) -> set[int]:
        """The edit, and all that it was made on top of."""
        found: set[int] = set()
        while number is not None:
            found.add(number)
            number = self.edits[number].over
        return found

    # ---------------------------------------------------------------------------------------------------------- the OMS
    def as_row(self, row: Row) -> OmsRow:
        return OmsRow(
            key=row.key,
            version=row.version,
            values=dict(row.values),
            edited_at=self._times(row) if self.times else None,
            changed_by=row.changed_by,
            deleted=row.deleted,
        )

    def _times(self, row: Row) -> dict[str, int]:
        return dict(row.edited_at) if "edited_at" in self.parts else dict.fromkeys(row.edited_at, 1)

    def store(self, row: Row, values: Mapping[str, Json], by: str) -> None:
        """An UPDATE: a column's time moves only when its value does."""
        at = self.tick()
        for column, value in values.items():
            if column == "deleted_at":
                row.deleted = value is not None
                continue
            if row.values.get(column) != value:
                row.edited_at[column] = at
            row.values[column] = value
        row.version += 1
        row.changed_by = by
        self.hint(row.key)
        self.say("OMS", by, row.key, dict(values), "-> version", row.version)

    def insert_row(self, key: RecordKey, values: Mapping[str, Json], by: str) -> Row:
        at = self.tick()
        row = Row(key, dict(values), dict.fromkeys(values, at), changed_by=by)
        self.rows[key] = row
        self.hint(key)
        self.say("OMS", by, "created", key, dict(values))
        return row

    # -------------------------------------------------------------------------------------------------------- Salesforce
    def as_record(self, record: Record) -> SalesforceRecord:
        parents = {}
        for name, target in record.parents.items():
            if target in self.mirrored:
                parents[name] = Parent("Pharmacy", target, target)
            elif target in self.records and not self.records[target].deleted:
                parents[name] = Parent(self.records[target].object, target, self.records[target].oms_id)
        return SalesforceRecord(
            object=record.object,
            id=record.id,
            oms_id=record.oms_id,
            fields=dict(record.fields),
            parents=parents,
            record_type=record.record_type,
            version=record.version,
            save=record.save,
            write=record.write,
            stamps=dict(record.stamps) if "stamps" in self.parts else {},
            deleted=record.deleted,
            master_id=record.master_id,
        )

    def save_as_person(self, record: Record, fields: Mapping[str, Json]) -> None:
        """The before-save trigger: count, and stamp what a person changed."""
        at = self.tick()
        record.save += 1
        for name, value in fields.items():
            if record.fields.get(name) != value:
                record.stamps[name] = Stamp(record.save, at + self.skew)
            record.fields[name] = value
        self.hint(SalesforceRef(record.object, record.id))
        self.say("SF person", record.object, record.id, dict(fields), "-> save", record.save)

    def insert_record(self, sobject: str, fields: Mapping[str, Json], *, person: bool) -> Record:
        record = Record(sobject, f"{sobject[:3]}{self.number():015}", dict(fields))
        if person:
            at = self.tick()
            record.stamps = {name: Stamp(1, at + self.skew) for name in fields}
        self.records[record.id] = record
        return record

    def delete_record(self, record: Record, *, master: Record | None = None) -> None:
        """Into the recycle bin; lookups to it are cleared, or point to the winner of a merge. No trigger fires for the children."""
        record.deleted, record.master_id = True, master.id if master else None
        for child in self.records.values():
            for name, target in list(child.parents.items()):
                if target == record.id and child is not record:
                    if master is not None:
                        child.parents[name] = master.id
                    else:
                        del child.parents[name]
        self.hint(SalesforceRef(record.object, record.id))
        self.say("SF person deleted", record.object, record.id, f"into {master.id}" if master else "")

    def ports(self) -> Ports:
        return Ports(
            oms=Oms(self),
            salesforce=Salesforce(self),
            ledger=Ledger(self),
            cases=Cases(self),
            conflicts=Conflicts(self),
            family=Family(self),
            clock=Clock(self),
        )


class Fake:
    """Base of the ports: `each` does the items one by one, with a fault before and after each."""

    system = ""

    def __init__(self, world: World) -> None:
        self.world = world

    def each[T, R](self, items: Sequence[T], do: Callable[[T], R]) -> list[R | OmsyncError]:
        answers: list[R | OmsyncError] = []
        for item in items:
            self.world.fault(self.system, "before")
            try:
                answers.append(do(item))
            except OmsyncError as error:
                answers.append(error)
            self.world.fault(self.system, "after")
        return answers


class Oms(Fake):
    system = "oms"

    def read(self, keys: Sequence[RecordKey]) -> Answers[OmsRow | None]:
        return self.each(keys, lambda key: self.world.as_row(self.world.rows[key]) if key in self.world.rows else None)

    def patch(self, patches: Sequence[Patch]) -> Answers[OmsRow]:
        return self.each(patches, self._patch)

    def _patch(self, patch: Patch) -> OmsRow:
        world = self.world
        if "key" in world.parts and patch.idempotency_key in world.answers:
            answer = world.answers[patch.idempotency_key]
        else:
            try:
                answer = self._apply(patch)
            except (Stale, Refused) as error:
                answer = error
            world.answers[patch.idempotency_key] = answer
        if isinstance(answer, OmsyncError):
            raise answer
        return answer

    def _apply(self, patch: Patch) -> OmsRow:
        world, row = self.world, self.world.rows[patch.key]
        if patch.if_match is not None and patch.if_match != row.version and "if_match" in world.parts:
            raise Stale("412")
        _refuse(patch.values)
        if COMMAND.column in patch.values:
            return self._execute(row, patch.values[COMMAND.column])
        world.store(row, {column: _normal(value) for column, value in patch.values.items()}, CHANGED_BY)
        return world.as_row(row)

    def _execute(self, row: Row, requested: Json) -> OmsRow:
        assert isinstance(requested, Typed)
        self.world.executed[requested.edit] = self.world.executed.get(requested.edit, 0) + 1
        self.world.store(row, {"result": f"done {requested.edit}"}, CHANGED_BY)
        return self.world.as_row(row)

    def settle(self, inquiries: Sequence[Inquiry]) -> Answers[OmsRow | None]:
        return self.each(inquiries, self._settle)

    def _settle(self, inquiry: Inquiry) -> OmsRow | None:
        if "key" not in self.world.parts:
            return None
        answer = self.world.answers.setdefault(inquiry.idempotency_key, Stale("412"))
        if isinstance(answer, Refused):
            raise answer
        return None if isinstance(answer, OmsyncError) else answer

    def create(self, creations: Sequence[Creation]) -> Answers[OmsRow]:
        return self.each(creations, self._create)

    def _create(self, creation: Creation) -> OmsRow:
        world, key = self.world, creation.key
        if key not in world.rows:
            _refuse(creation.values)
            if (patient := creation.values.get("patient")) is not None and RecordKey("patients", str(patient)) not in world.rows:
                raise Refused(("patient",))
            values = {column: _normal(value) for column, value in creation.values.items()}
            filled = {"number": f"N{world.number()}", "status": "active", "delivery": "sent"}
            units = TABLES[key.table].units
            world.insert_row(key, {**{name: value for name, value in filled.items() if name in units}, **values}, CHANGED_BY)
        return world.as_row(world.rows[key])


def _refuse(values: Mapping[str, Json]) -> None:
    """What the OMS never takes: a text that begins with "bad"."""
    if bad := tuple(name for name, value in values.items() if name not in LOOKUPS and isinstance(value, str) and value.startswith("bad")):
        raise Refused(bad)


def _normal(value: Json) -> Json:
    """What the OMS makes of a value: it drops an exclamation mark at the end."""
    return Typed(value.rstrip("!"), value.edit) if isinstance(value, Typed) and value.endswith("!") else value


class Salesforce(Fake):
    system = "salesforce"

    def read(self, refs: Sequence[SalesforceRef]) -> Answers[SalesforceRecord | None]:
        return self.each(refs, lambda ref: self.world.as_record(self.world.records[ref.id]) if ref.id in self.world.records else None)

    def look(self, wanted: Sequence[SalesforceRef | Lookup]) -> Answers[SalesforceRecord | None]:
        return [self.find([one])[0] if isinstance(one, Lookup) else self.read([one])[0] for one in wanted]

    def find(self, lookups: Sequence[Lookup]) -> Answers[SalesforceRecord | None]:
        return self.each(lookups, self._find)

    def _find(self, lookup: Lookup) -> SalesforceRecord | None:
        found = [record for record in self.world.records.values() if record.object == lookup.object and record.oms_id == lookup.id]
        return self.world.as_record(min(reversed(found), key=lambda record: record.deleted)) if found else None

    def write(self, writes: Sequence[Write]) -> Answers[str]:
        return self.each(writes, self._write)

    def _write(self, write: Write) -> str:
        world = self.world
        fields, parents = self._resolve(write.fields)
        if poisoned := next((name for name, value in fields.items() if str(value).startswith("poison")), None):
            raise Permanent("Salesforce refuses the value", code="STRING_TOO_LONG", field=poisoned)
        guarded = write.object != TABLES["messages"].object
        self._check_unique(write, guarded)
        if write.id is None:
            record = world.insert_record(write.object, fields, person=False)
            if not guarded:
                world.inserted[str(write.oms_id)] = world.inserted.get(str(write.oms_id), 0) + 1
        else:
            found = world.records.get(write.id)
            if found is None or found.deleted:
                raise Stale("ENTITY_IS_DELETED")
            record = found
            if guarded and "count" in world.parts and write.seen != record.save:
                raise Stale("OMSYNC_STALE")
            if not guarded and write.version is not None and record.version is not None and write.version < record.version:
                raise Stale("OMSYNC_STALE")
            record.save += 1
            record.fields.update(fields)
        for name, target in parents.items():
            if target is None:
                record.parents.pop(name, None)
            else:
                record.parents[name] = target
        record.version = write.version if write.version is not None else record.version
        record.write = write.write if write.write is not None else record.write
        record.oms_id = write.oms_id if write.oms_id is not None else record.oms_id
        world.tick()
        world.say("SF sync", record.object, record.id, dict(write.fields), "version", record.version, "-> save", record.save)
        return record.id

    def _check_unique(self, write: Write, guarded: bool) -> None:
        if write.oms_id is None or not guarded or "unique" not in self.world.parts:
            return
        for record in self.world.records.values():
            if record.object == write.object and record.oms_id == write.oms_id and not record.deleted and record.id != write.id:
                raise Stale("DUPLICATE_VALUE")

    def _resolve(self, fields: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, str | None]]:
        """Plain fields, and lookups by external id."""
        plain: dict[str, Json] = {}
        parents: dict[str, str | None] = {}
        for name, value in fields.items():
            if name in ("patient__c", "pharmacy__c"):
                parents[name] = None if value is None else self._parent(str(value["OMS_Id__c"]))  # type: ignore[index,call-overload]
            else:
                plain[name] = value
        return plain, parents

    def _parent(self, oms_id: str) -> str:
        if oms_id in self.world.mirrored:
            return oms_id
        for record in self.world.records.values():
            if record.oms_id == oms_id and not record.deleted and record.object == "Account":
                return record.id
        raise MissingParent("a parent is not in Salesforce yet", field="OMS_Id__c", external_id=oms_id)

    def attach(self, attachments: Sequence[Attachment]) -> Answers[None]:
        return self.each(attachments, self._attach)

    def _attach(self, attachment: Attachment) -> None:
        for file in attachment.files:
            self.world.files.setdefault(attachment.record.id, []).append(file.text)

    def undelete(self, refs: Sequence[SalesforceRef]) -> Answers[None]:
        return self.each(refs, self._undelete)

    def _undelete(self, ref: SalesforceRef) -> None:
        record = self.world.records.get(ref.id)
        if record is None or not record.deleted or record.master_id is not None:
            raise Permanent("not in the recycle bin", code="UNDELETE_FAILED")
        if any(r.oms_id == record.oms_id and r.object == record.object and not r.deleted for r in self.world.records.values()):
            raise Permanent("a live one bears its id", code="DUPLICATE_VALUE")
        record.deleted = False
        self.world.tick()
        self.world.say("SF sync undeleted", record.object, record.id)


class Ledger(Fake):
    system = "ledger"

    def read(self, keys: Sequence[RecordKey]) -> Answers[Item | None]:
        return self.each(keys, self.world.items.get)

    def find(self, salesforce_ids: Sequence[str]) -> Answers[RecordKey | None]:
        return self.each(salesforce_ids, self.world.pointers.get)

    def save(self, items: Sequence[Item]) -> Answers[Item]:
        return self.each(items, self._save)

    def _save(self, item: Item) -> Item:
        world = self.world
        stored = world.items.get(item.key)
        if "revision" in world.parts and (stored.revision if stored else 0) != item.revision:
            raise Stale("the ledger moved")
        saved = replace(item, revision=item.revision + 1)
        kept = saved
        if "intent" not in world.parts:
            kept = replace(kept, intent=None)
        if "lease" not in world.parts:
            kept = replace(kept, lease=None)
        world.items[item.key] = kept
        if saved.salesforce_id is not None:
            world.pointers[saved.salesforce_id] = saved.key
        return saved


class Cases(Fake):
    system = "salesforce"

    def status(self, keys: Sequence[str]) -> Answers[CaseStatus]:
        return self.each(keys, self._status)

    def _status(self, key: str) -> CaseStatus:
        found = self.world.cases.get(key)
        return "none" if found is None else found[1]

    def open(self, requests: Sequence[CaseRequest]) -> Answers[None]:
        return self.each(requests, self._open)

    def _open(self, request: CaseRequest) -> None:
        if request.salesforce is not None and ((record := self.world.records.get(request.salesforce.id)) is None or record.deleted):
            raise Permanent("the Case's record is deleted", code="ENTITY_IS_DELETED")
        if request.key not in self.world.cases:
            self.world.cases[request.key] = (request, "open")
            self.world.say("Case", request.key, request.reason)

    def close(self, keys: Sequence[str]) -> Answers[None]:
        return self.each(keys, self._close)

    def _close(self, key: str) -> None:
        if key in self.world.cases:
            self.world.cases[key] = (self.world.cases[key][0], "closed")


class Conflicts(Fake):
    system = "ledger"

    def log(self, conflicts: Sequence[Conflict]) -> Answers[None]:
        return self.each(conflicts, self._log)

    def _log(self, conflict: Conflict) -> None:
        self.world.log[conflict.id] = conflict
        self.world.say("conflict", conflict.record, conflict.unit, conflict.reason, "won by", conflict.winner)


class Family(Fake):
    system = "salesforce"

    def ensure(self, parents: Sequence[RecordKey]) -> Answers[None]:
        return self.each(parents, self._ensure)

    def _ensure(self, parent: RecordKey) -> None:
        if parent.table != MIRRORED or parent.id not in self.world.mirrored_rows:
            raise Permanent("no such parent", code="sync.parent")
        self.world.mirrored.add(parent.id)

    def relink(self, parents: Sequence[RecordKey]) -> Answers[None]:
        return self.each(parents, self._relink)

    def _relink(self, parent: RecordKey) -> None:
        for key, row in self.world.rows.items():
            if parent.id in (row.values.get("patient"), row.values.get("pharmacy")):
                self.world.hints.append(key)


class Clock:
    def __init__(self, world: World) -> None:
        self.world = world

    def now(self) -> int:
        return self.world.time

    def new_id(self) -> str:
        return f"intent-{self.world.number()}"


def retryable(system: str) -> Retryable:
    return Retryable("no answer", code=f"{system}.unreachable")


__all__ = ["PARTS", "Edit", "Killed", "Record", "Row", "Typed", "World", "fields_of", "retryable"]
