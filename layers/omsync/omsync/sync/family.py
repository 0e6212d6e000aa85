"""A record's relatives: mirrored parents written for a child that needs them, children asked for when their parent is another record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from omsync.mapping.model import Mappings, Row, TableMapping
from omsync.platform.errors import OmsyncError
from omsync.sync.consume import Result
from omsync.sync.doors import Outbound
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.ports import Answers
from omsync.sync.records import RecordKey


class Writer(Protocol):
    """The blind writer."""

    def write(self, messages: Sequence[MirrorMessage]) -> list[Result]: ...


class Children(Protocol):
    """The OMS's list of a table's rows by a reference column."""

    def children(self, table: str, column: str, parent: str) -> Iterator[Row]: ...


@dataclass(frozen=True, slots=True)
class Family:
    """`FamilyPort`."""

    mappings: Mappings
    writer: Writer
    oms: Children
    mirror: Outbound
    sync: Outbound

    def ensure(self, parents: Sequence[RecordKey]) -> Answers[None]:
        """Mirrored parents, written from a fresh read."""
        wanted = [
            MirrorMessage(correlation_id=f"parent.{key.id}", origin="parent", table=key.table, id=key.id, version=1) for key in parents
        ]
        return [result.fault for result in self.writer.write(wanted)]

    def relink(self, parents: Sequence[RecordKey]) -> Answers[None]:
        """Every child of these records is looked at again."""
        return [self._relink(parent) for parent in parents]

    def _relink(self, parent: RecordKey) -> OmsyncError | None:
        try:
            for mapping, column in _references_to(self.mappings, parent.table):
                rows = list(self.oms.children(mapping.table, column, parent.id))
                if mapping.mode == "shared":
                    self.sync.send([_look(mapping.table, row, parent) for row in rows])
                else:
                    self.mirror.send([_write(mapping.table, row, parent) for row in rows])
        except OmsyncError as fault:
            return fault
        return None


def _references_to(mappings: Mappings, table: str) -> Iterator[tuple[TableMapping, str]]:
    """(mapping, column) of every lookup to this table that Salesforce holds."""
    for mapping in mappings:
        if mapping.mode not in ("shared", "mirrored"):
            continue
        for column in mapping.columns.values():
            if column.references == table and column.not_sent is None:
                yield mapping, column.name


def _look(table: str, row: Row, parent: RecordKey) -> SyncMessage:
    return SyncMessage(correlation_id=f"relink.{parent.id}", origin="parent", table=table, id=str(row["id"]))


def _write(table: str, row: Row, parent: RecordKey) -> MirrorMessage:
    version = int(str(row["version"]))
    return MirrorMessage(
        correlation_id=f"relink.{parent.id}", origin="parent", table=table, id=str(row["id"]), version=version, row=dict(row)
    )
