"""A migration's surroundings in memory: files, states, an OMS, an org that takes Bulk jobs, a ledger, and the live writers' queues.

Everything that outlives a process goes through `World.effect`, which counts and can die there: before the effect, or just after it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO

from omsync.mapping import Row, TableMapping, load_mappings
from omsync.mapping.outward import File
from omsync.migration.absent import Absentees
from omsync.migration.changes import Changes
from omsync.migration.extract import Extract
from omsync.migration.judge import Judge
from omsync.migration.link import Link
from omsync.migration.load import Load
from omsync.migration.model import ChunkRef, OrgFacts, Outcome
from omsync.migration.plan import Plan
from omsync.migration.source import chunk_column
from omsync.migration.states import Chunks
from omsync.migration.verify import Verify
from omsync.platform.errors import OmsyncError, Permanent, Retryable, Stale
from omsync.salesforce.bulk import Job, QueryPage
from omsync.salesforce.errors import NotFound
from omsync.salesforce.files import title_of
from omsync.sync.digests import Digests
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.ports import DuplicateRecord, Written
from omsync.sync.records import Item, Lease, RecordKey

IDS = {
    f"record_type:{target.object}.{name}": f"012{place:015d}"
    for place, (target, name) in enumerate(
        (target, name) for mapping in load_mappings() for target in mapping.targets for name in target.record_types
    )
}
FACTS = OrgFacts(ids={**IDS, "standard_price_book": "01s000000000001"}, staff=[], time_zone="America/New_York")


class Killed(BaseException):
    """The process is gone."""


class Files(dict[str, bytes]):
    """`ports.Files`."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def put(self, name: str, content: bytes | IO[bytes]) -> None:
        data = content if isinstance(content, bytes) else content.read()
        self._world.effect(lambda: self.__setitem__(name, data))

    def open(self, name: str) -> IO[bytes] | None:
        return io.BytesIO(self[name]) if name in self else None


@dataclass
class States:
    """`ports.States`."""

    world: World
    documents: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)

    def read(self, key: str) -> str | None:
        return self.documents.get(key)

    def read_many(self, keys: Sequence[str]) -> Mapping[str, str]:
        return {key: self.documents[key] for key in keys if key in self.documents}

    def write(self, key: str, document: str) -> None:
        self.world.effect(lambda: self.documents.__setitem__(key, document))

    def replace(self, key: str, document: str, *, seen: int) -> bool:
        if self.revisions.get(key, 0) != seen:
            return False

        def write() -> bool:
            self.revisions[key] = seen + 1
            self.documents[key] = document
            return True

        return self.world.effect(write)

    def claim(self, key: str, document: str) -> bool:
        return self.world.effect(lambda: self.documents.setdefault(key, document)) is document


@dataclass
class FakeJob:
    """An ingest job."""

    object: str
    state: str = "Open"
    rows: list[dict[str, str]] = field(default_factory=list)
    good: list[tuple[str, str]] = field(default_factory=list)
    bad: list[tuple[str, OmsyncError]] = field(default_factory=list)


