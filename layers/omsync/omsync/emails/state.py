"""The OMS as the sender sees it: rows as they are now, read in batches, each once a batch of emails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

type Row = Mapping[str, Any]


class Reader(Protocol):
    """The OMS's reading end (`omsync.oms.client`)."""

    def batch_get(self, table: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows by id."""

    def children(self, table: str, column: str, parent: str) -> Iterator[dict[str, Any]]:
        """Rows whose reference column names `parent`."""

    def children_of(self, table: str, column: str, parents: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows whose reference column names one of `parents`."""


class State:
    """One batch's view. A row read once is not read again: a batch takes seconds, and the next one sees anew."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._rows: dict[tuple[str, str], Row | None] = {}
        self._children: dict[tuple[str, str, str], list[Row]] = {}

    def prefetch(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Read many rows in a call a table."""
        tables: dict[str, list[str]] = {}
        for table, row_id in dict.fromkeys(wanted):
            if (table, row_id) not in self._rows:
                tables.setdefault(table, []).append(row_id)
        for table, ids in tables.items():
            found = self._reader.batch_get(table, ids)
            self._rows |= {(table, row_id): found.get(row_id) for row_id in ids}

    def prefetch_children(self, wanted: Iterable[tuple[str, str, str]]) -> None:
        """Read the rows that refer to many (`table`, `column`, `parent`) in a call a table and column."""
        parents: dict[tuple[str, str], list[str]] = {}
        for table, column, parent in dict.fromkeys(wanted):
            if (table, column, parent) not in self._children:
                parents.setdefault((table, column), []).append(parent)
        for (table, column), ids in parents.items():
            found: dict[str, list[Row]] = {parent: [] for parent in ids}
            for row in self._reader.children_of(table, column, ids):
                if row.get("deleted_at") is None:
                    found[str(row[column])].append(row)
            self._children |= {(table, column, parent): rows for parent, rows in found.items()}

    def row(self, table: str, row_id: str | None) -> Row | None:
        """The live row, or None."""
        if row_id is None:
            return None
        self.prefetch([(table, row_id)])
        row = self._rows[table, row_id]
        return None if row is None or row.get("deleted_at") is not None else row

    def children(self, table: str, column: str, parent: str) -> list[Row]:
        """The live rows that refer to a parent."""
        key = (table, column, parent)
        if key not in self._children:
            self._children[key] = [row for row in self._reader.children(table, column, parent) if row.get("deleted_at") is None]
        return self._children[key]
