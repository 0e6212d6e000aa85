"""Salesforce as the synchroniser sees it: many records at once, one answer each, at as few API calls as there are thousands of them.

Records are read by SOQL rather than by Collections retrieve, because one look must tell three things that retrieve cannot: the OMS ids of
a record's parents, whether it is in the recycle bin, and whom it was merged into. Five queries travel in one Composite call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from omsync.mapping.model import Json, Mappings, Reference
from omsync.platform.errors import OmsyncError, Permanent, Stale
from omsync.platform.times import microseconds
from omsync.salesforce import collections, soap
from omsync.salesforce.client import API_VERSION, SalesforceClient
from omsync.salesforce.collections import COLLECTIONS_PER_CALL, Batch, chunked
from omsync.salesforce.errors import DuplicateRecord, EntityDeleted, from_response
from omsync.salesforce.files import attach
from omsync.salesforce.query import Record, in_list
from omsync.sync.ports import Answers, Attachment, Lookup, Write
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


@dataclass(slots=True)
class SalesforceRecords:
    """`SalesforcePort` over the REST API."""

    client: SalesforceClient
    mappings: Mappings
    _shapes: dict[str, _Shape] = field(default_factory=dict)

    def read(self, refs: Sequence[SalesforceRef]) -> Answers[SalesforceRecord | None]:
        """Records by id, those in the recycle bin included."""
        found: dict[str, SalesforceRecord] = {}
        for record in self._query(_grouped((ref.object, ref.id) for ref in refs), "Id", deleted=True):
            found[record.id] = record
        return [found.get(ref.id) for ref in refs]

    def find(self, lookups: Sequence[Lookup]) -> Answers[SalesforceRecord | None]:
        """Records by OMS_Id__c: the live one, else one in the recycle bin."""
        found: dict[tuple[str, str], SalesforceRecord] = {}
        for record in self._query(_grouped((lookup.object, lookup.id) for lookup in lookups), _EXTERNAL_ID, deleted=True):
            name = record.object, str(record.oms_id).lower()
            if name not in found or found[name].deleted:
                found[name] = record
        return [found.get((lookup.object, lookup.id.lower())) for lookup in lookups]

    def write(self, writes: Sequence[Write]) -> Answers[str]:
        """Insert or update; each record's id, or why not."""
        answers: list[str | OmsyncError] = [Permanent("not written", code="salesforce.protocol")] * len(writes)
        batches, places = [], []
        for verb, obj, numbers in _by_verb(writes):
            for part in chunked(numbers):
                batches.append(Batch(obj, verb, [_body(writes[number]) for number in part]))
                places.append(part)
        # not repeated here: after a lost answer the ledger's intent tells what happened
        for part, outcomes in zip(places, collections.write(self.client, batches, repeatable=False), strict=True):
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
    def _query(self, wanted: Mapping[str, Sequence[str]], key: str, *, deleted: bool) -> Iterator[SalesforceRecord]:
        """The records of each object whose `key` is one of the values; five queries a call."""
        queries: list[tuple[str, str]] = []
        for obj, values in wanted.items():
            select = self._shape(obj).select()
            for part in chunked(values, IDS_PER_QUERY):
                queries.append((obj, f"SELECT {select} FROM {obj} WHERE {key} IN {in_list(part)}"))  # noqa: S608 (names are the mapping's)
        for group in chunked(queries, COLLECTIONS_PER_CALL):
            for (obj, _), page in zip(group, self._pages([soql for _, soql in group], deleted=deleted), strict=True):
                for row in self._rows(page):
                    yield self._record(obj, row)

    def _pages(self, soqls: Sequence[str], *, deleted: bool) -> list[Mapping[str, object]]:
        """The first page of each query, in one call."""
        resource = "queryAll" if deleted else "query"
        if len(soqls) == 1:
            return [self.client.get_json(resource, params={"q": soqls[0]})]
        body = {
            "allOrNone": False,
            "collateSubrequests": False,
            "compositeRequest": [
                {"method": "GET", "url": f"/services/data/v{API_VERSION}/{resource}?q={quote(soql, safe='')}", "referenceId": f"q{number}"}
                for number, soql in enumerate(soqls)
            ],
        }
        pages: list[Mapping[str, object]] = []
        for part in self.client.post_json("composite", body, repeatable=True)["compositeResponse"]:
            if part["httpStatusCode"] >= 300:
                raise from_response(part["httpStatusCode"], part["body"])
            pages.append(part["body"])
        return pages

    def _rows(self, page: Mapping[str, object]) -> Iterator[Record]:
        while True:
            yield from page["records"]  # type: ignore[misc]  # the answer's shape is Salesforce's
            if page["done"]:
                return
            page = self.client.get_json(str(page["nextRecordsUrl"]))

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


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, dict[str, None]] = {}
    for obj, value in pairs:
        grouped.setdefault(obj, {})[value] = None
    return {obj: list(values) for obj, values in grouped.items()}


def _by_verb(writes: Sequence[Write]) -> Iterator[tuple[collections.Verb, str, list[int]]]:
    """Numbers of the writes of one verb on one object, in the order of first appearance: parents stand before children."""
    groups: dict[tuple[collections.Verb, str], list[int]] = {}
    for number, write in enumerate(writes):
        verb: collections.Verb = "create" if write.id is None else "update"
        groups.setdefault((verb, write.object), []).append(number)
    for (verb, obj), numbers in groups.items():
        yield verb, obj, numbers


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
