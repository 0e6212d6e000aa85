"""Rows of earlier waves that are in quarantine: what refers to them cannot be loaded either, and is not sent to be refused row by row.

Such a row joins the quarantine when it is extracted. Verification asks the live writers for it as soon as its parents have come.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from omsync.mapping import Mappings, Row, TableMapping
from omsync.migration.files import read_lines
from omsync.migration.model import ChunkState, Quarantined, RunPlan
from omsync.migration.plan import read_plan, read_refs
from omsync.migration.ports import Files
from omsync.migration.states import Chunks

#: why a row is in quarantine that could be carried by itself
CODE = "parent_quarantined"

type Absent = Mapping[str, Collection[str]]  # table -> OMS ids


@dataclass(frozen=True, slots=True)
class Absentees:
    """Reads who is absent."""

    mappings: Mappings
    files: Files
    chunks: Chunks

    def before(self, migration: str, run: int, wave: str) -> Absent:
        """Quarantined rows by table, of the runs and waves before this one. Waves are barriers, so there will be no more."""
        found: dict[str, set[str]] = {}
        for earlier in range(1, run + 1):
            plan = read_plan(self.files, migration, earlier)
            if plan is not None and not plan.dry:
                self._add(plan, wave, found)
        return found

    def of(self, migration: str, run: int, table: str) -> Collection[str]:
        """Quarantined rows of a table; once its wave is loaded there will be no more."""
        plan = read_plan(self.files, migration, run)
        if plan is None or plan.dry:
            return frozenset()
        refs = [ref for ref in read_refs(self.files, plan) if ref.table == table]
        states = [state for state in self.chunks.read_many(refs) if state.in_quarantine]
        return frozenset(row_id for state in states for row_id in quarantined(self.files, state))

    def _add(self, plan: RunPlan, wave: str, found: dict[str, set[str]]) -> None:
        refs = [ref for ref in read_refs(self.files, plan) if self.mappings[ref.table].wave < wave]
        for ref, state in zip(refs, self.chunks.read_many(refs), strict=True):
            if state.in_quarantine:
                found.setdefault(ref.table, set()).update(quarantined(self.files, state))


def quarantined(files: Files, state: ChunkState) -> set[str]:
    """A chunk's rows that are in quarantine still."""

    def ids(name: str) -> set[str]:
        lines = read_lines(files, f"{state.folder}/{name}.jsonl.gz")
        return {str(line["id"]) if isinstance(line, dict) else str(line) for line in lines}

    return (ids("quarantine") | ids("orphans")) - ids("released")


def parents(mapping: TableMapping) -> list[tuple[str, str]]:
    """(column, table) of the records that must be in Salesforce before a row of this table."""
    embedded = mapping.mode == "embedded"  # written with its parent, which no column needs to tell
    return [
        (name, column.references)
        for name, column in mapping.columns.items()
        if column.references is not None and column.references != mapping.table and (embedded or column.not_sent is None)
    ]


def because_of_parent(mapping: TableMapping, row: Row, absent: Absent) -> Quarantined | None:
    """The row's place in quarantine, if a parent is in it."""
    for column, table in parents(mapping):
        value = row.get(column)
        if value is not None and str(value) in absent.get(table, ()):
            message = f"its {column} is in quarantine: it comes when that row is mended"
            return Quarantined(table=mapping.table, id=str(row["id"]).lower(), code=CODE, field=column, message=message)
    return None
