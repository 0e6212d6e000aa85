"""The blind writer of mirrored records: newest version of each, parents before children, a thousand to a call, no read before.

Salesforce itself refuses what is older than what it has (the version guard, `OMSYNC_STALE`), so any interleaving, redelivery or late load
ends with the newest version, and nothing here needs order, a lock or a ledger.

    write(messages) -> one Result a message
      collapse    of several versions of a record the newest speaks for all
      compile     row -> records; what is not sent by rule is done
      hold back   children of shared parents that are not there yet, as far as the ledger knows; asked only while parents are missing
      rounds      send; then mend what the answers say: fetch and write missing mirrored parents, hand missing shared ones to the
                  synchroniser, tell creates from updates where a field may only be created, repeat lost races as updates
      superseded  a stored version above the OMS's own is no success: somebody wrote a version that does not exist
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import Protocol

from omsync.mapping.compiled import Compiled
from omsync.mapping.errors import TransformError
from omsync.mapping.model import Json, Mappings, Row
from omsync.mapping.outward import Record as Mapped
from omsync.platform.errors import OmsyncError, Permanent, Retryable, Stale
from omsync.sync.consume import NOT_REACHED, Result
from omsync.sync.doors import Outbound
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.ports import RECORDS_PER_COLLECTION, Batch, CreateOnly, DuplicateRecord, MissingParent, Written

#: sending, fetching parents, splitting once more, and one for a race lost meanwhile
ROUNDS = 4
#: attempts at which a child asks for its shared parent; before the first the parent's own event has had its time
ASKING = frozenset({2, 8, 32, 64})
#: parents that come a second, by experience, and seconds that their children wait at most: who comes back sooner comes back in vain
PARENTS_A_SECOND, LONGEST_WAIT = 10, 60.0

type Key = tuple[str, str]  # table, OMS id


class Store(Protocol):
    """Salesforce, as far as the blind writer needs it."""

    def write(self, batches: Sequence[Batch]) -> Iterator[list[list[Written]]]:
        """Send in order, in as few calls as may be; a call, and the outcomes of its batches, each time the next is asked for."""

    def existing(self, sobject: str, ids: Sequence[str]) -> set[str]:
        """Which of these OMS ids are there already?"""

    def versions(self, sobject: str, ids: Sequence[str]) -> dict[str, int]:
        """OMS id -> OMS_Version__c."""

    def attach(self, record_id: str, record: Mapped) -> None:
        """Put text that is too long for its field beside the record; the same text once."""


class Rows(Protocol):
    """The OMS, as far as the blind writer needs it."""

    def batch_get(self, table: str, ids: Sequence[str]) -> Mapping[str, Row]:
        """`{id: row}`."""


class Renderer(Protocol):
    """A mapped record as REST's JSON, constants and lookups included."""

    def __call__(self, record: Mapped, *, creating: bool) -> dict[str, Json]:
        """`creating` False leaves create-only fields out."""


@dataclass(slots=True)
class _Part:
    """One record of a job, and what became of it."""

    record: Mapped
    creating: bool
    turned: bool = False  # Salesforce says that it is the other
    settled: bool = False
    stale: bool = False


@dataclass(slots=True)
class _Job:
    """One row on its way. `parts` are empty if it is not sent by rule."""

    key: Key
    version: int
    row: Row
    parts: list[_Part] = field(default_factory=list)
    fault: OmsyncError | None = None
    skipped: str | None = None
    reached: bool = False
    attempt: int = 0

    @property
    def open(self) -> bool:
        """Is something left to send?"""
        return self.fault is None and self.skipped is None and any(not part.settled for part in self.parts)

    def result(self) -> Result:
        """In the consumer's terms."""
        record = "/".join(self.key)
        if self.fault is not None:
            return Result("failed", self.fault, record)
        if self.skipped is not None:
            return Result("skipped", record=record)
        if self.open:
            return (
                Result("failed", Retryable("lost every race of this batch", code="mirror.raced"), record) if self.reached else NOT_REACHED
            )
        return Result("superseded" if any(part.stale for part in self.parts) else "applied", record=record)