@dataclass
class Org:
    """`ports.Salesforce`: unique by OMS_Id__c. `refuse` says why a row is not taken; `stop_after`: jobs are aborted there."""

    world: World
    records: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)  # object -> OMS id -> columns
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    files: dict[str, set[str]] = field(default_factory=dict)
    refuse: Callable[[Mapping[str, str]], OmsyncError | None] = lambda row: None
    stop_after: int | None = None
    doubles: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # records whose OMS id another one has
    forgotten: int = 0  # queries whose next look finds nothing
    edited: set[str] = field(default_factory=set)  # Salesforce ids of what somebody saved since its insert
    calls: int = 0

    def present(self, sobject: str, where: str) -> set[str]:
        return set(self.records.get(sobject, {}))

    def create_job(self, sobject: str) -> str:
        name = f"750{len(self.jobs):012d}"
        self.world.effect(lambda: self.jobs.__setitem__(name, FakeJob(sobject)))
        return name

    def abandoned_jobs(self, sobject: str, since: float) -> Iterator[str]:
        yield from [name for name, job in self.jobs.items() if job.state == "Open" and job.object == sobject]

    def upload(self, job: str, content: IO[bytes]) -> None:
        rows = list(csv.DictReader(io.TextIOWrapper(io.BytesIO(content.read()), encoding="utf-8", newline="")))
        self.jobs[job].rows = rows
        self.world.effect(lambda: setattr(self.jobs[job], "state", "UploadComplete"))

    def look(self, job: str, *, query: bool = False) -> Job:
        if query and self.forgotten:
            self.forgotten -= 1
            raise NotFound("no such job", code="NOT_FOUND")
        if query:
            return Job(job, "JobComplete")
        if job not in self.jobs:
            raise NotFound("no such record or resource", code="NOT_FOUND")
        one = self.jobs[job]
        if one.state == "UploadComplete":
            self._work(one)
        return Job(job, one.state)

    def _work(self, job: FakeJob) -> None:
        for number, row in enumerate(job.rows):
            if self.stop_after is not None and number >= self.stop_after:
                job.state, self.stop_after = "Aborted", None
                return
            row_id = row["OMS_Id__c"]
            fault = self.refuse(row) or (DuplicateRecord("there") if row_id in self.records.get(job.object, {}) else None)
            if fault is not None:
                job.bad.append((row_id, fault))
            else:
                job.good.append((row_id, self.insert(job.object, row)))
        job.state = "JobComplete"

    def insert(self, sobject: str, row: Mapping[str, str]) -> str:
        """A record; its Salesforce id."""
        there = self.records.setdefault(sobject, {})
        name = f"{sobject[:3]}{row['OMS_Id__c'].replace('-', '')[:15]}"
        there[row["OMS_Id__c"]] = {key: "" if value == "#N/A" else value for key, value in row.items()} | {"Id": name}
        return name

    def abort(self, job: str, *, query: bool = False) -> None:
        self.jobs[job].state = "Aborted"

    def succeeded(self, job: str) -> Iterator[tuple[str, str]]:
        yield from self.jobs[job].good

    def failed(self, job: str) -> Iterator[tuple[str, OmsyncError]]:
        yield from self.jobs[job].bad

    def start_query(self, soql: str) -> str:
        return soql.partition(" FROM ")[2].partition(" ")[0]

    def query_page(self, job: str, locator: str | None) -> QueryPage:
        rows = [*self.records.get(job, {}).values(), *self.doubles.get(job, ())]
        return QueryPage(iter([dict(row) for row in rows]), None, len(rows))

    def create(self, sobject: str, records: Sequence[Mapping[str, object]]) -> list[Written]:
        return self.world.effect(lambda: [self._create(sobject, dict(_flat(record))) for record in records])

    def _create(self, sobject: str, row: Mapping[str, str]) -> Written:
        if (fault := self.refuse(row)) is not None:
            return Written(None, created=False, error=fault)
        return Written(self.insert(sobject, row), created=True)

    def update(self, sobject: str, records: Sequence[Mapping[str, object]]) -> list[Written]:
        return [self.world.effect(lambda one=record: self._update(sobject, one)) for record in records]  # type: ignore[misc]

    def _update(self, sobject: str, record: Mapping[str, object]) -> Written:
        """References alone; one save, which `Sync_Seen__c` must have seen the save before."""
        name = str(record["Id"])
        if "Sync_Seen__c" in record:
            if name in self.edited:
                return Written(None, created=False, error=Stale("OMSYNC_STALE"))
            self.edited.add(name)
        row = next(one for one in self.records[sobject].values() if one["Id"] == name)
        row.update({f"{key}.OMS_Id__c": str(value["OMS_Id__c"]) for key, value in record.items() if isinstance(value, Mapping)})
        return Written(name, created=False)

    def attach(self, record_id: str, file: File) -> None:
        self.world.effect(lambda: self.keep(record_id, file))

    def keep(self, record_id: str, file: File) -> None:
        """A file beside a record, whoever brings it."""
        self.files.setdefault(record_id, set()).add(title_of(file))

    def attached(self, record_id: str) -> set[str]:
        return self.files.get(record_id, set())

    def by_oms_id(self, sobject: str, columns: Sequence[str], ids: Sequence[str]) -> Iterator[Mapping[str, object]]:
        yield from [self.records[sobject][row_id] for row_id in ids if row_id in self.records.get(sobject, {})]
        yield from [row for row in self.doubles.get(sobject, ()) if row["OMS_Id__c"] in ids]

    def oms_ids(self, sobject: str, salesforce_ids: Sequence[str]) -> dict[str, str]:
        return {row["Id"]: row_id for row_id, row in self.records.get(sobject, {}).items() if row["Id"] in salesforce_ids}


