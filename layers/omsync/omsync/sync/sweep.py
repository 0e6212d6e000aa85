"""The sweep: reads both change feeds from saved cursors and enqueues what was not delivered. No lost push can lose data.

Per table of the OMS: pages of the change feed, in commit-safe order; a mirrored row is delivered if Salesforce has its version, a shared one
if the ledger knows it. Per object of Salesforce: a keyset over (SystemModstamp, Id), 15 minutes behind the cursor because a long
transaction commits behind it; a record is delivered if the ledger knows its save. Deletes by getDeleted.

A cursor moves only after its page is enqueued, so a sweep may die anywhere; two at once do the same work twice and move it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from omsync.mapping.model import Mappings, TableMapping
from omsync.oms.client import Change, ChangePage
from omsync.platform.errors import OmsyncError
from omsync.sync.doors import Outbound
from omsync.sync.linked import FEED as LINKED
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.ports import Answers, DeletedPage, LedgerPort
from omsync.sync.records import Item, RecordKey

OVERLAP = timedelta(minutes=15)
#: getDeleted reaches back 15 days; a cursor older than this starts there, and reconciliation does the rest
DELETED_REACH = timedelta(days=14)


class OmsFeed(Protocol):
    """The OMS's change feed."""

    def changes(self, table: str, after: str | None, *, limit: int = 1000) -> ChangePage: ...

    def now_cursor(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Touched:
    """A record of Salesforce's feed. `save` is None where the object keeps no count."""

    id: str
    oms_id: str | None
    record_type: str | None
    save: int | None
    modified: datetime


@dataclass(frozen=True, slots=True)
class Buried:
    """A deleted record, as far as the recycle bin still knows it."""

    id: str
    oms_id: str | None
    record_type: str | None


class SalesforceFeed(Protocol):
    """Salesforce's side."""

    def touched(self, sobject: str, since: datetime, after: str) -> Sequence[Touched]:
        """The next page behind (modstamp, id), in that order; empty at the end."""

    def deleted(self, sobject: str, start: datetime, end: datetime) -> DeletedPage: ...

    def buried(self, sobject: str, ids: Sequence[str]) -> Sequence[Buried]:
        """What the recycle bin knows of these."""

    def undelete(self, ids: Sequence[str]) -> Answers[None]: ...

    def versions(self, sobject: str, ids: Sequence[str]) -> dict[str, int]:
        """OMS id -> OMS_Version__c."""


class CursorStore(Protocol):
    """Saved positions."""

    def read(self, feed: str) -> str | None: ...

    def move(self, feed: str, position: str, *, seen: str | None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Sweep:
    """One round over all feeds."""

    mappings: Mappings
    oms: OmsFeed
    salesforce: SalesforceFeed
    ledger: LedgerPort
    cursors: CursorStore
    mirror: Outbound
    sync: Outbound
    relink: Callable[[Sequence[RecordKey]], Answers[None]]
    linked_later: Callable[[], int]
    now: Callable[[], datetime]
    time_is_up: Callable[[], bool] = lambda: False
    counts: dict[str, int] = field(default_factory=dict)

    def run(self) -> dict[str, int]:
        """feed -> messages enqueued. One feed's failure is raised after the others had their turn."""
        faults: list[OmsyncError] = []
        tables = [self._of_table(mapping) for mapping in self.mappings if mapping.mode != "embedded"]
        steps = [*tables, *self._of_objects(), self._sweep_staff]
        for step in steps:
            if self.time_is_up():
                break
            try:
                step()
            except OmsyncError as fault:
                faults.append(fault)
        if faults:
            raise faults[0]
        return self.counts

    # --------------------------------------------------------------------------------------------------------------- OMS
    def _of_table(self, mapping: TableMapping) -> Callable[[], None]:
        return lambda: self._sweep_table(mapping)

    def _sweep_table(self, mapping: TableMapping) -> None:
        feed = f"oms/{mapping.table}"
        seen = self.cursors.read(feed)
        if seen is None:  # what was there before the first sweep is the migration's
            self.cursors.move(feed, self.oms.now_cursor(), seen=None)
            return
        while not self.time_is_up():
            page = self.oms.changes(mapping.table, seen)
            self._deliver(mapping, {change.id: change for change in page.changes}, feed)
            if page.next != seen and not self.cursors.move(feed, page.next, seen=seen):
                return  # another sweep is ahead of us
            seen = page.next
            if not page.more:
                return

    def _deliver(self, mapping: TableMapping, changes: Mapping[str, Change], feed: str) -> None:
        if not changes:
            return
        if mapping.mode == "shared":
            lacking = self._not_in_ledger(mapping.table, changes)
            self.sync.send([_look(mapping.table, row_id) for row_id in lacking])
        else:
            lacking = self._not_in_salesforce(mapping, changes)
            self.mirror.send([_write(mapping.table, row_id, changes[row_id].version) for row_id in lacking])
        self._count(feed, len(lacking))

    def _not_in_salesforce(self, mapping: TableMapping, changes: Mapping[str, Change]) -> list[str]:
        if mapping.mode == "matched":
            return list(changes)
        stored = self.salesforce.versions(mapping.targets[0].object, list(changes))
        return [row_id for row_id, change in changes.items() if stored.get(row_id, 0) < change.version]

    def _not_in_ledger(self, table: str, changes: Mapping[str, Change]) -> list[str]:
        items = self._items([RecordKey(table, row_id) for row_id in changes])
        return [row_id for row_id, change in changes.items() if _behind(items.get(row_id), change.version)]

    # --------------------------------------------------------------------------------------------------------- Salesforce
    def _of_objects(self) -> Iterator[Callable[[], None]]:
        for sobject, owners in self.mappings.objects().items():
            shared = any(mapping.mode == "shared" for mapping, _ in owners)
            guarded = any(target.sync_fields for _, target in owners)
            if shared:
                yield lambda sobject=sobject, guarded=guarded: self._sweep_object(sobject, guarded)  # type: ignore[misc]
            if any(mapping.mode in ("shared", "mirrored") for mapping, _ in owners):
                yield lambda sobject=sobject: self._sweep_deleted(sobject)  # type: ignore[misc]

    def _sweep_object(self, sobject: str, guarded: bool) -> None:
        feed = f"salesforce/{sobject}"
        seen = self.cursors.read(feed)
        if seen is None:
            self.cursors.move(feed, _text(self.now()), seen=None)
            return
        since, after, newest = datetime.fromisoformat(seen) - OVERLAP, "", datetime.fromisoformat(seen)
        while not self.time_is_up() and (page := self.salesforce.touched(sobject, since, after)):
            lacking = self._unknown(sobject, [record for record in page if self._is_news(sobject, record, guarded)])
            self.sync.send([_look_at(sobject, record.id, "UPDATE", record.record_type) for record in lacking])
            self._count(feed, len(lacking))
            since, after = page[-1].modified, page[-1].id
            newest = max(newest, since)
        self.cursors.move(feed, _text(newest), seen=seen)

    def _is_news(self, sobject: str, record: Touched, guarded: bool) -> bool:
        """Could this record concern us? Where no count is kept, only what has no OMS id yet was born here."""
        mapping = self.mappings.for_record(sobject, record.record_type)
        if mapping is None or mapping.mode != "shared":
            return False
        return guarded or record.oms_id is None

    def _unknown(self, sobject: str, records: Sequence[Touched]) -> list[Touched]:
        keys: dict[str, RecordKey] = {}
        for record in records:
            mapping = self.mappings.for_record(sobject, record.record_type)
            if record.oms_id is not None and mapping is not None:
                keys[record.id] = RecordKey(mapping.table, record.oms_id)
        items = self._items(list(keys.values()))
        return [record for record in records if record.id not in keys or _missed(items.get(keys[record.id].id), record.save)]

    def _sweep_deleted(self, sobject: str) -> None:
        feed = f"deleted/{sobject}"
        seen, end = self.cursors.read(feed), self.now()
        if seen is None:
            self.cursors.move(feed, _text(end), seen=None)
            return
        start = max(datetime.fromisoformat(seen) - OVERLAP, end - DELETED_REACH)
        page = self.salesforce.deleted(sobject, start, end)
        buried = self.salesforce.buried(sobject, list(page.ids)) if page.ids else []
        shared = [record for record in buried if self._mode(sobject, record) == "shared"]
        self.sync.send([_look_at(sobject, record.id, "DELETE", record.record_type) for record in shared])
        self._revive(sobject, [record for record in buried if self._mode(sobject, record) == "mirrored" and record.oms_id])
        self._count(feed, len(shared))
        self.cursors.move(feed, _text(min(page.covered, end)), seen=seen)

    def _revive(self, sobject: str, buried: Sequence[Buried]) -> None:
        """Mirrored records belong to the OMS: they come back from the bin, or are written anew, and their children are linked again."""
        if not buried:
            return
        self.salesforce.undelete([record.id for record in buried])  # refused: the write below creates it anew
        keys = []
        for record in buried:
            mapping = self.mappings.for_record(sobject, record.record_type)
            if mapping is not None and record.oms_id is not None:
                keys.append(RecordKey(mapping.table, record.oms_id.lower()))
        self.mirror.send([_write(key.table, key.id, 1) for key in keys])
        for answer in self.relink(keys):
            if isinstance(answer, OmsyncError):
                raise answer
        self._count(f"deleted/{sobject}", len(keys))

    def _sweep_staff(self) -> None:
        self._count(LINKED, self.linked_later())

    def _mode(self, sobject: str, record: Buried) -> str | None:
        mapping = self.mappings.for_record(sobject, record.record_type)
        return mapping.mode if mapping is not None else None

    def _items(self, keys: Sequence[RecordKey]) -> dict[str, Item]:
        found: dict[str, Item] = {}
        for key, answer in zip(keys, self.ledger.read(keys), strict=True):
            if isinstance(answer, OmsyncError):
                raise answer
            if answer is not None:
                found[key.id] = answer
        return found

    def _count(self, feed: str, number: int) -> None:
        self.counts[feed] = self.counts.get(feed, 0) + number


def _behind(item: Item | None, version: int) -> bool:
    return item is None or item.intent is not None or (item.version or 0) < version


def _missed(item: Item | None, save: int | None) -> bool:
    return item is None or item.intent is not None or item.save < (save or 0)


def _look(table: str, row_id: str) -> SyncMessage:
    return SyncMessage(correlation_id=f"sweep.{row_id}", origin="sweep", table=table, id=row_id)


def _look_at(sobject: str, record_id: str, change: str, record_type: str | None) -> SyncMessage:
    return SyncMessage(
        correlation_id=f"sweep.{record_id}",
        origin="sweep",
        sobject=sobject,
        salesforce_id=record_id,
        change=change,
        record_type=record_type,
    )


def _write(table: str, row_id: str, version: int) -> MirrorMessage:
    return MirrorMessage(correlation_id=f"sweep.{row_id}", origin="sweep", table=table, id=row_id, version=version)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