@dataclass(slots=True)
class MirrorWriter:
    """Writes mirrored rows. `time_is_up` is asked before each call to Salesforce."""

    mappings: Mappings
    compiled: Callable[[str], Compiled]
    render: Renderer
    store: Store
    oms: Rows
    sync: Outbound
    time_is_up: Callable[[], bool] = lambda: False
    staff: Container[str] | None = None  # OMS ids that have a User; None: not known
    #: shared records that Salesforce has, as far as the ledger knows -> the OMS id of who stands for them: their own, or a merge's winner's
    standing: Callable[[Sequence[Key]], Mapping[Key, str]] = lambda _: {}
    _wary: bool = False  # the last batch missed shared parents
    _order: dict[str, int] = field(init=False)
    _shared: frozenset[str] = field(init=False)
    _between: frozenset[str] = field(init=False)  # mirrored tables with shared parents

    def __post_init__(self) -> None:
        self._order = {table: place for place, table in enumerate(self.mappings.tables)}
        self._shared = frozenset(mapping.table for mapping in self.mappings if mapping.mode == "shared")
        mirrored = (mapping for mapping in self.mappings if mapping.mode == "mirrored")
        self._between = frozenset(
            one.table for one in mirrored if any(column.references in self._shared for column in one.columns.values())
        )

    def write(self, messages: Sequence[MirrorMessage]) -> list[Result]:
        """One result a message, in order. Raises only what concerns the whole batch."""
        newest = _collapse(messages)
        rows = self._rows(newest.values())
        jobs: dict[Key, _Job] = {}
        results: dict[Key, Result] = {}
        for key, message in newest.items():
            row = message.row if message.row is not None else rows.get(key)
            if row is None:
                results[key] = Result(
                    "failed", Permanent("the OMS has no such row", code="mirror.no_row", record="/".join(key)), "/".join(key)
                )
            else:
                jobs[key] = self._job(key, row)
                jobs[key].attempt = message.attempt
        self._hold_back(jobs)
        self._run(jobs)
        self._pace(job.fault for job in jobs.values())
        results |= {key: jobs[key].result() for key in newest if key in jobs}
        return [results[message.table, message.id] for message in messages]

    # ---------------------------------------------------------------------------------------------------------- preparing
    def _rows(self, messages: Iterable[MirrorMessage]) -> dict[Key, Row]:
        """Rows of messages that bring none."""
        wanted: dict[str, list[str]] = {}
        for message in messages:
            if message.row is None:
                wanted.setdefault(message.table, []).append(message.id)
        return {(table, row_id): row for table, ids in wanted.items() for row_id, row in self.oms.batch_get(table, ids).items()}

    def _job(self, key: Key, row: Row) -> _Job:
        job = _Job(key, int(str(row["version"])), row)
        try:
            records = self.compiled(key[0]).to_salesforce(row, staff=self.staff)
        except TransformError as fault:
            job.fault = fault
            return job
        if not records:
            job.skipped = self.mappings[key[0]].skip_reason(row) or "no target takes it"
        # A first version has never been written, any other has: where that is wrong, Salesforce says so, and it is the other way round. Where
        # that was wrong too (overtaken meanwhile, or another field is missing), the batch is split by a query.
        job.parts = [_Part(record, creating=job.version == 1) for record in records]
        return job

    def _hold_back(self, jobs: dict[Key, _Job]) -> None:
        """Let children of shared parents that are not there wait without a call, and ask for such a parent now and then.

        A call for a child without its parent is wasted, and in a backlog thousands of children are ahead of their parents. The ledger is
        asked where that must be feared: of what was tried before, and while parents are missing. It may know less than Salesforce, never
        more: what it does not know the synchroniser looks at when it is asked for. Where a parent is mirrored, but has shared parents of its
        own, it comes along: either it waits too, or it is there when its child is.
        """
        wary = {key: job for key, job in jobs.items() if job.open and (self._wary or job.attempt)}
        if not wary:
            return
        for table, ids in _by_table(
            {key: None for job in wary.values() for key in self._parents(job, self._between) if key not in jobs}
        ).items():
            for row_id, row in self.oms.batch_get(table, ids).items():
                jobs[table, row_id] = wary[table, row_id] = self._job((table, row_id), row)
        standing = self.standing(list(dict.fromkeys(key for job in wary.values() for key in self._parents(job, self._shared))))
        asking: list[tuple[_Job, MissingParent]] = []
        for job in sorted(wary.values(), key=lambda job: self._order[job.key[0]]):
            for key in self._parents(job, self._shared):
                if key not in standing:
                    job.fault = fault = MissingParent("a shared parent is not there yet", field=key[0], external_id=key[1])
                    if job.attempt in ASKING:
                        asking.append((job, fault))
                elif standing[key] != key[1]:
                    _point_elsewhere([job], key[1], standing[key])
            for key in self._parents(job, self._between):
                if key in wary and isinstance(fault_of_parent := wary[key].fault, MissingParent):
                    job.fault = fault_of_parent
        self._fetch_parents(asking, jobs)

    def _pace(self, faults: Iterable[OmsyncError | None]) -> None:
        """Many missing parents take their time: their children come back when most are there, together rather than in dribs and drabs."""
        missing = [fault for fault in faults if isinstance(fault, MissingParent)]
        self._wary = bool(missing)
        after = min(LONGEST_WAIT, len({fault.external_id for fault in missing}) / PARENTS_A_SECOND)
        for fault in missing:
            fault.after = after

    def _parents(self, job: _Job, tables: Container[str]) -> Iterator[Key]:
        """Whom the job's lookups name, of these tables."""
        for part in job.parts:
            for name, value in part.record.references.items():
                reference = part.record.target.fields[name].references
                if value is not None and reference is not None and reference.table in tables:
                    yield str(reference.table), value

    # ------------------------------------------------------------------------------------------------------------- sending
    def _run(self, jobs: dict[Key, _Job]) -> None:
        """Rounds of sending and mending, until nothing is left that another round could help. `jobs` grows by fetched parents."""
        for _ in range(ROUNDS):
            pending = [job for job in jobs.values() if job.open]
            if not pending or self.time_is_up():
                break
            lacking, unsplit = self._send(pending)
            self._split(unsplit)
            self._fetch_parents(lacking, jobs)
        self._check_versions([job for job in jobs.values() if any(part.stale for part in job.parts)])

    def _send(self, jobs: Sequence[_Job]) -> tuple[list[tuple[_Job, MissingParent]], list[_Part]]:
        """Send all open parts. Returns who lacks a parent, and which parts must be split into creates and updates."""
        lacking: list[tuple[_Job, MissingParent]] = []
        unsplit: list[_Part] = []
        prepared = list(self._batches(jobs))
        calls, members = self.store.write([batch for batch, _ in prepared]), iter([places for _, places in prepared])
        while not self.time_is_up() and (answers := next(calls, None)) is not None:
            for outcomes in answers:
                for (job, part), outcome in zip(next(members), outcomes, strict=True):
                    job.reached = True
                    _settle(job, part, outcome, lacking, unsplit)
                    if part.record.files and outcome.error is None:
                        self._attach(job, part, str(outcome.id))
        return lacking, unsplit

    def _batches(self, jobs: Sequence[_Job]) -> Iterator[tuple[Batch, list[tuple[_Job, _Part]]]]:
        """Open parts as batches of one object and kind, parents before children (of the same table too), siblings beside each other."""
        generations = self._generations(jobs)
        groups: dict[tuple[int, int, int, bool], list[tuple[_Job, _Part]]] = {}
        for job in jobs:
            for place, part in enumerate(job.parts):
                if not part.settled:
                    creating = _has_create_only(part.record) and part.creating
                    groups.setdefault((self._order[job.key[0]], generations[job.key], place, creating), []).append((job, part))
        for _, members in sorted(groups.items(), key=lambda item: item[0]):
            members.sort(key=_beside_siblings)
            for places in batched(members, RECORDS_PER_COLLECTION, strict=False):
                records = [self.render(part.record, creating=part.creating or not _has_create_only(part.record)) for _, part in places]
                target = places[0][1].record.target
                yield Batch(target.object, "upsert", records, target.external_id), list(places)

    def _generations(self, jobs: Sequence[_Job]) -> dict[Key, int]:
        """How many ancestors of its own table a job has among the others: nobody can name a record of the same request."""
        parents = {job.key: list(self._parents(job, {job.key[0]})) for job in jobs}
        found: dict[Key, int] = {}

        def generation(key: Key, seen: frozenset[Key]) -> int:
            if key not in found:
                elders = [parent for parent in parents[key] if parent in parents and parent not in seen]
                found[key] = max((generation(parent, seen | {parent}) + 1 for parent in elders), default=0)
            return found[key]

        return {key: generation(key, frozenset({key})) for key in parents}

    def _attach(self, job: _Job, part: _Part, record_id: str) -> None:
        try:
            self.store.attach(record_id, part.record)
        except OmsyncError as fault:
            job.fault = fault

    # ------------------------------------------------------------------------------------------------------------- mending
    def _split(self, parts: Sequence[_Part]) -> None:
        """Ask which records are there, and send them so."""
        by_object: dict[str, list[_Part]] = {}
        for part in parts:
            by_object.setdefault(part.record.object, []).append(part)
        for sobject, members in by_object.items():
            there = self.store.existing(sobject, [part.record.external_id for part in members])
            for part in members:
                part.creating = part.record.external_id not in there

    def _fetch_parents(self, lacking: Sequence[tuple[_Job, MissingParent]], jobs: dict[Key, _Job]) -> None:
        """Mirrored parents join the next round from a fresh read; shared ones are the synchroniser's, their children come again."""
        wanted: dict[Key, list[_Job]] = {}
        for job, fault in lacking:
            parent = self._parent(job, fault)
            if parent is None or (parent in jobs and jobs[parent].fault is not None):
                job.fault = fault
            elif parent not in jobs:
                wanted.setdefault(parent, []).append(job)
        rows: dict[Key, Row] = {}
        for table, ids in _by_table(wanted).items():
            rows |= {(table, row_id): row for row_id, row in self.oms.batch_get(table, ids).items()}
        standing = self.standing([key for key in wanted if self.mappings[key[0]].mode == "shared"])
        handed: list[SyncMessage] = []
        for key, children in wanted.items():
            if self.mappings[key[0]].mode == "matched":  # a member of staff without a user in this org: the lookup stays empty
                _point_elsewhere(children, key[1], None)
                continue
            if standing.get(key, key[1]) != key[1]:
                _point_elsewhere(children, key[1], standing[key])
                continue
            row = rows.get(key)
            reason = self.mappings[key[0]].skip_reason(row) if row is not None else None
            if row is None:
                _fail(children, Permanent("its parent is not in the OMS", code="mirror.orphan", record="/".join(key)))
            elif reason is not None:
                for child in children:
                    child.fault, child.skipped = None, f"its parent is not sent: {reason}"
            elif self.mappings[key[0]].mode == "mirrored":
                jobs[key] = self._job(key, row)
            else:
                handed += _hand_over(key, children)
        self.sync.send(handed)

    def _parent(self, job: _Job, fault: MissingParent) -> Key | None:
        """Which parent Salesforce missed: it names the id, the record knows the table."""
        wanted = fault.external_id.lower()
        for part in job.parts:
            for name, value in part.record.references.items():
                reference = part.record.target.fields[name].references
                if value == wanted and reference is not None and reference.table is not None:
                    return reference.table, wanted
        return None

    def _check_versions(self, jobs: Sequence[_Job]) -> None:
        """Salesforce first, then the OMS: a stored version above the OMS's own was never the OMS's."""
        stale: dict[tuple[str, str], list[_Job]] = {}
        for job in jobs:
            for part in job.parts:
                if part.stale:
                    stale.setdefault((part.record.object, job.key[0]), []).append(job)
        for (sobject, table), members in stale.items():
            ids = [job.key[1] for job in members]
            stored = self.store.versions(sobject, ids)
            current = self.oms.batch_get(table, ids)
            for job in members:
                row = current.get(job.key[1])
                if row is not None and stored.get(job.key[1], 0) > int(str(row["version"])):
                    record = "/".join(job.key)
                    job.fault = Permanent("Salesforce holds a version that the OMS never had", code="mirror.version_ahead", record=record)