@dataclass
class Ledger:
    """`ports.Ledger`."""

    world: World
    items: dict[RecordKey, Item] = field(default_factory=dict)

    def save(self, items: Sequence[Item]) -> list[bool]:
        return [self.world.effect(lambda one=item: self._save(one)) for item in items]  # type: ignore[misc]

    def _save(self, item: Item) -> bool:
        known = self.items.get(item.key)
        if (known.revision if known else 0) != item.revision:
            return False
        self.items[item.key] = replace(item, revision=item.revision + 1)
        return True

    def saved_again(self, keys: Sequence[RecordKey]) -> None:
        self.save([replace(self.items[key], save=self.items[key].save + 1) for key in keys if self.items[key].revision == 1])

    def renew(self, keys: Sequence[RecordKey], lease: Lease) -> list[bool]:
        held = list(self._held(keys, lease.holder))
        saved = iter(self.save([replace(item, lease=lease) for item in held if item is not None]))
        return [item is not None and next(saved) for item in held]

    def inserted(self, items: Sequence[Item], holder: str) -> None:
        held = self._held([item.key for item in items], holder)
        self.save([replace(item, revision=known.revision) for item, known in zip(items, held, strict=True) if known is not None])

    def release(self, keys: Sequence[RecordKey], holder: str) -> None:
        self.save([replace(item, lease=None) for item in self._held(keys, holder) if item is not None])

    def _held(self, keys: Sequence[RecordKey], holder: str) -> Iterator[Item | None]:
        for item in map(self.items.get, keys):
            yield (
                item if item is not None and item.salesforce_id is None and item.lease is not None and item.lease.holder == holder else None
            )


@dataclass
class Live:
    """`ports.Live`."""

    world: World
    asked: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, Callable[[], object]] = field(default_factory=dict)  # what they do about a row

    def mirror(self, messages: Sequence[MirrorMessage]) -> None:
        self.world.effect(lambda: self._take([(one.table, one.id) for one in messages]))

    def sync(self, messages: Sequence[SyncMessage]) -> None:
        self.world.effect(lambda: self._take([(str(one.table), str(one.id)) for one in messages]))

    def _take(self, rows: Sequence[tuple[str, str]]) -> None:
        self.asked.extend(rows)
        for _, row_id in rows:
            self.answers.get(row_id, lambda: None)()

    def backlog(self) -> int:
        return 0


@dataclass
class Oms:
    """`ports.Source` and `ports.Rows` over the same rows."""

    tables: dict[str, dict[str, Row]] = field(default_factory=dict)
    puts: dict[str, int] = field(default_factory=dict)  # row -> the number of the put that wrote it last
    clock: int = 0

    def put(self, table: str, *rows: Row) -> None:
        """Rows, or newer versions of them."""
        self.clock += 1
        self.puts |= {str(row["id"]): self.clock for row in rows}
        self.tables.setdefault(table, {}).update({str(row["id"]): row for row in rows})

    def count(self, mapping: TableMapping) -> int:
        return len(self.tables.get(mapping.table, {}))

    def bounds(self, mapping: TableMapping, rows: int) -> list[str]:
        keys = sorted(str(row[chunk_column(mapping)]) for row in self.tables.get(mapping.table, {}).values())
        return keys[rows - 1 :: rows]

    @contextmanager
    def read(self, mapping: TableMapping, ref: ChunkRef) -> Iterator[tuple[str, Iterator[Row]]]:
        snapshot = self.clock + 1
        yield f"{snapshot}:{snapshot}:", iter(self._within(mapping, ref))

    def _within(self, mapping: TableMapping, ref: ChunkRef) -> list[Row]:
        key = chunk_column(mapping)
        return [
            row
            for row in self.tables.get(mapping.table, {}).values()
            if (ref.after is None or str(row[key]) > ref.after) and (ref.upto is None or str(row[key]) <= ref.upto)
        ]

    def changed(self, mapping: TableMapping, ref: ChunkRef, since: str) -> Iterator[tuple[str, int]]:
        """As if a put were a transaction: those after the snapshot."""
        yield from (
            (str(row["id"]), int(str(row["version"]))) for row in self._within(mapping, ref) if self.puts[str(row["id"])] >= int(since)
        )

    def survivors(self) -> dict[str, str]:
        return {
            row_id: str(row["merged_into_patient_id"])
            for row_id, row in self.tables.get("patients", {}).items()
            if row["merged_into_patient_id"]
        }

    def batch_get(self, table: str, ids: Sequence[str]) -> Mapping[str, Row]:
        return {row_id: row for row_id, row in self.tables.get(table, {}).items() if row_id in ids}


