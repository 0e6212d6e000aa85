"""Why a row is not in Salesforce as it should be: a record that it refers to is not there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched

from omsync.mapping import Compiled, Mappings, Row
from omsync.migration.absent import parents
from omsync.migration.extract import with_survivors
from omsync.migration.model import Mismatch
from omsync.migration.ports import Rows, Salesforce

#: rows read at a time
PART = 500


@dataclass(frozen=True, slots=True)
class Blame:
    """The column of the record that is not there; why it is not sent, if that is the mapping's rule."""

    column: str
    reason: str | None
    quarantined: bool = False  # nobody can bring it


@dataclass(frozen=True, slots=True)
class Kin:
    """Looks for what rows of a table refer to."""

    mappings: Mappings
    compiled: Compiled
    salesforce: Salesforce
    oms: Rows
    survivors: Mapping[str, str]  # of merged patients
    absent: Callable[[], Collection[str]]  # rows of this table that are in quarantine

    def complete(self, ids: Sequence[str]) -> Iterator[str]:
        """Of these rows, those whose parents are all in Salesforce."""
        rows = self._of(ids)
        columns = parents(self.compiled.mapping)
        there = self._there((table, row.get(column)) for row in rows.values() for column, table in columns)
        for row_id, row in rows.items():
            if all(row.get(column) is None or str(row[column]) in there[table] for column, table in columns):
                yield row_id

    def blame(self, found: Sequence[Mismatch]) -> dict[str, Blame]:
        """By id: a missing row's parent that is not there; of a row that is there, what it lacks of its own table."""
        answers: dict[str, Blame] = {}
        for part in batched(found, PART, strict=False):
            answers |= self._blame(part)
        return answers

    def _blame(self, found: Sequence[Mismatch]) -> dict[str, Blame]:
        rows = self._of([one.id for one in found])
        suspects = {one.id: self._suspects(one) for one in found if one.id in rows}
        there = self._there((table, rows[row_id].get(column)) for row_id, columns in suspects.items() for column, table in columns)
        absent: dict[str, tuple[str, str, str]] = {}
        for row_id, columns in suspects.items():
            for column, table in columns:
                value = rows[row_id].get(column)
                if value is not None and str(value) not in there[table]:
                    absent[row_id] = column, table, str(value)
                    break
        theirs = self._rows((table, parent) for _, table, parent in absent.values())
        mine = self.absent() if any(table == self.compiled.mapping.table for _, table, _ in absent.values()) else ()
        return {
            row_id: Blame(column, self._reason(table, theirs.get(parent)), table == self.compiled.mapping.table and parent in mine)
            for row_id, (column, table, parent) in absent.items()
        }

    def _of(self, ids: Sequence[str]) -> dict[str, Row]:
        """This table's rows, as children of whom a merged patient became."""
        mapping = self.compiled.mapping
        return {
            row_id: with_survivors(mapping, row, self.survivors) for row_id, row in self.oms.batch_get(mapping.table, list(ids)).items()
        }

    def _suspects(self, found: Mismatch) -> list[tuple[str, str]]:
        """(column, table) of what may be to blame."""
        mapping = self.compiled.mapping
        if found.kind == "missing":
            return parents(mapping)
        later = {f.name for target in mapping.targets for f in self.compiled.fields(target.object).values() if f.second_pass}
        if found.kind != "different" or not later.issuperset(found.fields):
            return []
        return [(name, mapping.table) for name, column in mapping.columns.items() if column.references == mapping.table]

    def _there(self, wanted: Iterable[tuple[str, object]]) -> dict[str, set[str]]:
        """Rows by table that are in Salesforce; all of a table that is matched, or written with another one."""
        found: dict[str, set[str]] = {}
        for table, keys in _grouped(wanted).items():
            mapping = self.mappings[table]
            if mapping.mode not in ("mirrored", "shared") or not mapping.targets:
                found[table] = keys
                continue
            records = self.salesforce.by_oms_id(mapping.targets[0].object, ["Id", "OMS_Id__c"], sorted(keys))
            found[table] = {str(row["OMS_Id__c"]).lower() for row in records}
        return found

    def _rows(self, wanted: Iterable[tuple[str, object]]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for table, keys in _grouped(wanted).items():
            found |= self.oms.batch_get(table, sorted(keys))
        return found

    def _reason(self, table: str, row: Row | None) -> str | None:
        return self.mappings[table].skip_reason(row) if row is not None else None


def _grouped(wanted: Iterable[tuple[str, object]]) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for table, key in wanted:
        keys = found.setdefault(table, set())
        if key is not None:
            keys.add(str(key))
    return found
