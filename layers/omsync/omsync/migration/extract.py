"""A chunk out of the OMS: rows are mapped once, here, and become the files that load and verification need.

A row ends in exactly one place: not sent by rule, quarantined (it cannot be carried, and why), or in the manifest of what Salesforce must hold.
Runs beside the database and calls neither Salesforce nor the OMS's API. Done twice it gives the same files, from a newer snapshot.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from omsync.mapping import (
    Compiled,
    Mappings,
    Record,
    Row,
    TableMapping,
    Target,
    TransformError,
    compared_fields,
    compile_mapping,
    csv_header,
    csv_line,
    needs_rest,
    row_hash,
    to_json,
    written,
)
from omsync.mapping.digest import STAMPS
from omsync.migration.absent import Absent, because_of_parent
from omsync.migration.files import CsvParts, Lines
from omsync.migration.model import ChunkRef, ChunkState, OrgFacts, Outcome, Part, Quarantined
from omsync.migration.ports import Files, Source
from omsync.migration.states import Chunks
from omsync.platform.errors import Permanent
from omsync.platform.times import microseconds
from omsync.salesforce.files import title_of
from omsync.sync.digests import Digests
from omsync.sync.records import RecordKey
from omsync.sync.rules import MappedRegistry, MappedRules, Org

#: an OMS keeps times per column as ISO 8601
type Times = Mapping[str, int]


def verified_fields(compiled: Compiled, sobject: str) -> tuple[str, ...]:
    """Every field that verification compares: what reconciliation does, and version and time besides."""
    target = compiled.mapping.target(sobject)
    available = compiled.fields(sobject)
    return tuple(name for name in (*compared_fields(target), *sorted(STAMPS)) if name in available)


def with_survivors(mapping: TableMapping, row: Row, survivors: Mapping[str, str]) -> Row:
    """The row with its patient replaced by the one that it was merged into."""
    changed = {name: survivors[str(row[name])] for name in _patient_columns(mapping) if str(row[name]) in survivors}
    return {**row, **changed} if changed else row


@cache
def _patient_columns(mapping: TableMapping) -> tuple[str, ...]:
    return tuple(name for name, one in mapping.columns.items() if one.references == "patients" and name != "merged_into_patient_id")


@dataclass(slots=True)
class Extract:
    """Extracts chunks. `facts` and `survivors` are the run's; they were written down when it was prepared. `absent`: of a wave."""

    mappings: Mappings
    source: Source
    files: Files
    chunks: Chunks
    facts: Callable[[str, int], OrgFacts]
    survivors: Callable[[str, int], Mapping[str, str]]
    absent: Callable[[str, int, str], Absent]
    digests: Digests
    now: Callable[[], float] = time.time
    _registry: dict[str, MappedRegistry] = field(default_factory=dict)

    def run(self, ref: ChunkRef) -> Outcome:
        """Extract a chunk, once."""
        state = self.chunks.read(ref)
        if state.phase != "planned":
            return Outcome()
        begun = self.now()
        fresh = ChunkState(revision=state.revision, folder=f"{ref.folder}/{uuid.uuid4().hex[:8]}")
        facts = self.facts(ref.migration, ref.run)
        self._chunk(ref, facts, fresh)
        fresh.phase = "extracted"
        fresh.seconds["extract"] = round(self.now() - begun, 3)
        fresh.finished_at["extract"] = self.now()
        self.chunks.write(ref, fresh)
        return Outcome()

    def _chunk(self, ref: ChunkRef, facts: OrgFacts, state: ChunkState) -> None:
        mapping = self.mappings[ref.table]
        compiled = compile_mapping(mapping, facts.time_zone)
        sheet = _Sheet(self, ref, compiled, facts, state, self._rules(facts, ref.table))
        survivors = self.survivors(ref.migration, ref.run)
        absent = self.absent(ref.migration, ref.run, mapping.wave)
        try:
            with self.source.read(mapping, ref) as (snapshot, rows):
                state.snapshot = snapshot
                for row in rows:
                    sheet.rows += 1
                    if mapping.mode == "embedded" and any(str(row[name]) in survivors for name in _patient_columns(mapping)):
                        state.count("its patient was merged into another")  # nobody's default: the survivor has its own
                        continue
                    sheet.add(with_survivors(mapping, row, survivors) if survivors else row, absent)
            sheet.save()
        finally:
            sheet.close()

    def _rules(self, facts: OrgFacts, table: str) -> MappedRules | None:
        key = facts.model_dump_json()
        if key not in self._registry:
            org = Org(ids=facts.ids, certified_run=facts.certified_run, staff=frozenset(facts.staff), time_zone=facts.time_zone)
            self._registry = {key: MappedRegistry(self.mappings, org)}
        return self._registry[key].shared(table)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the files say of every record of one object."""

    compared: tuple[str, ...]  # the manifest's hash is over these fields
    own: frozenset[str]  # references to the own table, which the second pass writes
    units: tuple[str, ...]  # the ledger's; what the second pass writes is not agreed upon yet

    @classmethod
    def of(cls, compiled: Compiled, target: Target, rules: MappedRules | None) -> _Plan:
        own = frozenset(one.name for one in written(target, "second_pass") if one.second_pass)
        units: tuple[str, ...] = ()
        if rules is not None and rules.guarded:
            shared = (name for name, unit in rules.units.items() if unit.owner != "oms")
            units = tuple(name for name in shared if own.isdisjoint(rules.fields_of(target.object, name)))
        return cls(verified_fields(compiled, target.object), own, units)


class _Sheet:
    """The files of one chunk while they are written."""

    def __init__(
        self, extract: Extract, ref: ChunkRef, compiled: Compiled, facts: OrgFacts, state: ChunkState, rules: MappedRules | None
    ) -> None:
        self._files, self._digests = extract.files, extract.digests
        self._ref, self._compiled, self._facts, self._state, self._rules = ref, compiled, facts, state, rules
        self._mapping = compiled.mapping
        self.rows, self._to_send = 0, 0
        self._staff = frozenset(facts.staff)
        self._csv = {
            target.object: CsvParts(target.object, csv_header(target, audit_fields=facts.audit_fields), self._files, state.values_folder)
            for target in self._mapping.targets
        }
        self._rest: dict[str, Lines] = {}
        self._manifest, self._ledger, self._second, self._quarantine, self._unsent = Lines(), Lines(), Lines(), Lines(), Lines()
        self._plans = {target.object: _Plan.of(compiled, target, rules) for target in self._mapping.targets}

    def add(self, row: Row, absent: Absent) -> None:
        """One row, to where it ends."""
        reason = self._skip_reason(row)
        if reason is not None:
            self._leave_out(row, reason)
            return
        if absent and (refused := because_of_parent(self._mapping, row, absent)) is not None:
            self._quarantine.json(refused.model_dump())
            return
        if self._mapping.mode == "embedded":
            self._to_send += 1  # an address is written with its patient, whose values verification compares
            return
        try:
            records = self._compiled.to_salesforce(row, existing=True, staff=self._staff)  # no rule skips it: asked above
            lines = [
                None if needs_rest(record) else csv_line(record, self._facts.ids, audit_fields=self._facts.audit_fields)
                for record in records
            ]
        except TransformError as fault:
            self._refuse(row, fault)
            return
        if not records:
            self._leave_out(row, "no object takes it")
            return
        for record, line in zip(records, lines, strict=True):
            self._place(record, line)
        self._note(row, records)

    def _skip_reason(self, row: Row) -> str | None:
        reason = self._mapping.skip_reason(row)
        if reason is None and self._mapping.mode == "embedded" and row["deleted_at"] is not None:
            return "deleted; a deleted address is nobody's default"
        return reason

    def _leave_out(self, row: Row, reason: str) -> None:
        self._state.count(reason)
        self._unsent.json([str(row["id"]).lower(), reason])

    def _refuse(self, row: Row, fault: TransformError) -> None:
        one = Quarantined(table=self._mapping.table, id=str(row["id"]), code=fault.code, field=fault.field, message=fault.message)
        self._quarantine.json(one.model_dump())

    def _place(self, record: Record, line: list[str] | None) -> None:
        if line is not None:
            self._csv[record.object].write(line)
            return
        body = to_json(record, self._facts.ids, "load", audit_fields=self._facts.audit_fields)
        body.pop("attributes")
        attached = [[one.field, one.name, one.text] for one in record.files]
        if record.object not in self._rest:
            self._rest[record.object] = Lines()
        self._rest[record.object].json([record.external_id, body, attached])

    def _note(self, row: Row, records: list[Record]) -> None:
        """In the manifest, the ledger's file, and the second pass."""
        row_id, version = records[0].external_id, int(str(row["version"]))
        hashes = {record.object: row_hash(record.values, self._plans[record.object].compared) for record in records}
        titles = [title_of(one) for record in records for one in record.files]
        self._manifest.json([row_id, version, hashes, *([titles] if titles else [])])
        self._to_send += 1
        for record in records:
            own = self._plans[record.object].own
            if own and any(map(record.references.get, own)):
                body = to_json(record, self._facts.ids, "second_pass", fields=own)
                body.pop("attributes")
                self._second.json([row_id, version, record.object, {**body, "OMS_Version__c": version}])
        if self._rules is not None:
            self._ledger.json(self._item(self._rules, row, row_id, version, records[0]))

    def _item(self, rules: MappedRules, row: Row, row_id: str, version: int, record: Record) -> list[Any]:
        """[id, object, version, {unit: [digest, edited_at]}, digest of files]: what both sides agree on once it is inserted."""
        key = RecordKey(self._mapping.table, row_id)
        base: dict[str, list[Any]] = {}
        if units := self._plans[record.object].units:
            times, digests = _times(row), self._digests.of_units(key, rules.values_of(record, units))
            base = {unit: [digest, rules.latest(times, unit)] for unit, digest in digests.items()}
        files = self._digests.of(key, "files", {one.field: one.text for one in record.files}) if record.files else ""
        return [row_id, record.object, version, base, files]

    def close(self) -> None:
        """Forget what is not stored."""
        for parts in self._csv.values():
            parts.discard()
        for lines in (*self._rest.values(), self._manifest, self._ledger, self._second, self._quarantine, self._unsent):
            lines.close()

    def save(self) -> None:
        """Store everything; the state says what there is."""
        state, folder = self._state, self._state.folder
        state.rows, state.to_send = self.rows, self._to_send
        for parts in self._csv.values():
            parts.close()
            state.parts += parts.parts
            if rest := self._rest.get(parts.object):
                name = f"{state.values_folder}/{parts.object}.rest.jsonl.gz"
                digest = rest.save(self._files, name)
                state.parts.append(Part(object=parts.object, file=name, kind="rest", rows=rest.rows, bytes=rest.raw, sha256=digest))
        state.second_pass, state.quarantined = self._second.rows, self._quarantine.rows
        state.manifest_sha256 = self._manifest.save(self._files, f"{folder}/manifest.jsonl.gz")
        others = {"ledger": self._ledger, "second": self._second, "quarantine": self._quarantine, "unsent": self._unsent}
        for name, lines in others.items():
            lines.save(self._files, f"{folder}/{name}.jsonl.gz")
        if state.rows != sum(state.not_sent.values()) + state.quarantined + state.to_send:
            raise Permanent("rows read are not rows sent, not sent and quarantined", code="migration.equation", record=self._ref.name)


def _times(row: Row) -> Times | None:
    edited = row.get("edited_at")
    if not isinstance(edited, Mapping):
        return None
    known = {moment: microseconds(str(moment)) for moment in set(edited.values()) if moment is not None}  # mostly one for all columns
    return {column: known[moment] for column, moment in edited.items() if moment is not None}