class World:
    """All of it, and the steps over it."""

    def __init__(self) -> None:
        self.effects = 0
        self.die_at: int | None = None
        self.dies_after = False
        self.clock = 1_800_000_000.0
        self.files, self.states, self.org = Files(self), States(self), Org(self)
        self.ledger, self.live, self.oms = Ledger(self), Live(self), Oms()
        self.held_up: str | None = None
        mappings, chunks = load_mappings(), Chunks(self.states)
        self.chunks = chunks
        survivors = lambda _migration, _run: self.oms.survivors()  # noqa: E731
        facts = lambda _migration, _run: FACTS  # noqa: E731
        self.plan = Plan(mappings, self.oms, self.files, self.states, self.now)
        self.changes = Changes(mappings, self.oms, self.files, chunks, self.live, self.now)
        absentees = Absentees(mappings, self.files, chunks)
        self.extract = Extract(
            mappings, self.oms, self.files, chunks, facts, survivors, absentees.before, Digests({"k1": b"key"}, "k1"), self.now
        )
        self.load = Load(
            mappings, self.files, chunks, self.states, self.org, self.live, self.ledger, facts, lambda _: self.held_up, self.now
        )
        self.link = Link(mappings, self.files, chunks, self.org, self.live, self.ledger, absentees.of, lambda _: self.held_up, self.now)
        self.verify = Verify(
            mappings,
            self.files,
            chunks,
            self.org,
            self.oms,
            self.live,
            facts,
            survivors,
            absentees.of,
            lambda _: self.held_up,
            self.now,
            looks=(10,),
        )
        self.judge = Judge(mappings, self.files, chunks, "test", self.now)

    def now(self) -> float:
        self.clock += 0.01
        return self.clock

    def effect[T](self, do: Callable[[], T]) -> T:
        """Something that outlives the process."""
        self.effects += 1
        if self.effects == self.die_at and not self.dies_after:
            raise Killed
        result = do()
        if self.effects == self.die_at:
            raise Killed
        return result

    def until_done(self, step: Callable[[ChunkRef], Outcome], ref: ChunkRef, *, steps: int = 60) -> Outcome:
        """Call again as a state machine does; a process that dies is started anew."""
        for _ in range(steps):
            try:
                outcome = step(ref)
            except Killed:
                continue
            except Retryable as fault:
                outcome = Outcome(outcome="wait", wait_seconds=5, reason=str(fault))
            if outcome.outcome not in ("wait", "paused"):
                return outcome
            self.clock += outcome.wait_seconds
        raise AssertionError(f"{ref.name} does not come to an end: {outcome}")

    def whole(self, ref: ChunkRef) -> Outcome:
        """Extract, load, link, verify."""
        extract = self.changes.delta if ref.delta else self.extract.run
        for step in (extract, self.load.run, self.link.run):
            outcome = self.until_done(step, ref)
            if outcome.outcome != "done":
                return outcome
        return self.verified(ref)

    def verified(self, ref: ChunkRef) -> Outcome:
        """Verify."""
        self.until_done(self.changes.run, ref)
        return self.until_done(self.verify.run, ref)


def refused(field_name: str, value: str) -> Callable[[Mapping[str, str]], OmsyncError | None]:
    """Refuse rows with this value."""
    return lambda row: Permanent("a validation rule refused", code="RULE", field=field_name) if row.get(field_name) == value else None


def _flat(record: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """As a query would name it: `Patient__r.OMS_Id__c`."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield f"{name}.OMS_Id__c", str(value["OMS_Id__c"])
        else:
            yield name, _text(value)


def _text(value: object) -> str:
    return "" if value is None else "true" if value is True else "false" if value is False else str(value)
