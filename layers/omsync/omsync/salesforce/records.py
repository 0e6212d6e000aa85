"""Salesforce as the synchroniser sees it: many records at once, one answer each, at as few API calls as there are thousands of them.

Records are read by SOQL rather than by Collections retrieve, because one look must tell three things that retrieve cannot: the OMS ids of
a record's parents, whether it is in the recycle bin, and whom it was merged into. Five queries travel in one Composite call, and what is
written, of any object, in Collections of 200, five to a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from omsync.mapping.model import Json, Mappings, Reference
from omsync.platform.errors import OmsyncError, Permanent, Stale
from omsync.platform.times import microseconds
from omsync.salesforce import collections, soap
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.collections import TYPES_PER_COLLECTION, chunked, typed
from omsync.salesforce.errors import EntityDeleted
from omsync.salesforce.files import attach
from omsync.salesforce.query import Record, in_list, query_many
from omsync.sync.ports import RECORDS_PER_COLLECTION, Answers, Attachment, Batch, DuplicateRecord, Lookup, Verb, Write
from omsync.sync.records import Parent, SalesforceRecord, SalesforceRef, Stamp

#: ids in one query: its answer comes in one page of at most 2,000 rows, fewer where rows are long
IDS_PER_QUERY = 400
_EXTERNAL_ID = "OMS_Id__c"


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is read of an object: its fields, and its lookups by field."""

    fields: tuple[str, ...]
    lookups: Mapping[str, Reference]
    record_types: bool
    merges: bool

    def select(self) -> str:
        """The SELECT list."""
        names = ["Id", "IsDeleted", *self.fields]
        for name, reference in self.lookups.items():
            names += [name] if reference.polymorphic else [name, f"{reference.relationship}.{reference.external_id}"]
        if self.record_types:
            names.append("RecordType.DeveloperName")
        if self.merges:
            names.append("MasterRecordId")
        return ", ".join(dict.fromkeys(names))


#: objects whose records Salesforce can merge
_MERGEABLE = frozenset({"Account", "Contact", "Case", "Lead"})


@dataclass
class SalesforceRecords:
    """`SalesforcePort` over the REST API."""

    client: SalesforceClient
    mappings: Mappings
    _shapes: dict[str, _Shape] = field(default_factory=dict)

    def look(self, wanted: Sequence[SalesforceRef | Lookup]) -> Answers[SalesforceRecord | None]:
        """Records by either id, those in the recycle bin included; by OMS_Id__c the live one, else the one deleted last."""
        found: dict[SalesforceRef | Lookup, SalesforceRecord] = {}
        for record in self._query(wanted):
            found[SalesforceRef(record.object, record.id)] = record
            name = Lookup(record.object, str(record.oms_id).lower())
            if name not in found or found[name].deleted:
                found[name] = record
        return [found.get(Lookup(one.object, one.id.lower()) if isinstance(one, Lookup) else one) for one in wanted]

    def write(self, writes: Sequence[Write]) -> Answers[str]:
        """Insert or update; each record's id, or why not."""
        answers: list[str | OmsyncError] = [Permanent("not written", code="salesforce.protocol")] * len(writes)
        places = list(_packed(writes, self._order))
        batches = [Batch("", verb, [typed(writes[number].object, _body(writes[number])) for number in part]) for verb, part in places]
        # not repeated here: after a lost answer the ledger's intent tells what happened
        for (_, part), outcomes in zip(places, collections.write(self.client, batches, repeatable=False), strict=True):
            for number, outcome in zip(part, outcomes, strict=True):
                answers[number] = str(outcome.id) if outcome.error is None else _fault(outcome.error)
        return answers

    def attach(self, attachments: Sequence[Attachment]) -> Answers[None]:
        """Each record's long texts, as files beside it."""
        return [self._attach(attachment) for attachment in attachments]

    def _attach(self, attachment: Attachment) -> OmsyncError | None:
        try:
            for one in attachment.files:
                attach(self.client, attachment.record.id, one)
        except OmsyncError as fault:
            return fault
        return None

    def undelete(self, refs: Sequence[SalesforceRef]) -> Answers[None]:
        """Out of the recycle bin."""
        answers: list[OmsyncError | None] = []
        for part in chunked(refs):
            answers += soap.undelete(self.client, [ref.id for ref in part])
        return answers

    # ------------------------------------------------------------------------------------------------------------ reading
    def _query(self, wanted: Sequence[SalesforceRef | Lookup]) -> Iterator[SalesforceRecord]:
        """The records of each object that bear one of the ids; five queries a call."""
        queries: list[tuple[str, str]] = []
        for obj, members in _grouped(wanted).items():
            select = self._shape(obj).select()
            for part in chunked(members, IDS_PER_QUERY):
                queries.append((obj, f"SELECT {select} FROM {obj} WHERE {_any_of(part)} ORDER BY SystemModstamp"))  # noqa: S608 (the mapping's)
        answers = query_many(self.client, [soql for _, soql in queries], deleted=True)
        for (obj, _), rows in zip(queries, answers, strict=True):
            for row in rows:
                yield self._record(obj, row)

    @cached_property
    def _order(self) -> dict[str, int]:
        """object -> its place: parents before children."""
        tables = {table: place for place, table in enumerate(self.mappings.tables)}
        return {obj: min(tables[mapping.table] for mapping, _ in owners) for obj, owners in self.mappings.objects().items()}

    def _shape(self, obj: str) -> _Shape:
        """What the mappings want to know of an object; several tables may share it."""
        if obj not in self._shapes:
            fields: dict[str, None] = {}
            lookups: dict[str, Reference] = {}
            record_types = False
            for _, target in self.mappings.objects().get(obj, []):
                record_types |= bool(target.record_types)
                for name, one in target.all_fields.items():
                    if one.feature is not None:
                        continue
                    fields[name] = None
                    if one.references is not None and not one.references.many:
                        lookups[name] = one.references
            fields[_EXTERNAL_ID] = None
            self._shapes[obj] = _Shape(tuple(fields), lookups, record_types, obj in _MERGEABLE)
        return self._shapes[obj]

    def _record(self, obj: str, row: Record) -> SalesforceRecord:
        shape = self._shape(obj)
        stamps = row.get("Sync_Stamps__c")
        return SalesforceRecord(
            object=obj,
            id=str(row["Id"]),
            oms_id=_text(row.get(_EXTERNAL_ID)),
            fields={name: _json(row.get(name)) for name in shape.fields},
            parents={name: parent for name, reference in shape.lookups.items() if (parent := _parent(row, name, reference)) is not None},
            record_type=_text(_path(row, "RecordType", "DeveloperName")),
            version=_whole(row.get("OMS_Version__c")),
            save=_whole(row.get("Sync_Save__c")) or 0,
            write=_text(row.get("Sync_Write__c")),
            stamps=parse_stamps(stamps) if isinstance(stamps, str) else {},
            deleted=bool(row.get("IsDeleted")),
            master_id=_text(row.get("MasterRecordId")),
        )


