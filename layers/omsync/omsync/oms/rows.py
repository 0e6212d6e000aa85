"""The OMS as the synchroniser sees it: many rows at once, one answer each, an error of one never its neighbour's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from omsync.mapping.model import Json
from omsync.oms.client import OmsClient, Row
from omsync.oms.errors import Rejected
from omsync.platform.errors import OmsyncError, Stale
from omsync.platform.times import microseconds
from omsync.sync.ports import Answers, Creation, Inquiry, Patch, Refused
from omsync.sync.records import OmsRow, RecordKey

#: calls under way at once: one row a call is how the OMS takes writes
PARALLEL = 8
#: a version that no row has: a PATCH that must not take effect
NO_VERSION = 0


@dataclass(frozen=True, slots=True)
class OmsRows:
    """`OmsPort` over the OMS's API."""

    client: OmsClient

    def read(self, keys: Sequence[RecordKey]) -> Answers[OmsRow | None]:
        """Rows as they are now, soft-deleted ones included."""
        found: dict[RecordKey, OmsRow] = {}
        for table, ids in _by_table(keys).items():
            found |= {RecordKey(table, row_id): as_row(table, row) for row_id, row in self.client.batch_get(table, ids).items()}
        return [found.get(key) for key in keys]

    def patch(self, patches: Sequence[Patch]) -> Answers[OmsRow]:
        """Each row as its PATCH left it."""
        return _each(patches, self._patch)

    def settle(self, inquiries: Sequence[Inquiry]) -> Answers[OmsRow | None]:
        """What the PATCH under this key did; it can do nothing afterwards (see `OmsPort.settle`)."""
        return _each(inquiries, self._settle)

    def create(self, creations: Sequence[Creation]) -> Answers[OmsRow]:
        """The row of that id."""
        return _each(creations, self._create)

    def _patch(self, patch: Patch) -> OmsRow:
        key = patch.key
        return as_row(key.table, self.client.patch(key.table, key.id, patch.values, version=patch.if_match, key=patch.idempotency_key))

    def _settle(self, inquiry: Inquiry) -> OmsRow | None:
        key = inquiry.key
        try:
            row = self.client.patch(key.table, key.id, {}, version=NO_VERSION, key=inquiry.idempotency_key)
        except Stale:
            return None
        return as_row(key.table, row)

    def _create(self, creation: Creation) -> OmsRow:
        key = creation.key
        return as_row(key.table, self.client.create(key.table, {**creation.values, "id": key.id}, key=creation.idempotency_key))


def as_row(table: str, row: Row) -> OmsRow:
    """An API row as the synchroniser's."""
    edited = row.get("edited_at")
    return OmsRow(
        key=RecordKey(table, str(row["id"])),
        version=int(row["version"]),
        values=row,
        edited_at=_times(edited) if isinstance(edited, Mapping) else None,
        changed_by=str(row.get("changed_by") or ""),
        deleted=row.get("deleted_at") is not None,
    )


def _times(edited: Mapping[str, Json]) -> dict[str, int]:
    return {column: microseconds(str(moment)) for column, moment in edited.items() if moment is not None}


def _by_table(keys: Iterable[RecordKey]) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        tables.setdefault(key.table, []).append(key.id)
    return tables


def _each[T, R](items: Sequence[T], call: Callable[[T], R]) -> list[R | OmsyncError]:
    """One call an item, several at a time; its own error is its answer."""

    def answer(item: T) -> R | OmsyncError:
        try:
            return call(item)
        except Rejected as fault:
            return Refused(tuple(error.column for error in fault.errors), record=fault.record)
        except OmsyncError as fault:
            return fault

    if len(items) == 1:
        return [answer(items[0])]
    with ThreadPoolExecutor(min(PARALLEL, max(1, len(items)))) as pool:
        return list(pool.map(answer, items))
