"""The dry run of a chunk: every row is mapped as the extract would, nothing is stored but what was noticed.

<chunk>/examined.json    counts, records by object, bytes that Salesforce will count, findings
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pydantic import BaseModel, Field

from omsync.mapping import Compiled, Mappings, Record, Row, TransformError, compile_mapping, needs_rest
from omsync.mapping.normal import is_email, line
from omsync.migration.findings import Finding, Findings
from omsync.migration.model import ChunkRef, OrgFacts, Outcome
from omsync.migration.ports import Files, Source

#: what to do about rows that cannot be carried; for other codes `CORRECT`
MEND = {
    "too_long": "shorten it in the OMS, or lengthen the field in the mapping",
    "invalid_email": "correct or clear it in the OMS",
    "unmapped_value": "name the value in the mapping, or correct it in the OMS",
    "separator_in_value": "write it without the semicolon",
}
CORRECT = "correct it in the OMS; else the row is quarantined"
#: objects whose records count as long as their text is
BY_TEXT = frozenset({"EmailMessage"})


class Examined(BaseModel):
    """A chunk, or several added up."""

    rows: int = 0
    not_sent: int = 0
    bad: int = 0
    rest: int = 0  # records that Bulk cannot carry
    sent: Counter[str] = Field(default_factory=Counter)  # object -> records
    text_bytes: Counter[str] = Field(default_factory=Counter)  # object -> bytes, where text is what counts
    file_bytes: int = 0
    findings: list[Finding] = Field(default_factory=list)

    def add(self, other: Examined) -> None:
        """One chunk more; its findings are left out."""
        self.rows += other.rows
        self.not_sent += other.not_sent
        self.bad += other.bad
        self.rest += other.rest
        self.file_bytes += other.file_bytes
        self.sent += other.sent
        self.text_bytes += other.text_bytes


@dataclass(slots=True)
class Examine:
    """Examines chunks."""

    mappings: Mappings
    source: Source
    files: Files

    def run(self, ref: ChunkRef, facts: OrgFacts) -> Outcome:
        """One chunk; done twice it gives the same."""
        look = _Look(compile_mapping(self.mappings[ref.table], facts.time_zone), frozenset(facts.staff))
        with self.source.read(self.mappings[ref.table], ref) as (_, rows):
            for row in rows:
                look.at(row)
        self.files.put(f"{ref.folder}/examined.json", look.result().model_dump_json().encode())
        return Outcome()


class _Look:
    """What is noticed in one chunk."""

    def __init__(self, compiled: Compiled, staff: frozenset[str]) -> None:
        self._compiled, self._staff, self._mapping = compiled, staff, compiled.mapping
        self._seen, self._findings = Examined(), Findings()
        fields = [field for target in self._mapping.targets for field in target.fields.values() if field.transform == "valid_email"]
        self._addresses = sorted({field.sources[0] for field in fields})

    def result(self) -> Examined:
        self._seen.findings = self._findings.all()
        return self._seen

    def at(self, row: Row) -> None:
        self._seen.rows += 1
        if self._mapping.mode == "embedded" or self._mapping.skip_reason(row) is not None:
            self._seen.not_sent += 1
            return
        try:
            records = self._compiled.to_salesforce(row, staff=self._staff)
            unusual = self._compiled.unusual(row, records)
        except TransformError as fault:
            self._seen.bad += 1
            kind = fault.code.removeprefix("transform.")
            self._note(
                row,
                Finding(table="", weight="bad", kind=kind, field=fault.field or "-", message=fault.message, mend=MEND.get(kind, CORRECT)),
            )
            return
        for column in unusual:
            message = "Salesforce will hold another form of this text (white space, case, name)"
            self._note(row, Finding(table="", weight="note", kind="unusual", field=column, message=message))
        for column in self._addresses:
            value = row.get(column)
            if value and line(str(value)) and not is_email(line(str(value)) or ""):
                message = "not an email address: kept as text beside the field, and nothing can be sent to it"
                self._note(
                    row, Finding(table="", weight="look", kind="invalid_email", field=column, message=message, mend=MEND["invalid_email"])
                )
        for record in records:
            self._count(row, record)

    def _count(self, row: Row, record: Record) -> None:
        seen = self._seen
        seen.sent[record.object] += 1
        if record.object in BY_TEXT:
            seen.text_bytes[record.object] += sum(len(value.encode()) for value in record.fields.values() if isinstance(value, str))
        if needs_rest(record):
            seen.rest += 1
            message = "text too long for Bulk (32,000 characters): goes by REST, two hundred rows a call"
            self._note(row, Finding(table="", weight="note", kind="long", field=record.object, message=message))
        for file in record.files:
            seen.file_bytes += len(file.text.encode())
            message = "text too long for the field: whole as a file beside the record, cut in the field"
            self._note(row, Finding(table="", weight="note", kind="file", field=file.field, message=message))

    def _note(self, row: Row, finding: Finding) -> None:
        finding.table = self._mapping.table
        self._findings.note(finding, str(row["id"]))