def parse_stamps(text: str) -> dict[str, Stamp]:
    """`{"Field__c": [save, "2026-01-31T12:00:00.123Z"]}`; damaged text is no stamps: values alone decide until the next edit."""
    try:
        parsed = json.loads(text)
        return {str(name): Stamp(int(save), microseconds(str(at))) for name, (save, at) in parsed.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _parent(row: Record, name: str, reference: Reference) -> Parent | None:
    target = row.get(name)
    if not target:
        return None
    return Parent(reference.object, str(target), _text(_path(row, reference.relationship, reference.external_id)))


def _path(row: Record, relationship: str, name: str) -> object:
    parent = row.get(relationship)
    return parent.get(name) if isinstance(parent, Mapping) else None


def _text(value: object) -> str | None:
    return str(value) if value not in (None, "") else None


def _whole(value: object) -> int | None:
    return int(float(str(value))) if value is not None else None


def _json(value: object) -> Json:
    return value  # type: ignore[return-value]  # parsed from JSON a line above


def _grouped(wanted: Iterable[SalesforceRef | Lookup]) -> dict[str, list[SalesforceRef | Lookup]]:
    grouped: dict[str, dict[SalesforceRef | Lookup, None]] = {}
    for one in wanted:
        grouped.setdefault(one.object, {})[one] = None
    return {obj: list(members) for obj, members in grouped.items()}


def _any_of(wanted: Sequence[SalesforceRef | Lookup]) -> str:
    """The condition that finds them all."""
    ids = [one.id for one in wanted if isinstance(one, SalesforceRef)]
    oms_ids = [one.id for one in wanted if isinstance(one, Lookup)]
    return " OR ".join(f"{name} IN {in_list(values)}" for name, values in (("Id", ids), (_EXTERNAL_ID, oms_ids)) if values)


def _packed(writes: Sequence[Write], order: Mapping[str, int]) -> Iterator[tuple[Verb, list[int]]]:
    """Numbers of writes that travel in one Collections request, whatever their objects: creates first, parents before children.

    A request saves its records run by run, a run being of one object: a record cannot name another of its own run.
    """
    depths = _depths(writes)
    for verb in ("create", "update"):
        numbers = [number for number, write in enumerate(writes) if (write.id is None) == (verb == "create")]
        runs = {number: (depths.get(number, 0), order.get(writes[number].object, 0), writes[number].object) for number in numbers}
        part: list[int] = []
        for number in sorted(numbers, key=runs.__getitem__):
            if len(part) == RECORDS_PER_COLLECTION or len({runs[one] for one in (*part, number)}) > TYPES_PER_COLLECTION:
                yield verb, part
                part = []
            part.append(number)
        if part:
            yield verb, part


def _depths(writes: Sequence[Write]) -> dict[int, int]:
    """How many generations of a create's parents are created beside it."""
    numbers = {write.oms_id: number for number, write in enumerate(writes) if write.id is None and write.oms_id is not None}
    parents = {number: [numbers[name] for name in _named(writes[number]) if name in numbers] for number in numbers.values()}
    depths: dict[int, int] = {}

    def depth(number: int, seen: frozenset[int]) -> int:
        if number not in depths:
            depths[number] = max((depth(parent, seen | {number}) + 1 for parent in parents[number] if parent not in seen), default=0)
        return depths[number]

    for number in parents:
        depth(number, frozenset({number}))
    return depths


def _named(write: Write) -> Iterator[str]:
    """The external ids that its lookups name."""
    for value in write.fields.values():
        if isinstance(value, Mapping):
            yield from (str(name) for field, name in value.items() if field != "attributes")


def _body(write: Write) -> dict[str, object]:
    extra = {
        "Id": write.id,
        "Sync_Seen__c": write.seen,
        "Sync_Write__c": write.write,
        "OMS_Version__c": write.version,
        _EXTERNAL_ID: write.oms_id,
    }
    return {**write.fields, **{name: value for name, value in extra.items() if value is not None}}


def _fault(fault: OmsyncError) -> OmsyncError:
    """In the synchroniser's terms: a lost race is Stale."""
    if isinstance(fault, DuplicateRecord | EntityDeleted):
        return Stale(fault.message, code=fault.code)
    return fault