def _collapse(messages: Iterable[MirrorMessage]) -> dict[Key, MirrorMessage]:
    """The newest of each record; between equals the one that brings its row."""
    newest: dict[Key, MirrorMessage] = {}
    for message in messages:
        key = (message.table, message.id)
        known = newest.get(key)
        if known is None or (message.version, message.row is not None) > (known.version, known.row is not None):
            newest[key] = message
    return newest


def _settle(job: _Job, part: _Part, outcome: Written, lacking: list[tuple[_Job, MissingParent]], unsplit: list[_Part]) -> None:
    """One answer of Salesforce."""
    fault = outcome.error
    if fault is None:
        part.settled = True
    elif isinstance(fault, Stale):
        part.settled = part.stale = True
    elif isinstance(fault, MissingParent):
        lacking.append((job, fault))
    elif isinstance(fault, CreateOnly) and _has_create_only(part.record):
        if part.turned:
            unsplit.append(part)
        else:
            part.creating, part.turned = not part.creating, True
    elif isinstance(fault, DuplicateRecord):
        part.creating = False  # another writer was first: once more, as an update
    else:
        fault.record = "/".join(job.key)
        job.fault = fault


def _beside_siblings(member: tuple[_Job, _Part]) -> tuple[str, str]:
    """Salesforce locks a child's parent while it writes the child: siblings in one batch lock it once."""
    job, part = member
    return min((parent or "" for parent in part.record.references.values()), default=""), job.key[1]


def _has_create_only(record: Mapped) -> bool:
    target = record.target
    return any(one.create_only for one in target.fields.values()) or any(constant.create_only for constant in target.constants)


def _fail(jobs: Iterable[_Job], fault: OmsyncError) -> None:
    for job in jobs:
        job.fault = fault


def _hand_over(parent: Key, children: Sequence[_Job]) -> list[SyncMessage]:
    """A shared parent is the synchroniser's, its children come again. They seldom ask for it: as a rule its own event is on its way."""
    _fail(children, MissingParent("a shared parent is on its way", field=parent[0], external_id=parent[1]))
    look = SyncMessage(correlation_id=f"parent.{parent[1]}", origin="parent", table=parent[0], id=parent[1])
    return [look] if any(child.attempt in ASKING for child in children) else []


def _point_elsewhere(jobs: Iterable[_Job], parent: str, other: str | None) -> None:
    for job in jobs:
        for part in job.parts:
            part.record.references.update({name: other for name, value in part.record.references.items() if value == parent})


def _by_table(keys: Mapping[Key, object]) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    for table, row_id in keys:
        tables.setdefault(table, []).append(row_id)
    return tables
