"""A chunk into Salesforce: Bulk API 2.0 inserts of rows that are not there yet, one step a call; whoever calls does the waiting.

    begin    ask what is there already (the live writers' from now on), save the intent, create the job, save its id, upload, close
    look     wait for a final state until the deadline, then abort: what was processed stays
    collect  match all three result sets by external id, write the ledger's items, hand over or quarantine what failed, and send again
             what was not processed or lost a lock. What the org refuses, whatever the row, stops the chunk until somebody has mended the org

Whatever dies, and wherever: a job whose id was saved is looked at; one whose id was lost holds no upload, so it is adopted by whoever
needs an open job next (an id is claimed before it is used, so that two never use one).
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from omsync.mapping import File, Mappings, TableMapping
from omsync.migration.files import csv_content, csv_ids, read_lines, read_notes, write_lines, write_notes
from omsync.migration.model import ATTEMPTS, ChunkRef, ChunkState, OrgFacts, Outcome, Part, Quarantined
from omsync.migration.ports import Files, Ledger, Live, Salesforce, States
from omsync.migration.source import chunk_path
from omsync.migration.states import Chunks
from omsync.platform.errors import OmsyncError, Permanent, Retryable, Stale
from omsync.platform.telemetry import logger
from omsync.salesforce.bulk import Job
from omsync.salesforce.errors import NotFound
from omsync.salesforce.query import in_list, quote
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.ports import DuplicateRecord, MissingParent
from omsync.sync.records import Item, Lease, Mark, RecordKey
from omsync.sync.rules import MappedRegistry, Org

#: how long a job may take: 10,000 rows take minutes, and Salesforce gives up on a batch by itself
JOB_SECONDS = 3600.0
#: seconds between two looks at a job: short at first, a minute at most
POLL = (1, 2, 3, 5, 8, 13, 20, 30, 60)
#: records, and characters of them, of one REST call
REST_ROWS, REST_SIZE = 200, 3_000_000
#: seconds a step goes on making calls: well within a Lambda's fifteen minutes
STEP_SECONDS = 300.0
#: refusals that are the org's, whatever the row: the chunk fails, and a resumed migration sends it again; quarantine would keep out all that
#: belongs to it, too. A code that one row may get by itself (a trigger's exception, a parent that is there twice) is none of them
ORG_FAULTS = frozenset(
    {
        "STORAGE_LIMIT_EXCEEDED",
        "LICENSE_LIMIT_EXCEEDED",
        "LIMIT_EXCEEDED",
        "INSUFFICIENT_ACCESS",
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "INVALID_TYPE",  # no such object for the load user
        "NOT_FOUND",
        "INVALID_FIELD_FOR_INSERT_UPDATE",  # it may only be read
    }
)
#: and any other code that so many of the rows get: bad data is a few rows in a hundred, everybody's fault is a rule or trigger of others.
#: A handful of rows says nothing of the kind
ORG_SHARE, ORG_SAMPLE = 0.2, 50
#: save count of a record that was inserted and never written since
INSERTED = 1
#: how long nobody else may insert a record that has no unique key: longer than any job
LEASE_SECONDS = 2 * JOB_SECONDS


def poll_seconds(age: float) -> int:
    """How long to wait until the next look at a job of that age, in seconds."""
    return next((step for step in POLL if step * 3 >= age), POLL[-1])


def within(mapping: TableMapping, ref: ChunkRef, object_name: str) -> str:
    """SOQL's condition for the records of a chunk."""
    path, parts = chunk_path(mapping), ["OMS_Id__c != null"]
    if ref.after is not None:
        parts.append(f"{path} > {quote(ref.after)}")
    if ref.upto is not None:
        parts.append(f"{path} <= {quote(ref.upto)}")
    types = mapping.target(object_name).record_types
    if types:
        parts.append(f"RecordType.DeveloperName IN {in_list(types)}")
    return " AND ".join(parts)


@dataclass(slots=True)
class Load:
    """Loads chunks. `held_up` says why no new work may begin: paused by an operator, API budget, sync lag."""

    mappings: Mappings
    files: Files
    chunks: Chunks
    states: States
    salesforce: Salesforce
    live: Live
    ledger: Ledger
    facts: Callable[[str, int], OrgFacts]
    held_up: Callable[[str], str | None]
    now: Callable[[], float] = time.time

    def run(self, ref: ChunkRef) -> Outcome:
        """One step of a chunk."""
        state = self.chunks.read(ref)
        if state.phase == "planned":
            return Outcome(outcome="failed", reason="not extracted")
        if state.phase != "extracted":
            return Outcome()
        begun, calls = self.now(), self.salesforce.calls
        outcome = self._step(ref, state)
        state.calls += self.salesforce.calls - calls
        state.seconds["load"] = round(state.seconds.get("load", 0.0) + self.now() - begun, 3)
        state.failure = outcome.reason if outcome.outcome == "failed" else ""
        self.chunks.write(ref, state)
        return outcome

    def _step(self, ref: ChunkRef, state: ChunkState) -> Outcome:
        for part in state.parts:
            if part.done:
                continue
            work = _PartWork(self, ref, state, part)
            outcome = work.bulk() if part.kind == "bulk" else work.rest()
            if outcome is not None:
                return outcome
        state.phase = "loaded"
        state.finished_at["load"] = self.now()
        return Outcome()


class _PartWork:
    """One step of one part. `None` means that the part is done."""

    def __init__(self, load: Load, ref: ChunkRef, state: ChunkState, part: Part) -> None:
        self._load, self._ref, self._state, self._part = load, ref, state, part
        self._mapping = load.mappings[ref.table]
        self._shared = self._mapping.mode == "shared"
        self._leased = self._shared and not self._mapping.has_sync_fields
        self._worker = uuid.uuid4().hex[:8]
        self._ids: set[str] | None = None
        self._answered, self._refusals = 0, Counter[str]()  # rows that Salesforce answered in this step; refused ones by code

    # ------------------------------------------------------------------------------------------------------------ by Bulk
    def bulk(self) -> Outcome | None:
        """Begin, look or collect."""
        if self._part.job is None:
            return self._begin()
        try:
            return self._look(self._part.job)
        except NotFound:  # kept for seven days, or deleted: what it inserted is found as what anybody else did
            self._part.job, self._part.intent = None, None
            return Outcome(outcome="wait", wait_seconds=1, reason="the job is gone")

    def _look(self, job_id: str) -> Outcome | None:
        job = self._load.salesforce.look(job_id)
        if job.state == "Open":  # nobody knows whether the upload was whole
            self._load.salesforce.abort(job.id)
            self._part.job = None
            return Outcome(outcome="wait", wait_seconds=1)
        if job.done:
            return self._collect(job)
        if self._load.now() > self._part.deadline:
            self._load.salesforce.abort(job.id)
            return Outcome(outcome="wait", wait_seconds=2, reason="job timed out")
        return Outcome(outcome="wait", wait_seconds=poll_seconds(self._load.now() - (self._part.deadline - JOB_SECONDS)))

    def _begin(self) -> Outcome | None:
        if reason := self._load.held_up(self._ref.migration):
            return Outcome(outcome="paused", wait_seconds=30, reason=reason)
        loaded, handed = self._noted()
        refused = {one.id for one in self._quarantine()}
        there = self._load.salesforce.present(self._part.object, within(self._mapping, self._ref, self._part.object))
        content, ids = csv_content(self._load.files, self._part, frozenset(there | handed | refused | loaded.keys()))
        with content:
            known = self._known_elsewhere(ids, there, loaded)
            if self._leased and ids:
                content.close()
                known |= self._take_leases(ids)
                content, ids = csv_content(self._load.files, self._part, frozenset(there | handed | refused | loaded.keys() | known))
            self._leave(known)
            if not ids:
                self._finish()
                return None
            self._part.intent = self._part.intent or str(uuid.uuid4())
            self._part.submitted = len(ids)
            self._part.deadline = self._load.now() + JOB_SECONDS
            self._save()
            self._part.job = self._job()
            self._save()
            with content as stream:
                self._upload(self._part.job, stream)
        return Outcome(outcome="wait", wait_seconds=1)

    def _upload(self, job: str, content: IO[bytes]) -> None:
        """A job that somebody ended meanwhile takes no upload; what became of it is collected like any other's results."""
        try:
            self._load.salesforce.upload(job, content)
        except Permanent:
            if not self._load.salesforce.look(job).done:
                raise

    def _known_elsewhere(self, ids: set[str], there: set[str], loaded: Mapping[str, str]) -> set[str]:
        """Rows of this part that somebody else has inserted."""
        others = there - loaded.keys()
        return others & self._all_ids() - ids if others else set()

    def _all_ids(self) -> set[str]:
        if self._ids is None:
            self._ids = csv_ids(self._load.files, self._part)
        return self._ids

    def _job(self) -> str:
        """An open job nobody has claimed: one whose creator never learned its id, else a new one."""
        for job in self._load.salesforce.abandoned_jobs(self._part.object, self._load.now() - JOB_SECONDS):
            if self._claim(job):
                return job
        while True:
            job = self._load.salesforce.create_job(self._part.object)
            if self._claim(job):
                return job

    def _claim(self, job: str) -> bool:
        return self._load.states.claim(f"migration/{self._ref.migration}/job/{job}", self._ref.key)

    # --------------------------------------------------------------------------------------------------------- collecting
    def _collect(self, job: Job) -> Outcome | None:
        submitted = self._all_ids()
        loaded = dict(self._load.salesforce.succeeded(job.id))
        failed = dict(self._load.salesforce.failed(job.id))
        if strangers := (loaded.keys() | failed.keys()) - submitted:
            raise Permanent(f"{len(strangers)} results of rows that were never sent", code="migration.equation", record=self._ref.name)
        again = self._settle(loaded, failed)
        last = self._part.attempt + 1 >= ATTEMPTS
        if last:
            self._give_up(again)
        before, handed = self._noted()
        left = submitted - before.keys() - handed - {one.id for one in self._quarantine()}
        self._part.unprocessed = len(left)
        if not left:
            self._finish()
            return None
        self._part.job, self._part.intent = None, None
        if self._org_faults():
            return self._stopped_by_org()
        self._part.attempt += 1
        if last:
            self._part.attempt = 0  # a resumed migration tries again
            why = f": {job.error[:120]}" if job.error else ""
            return Outcome(outcome="failed", reason=f"{len(left)} rows of {self._part.object} unprocessed after {ATTEMPTS} jobs{why}")
        return Outcome(outcome="wait", wait_seconds=min(60, 2**self._part.attempt))

    def _give_up(self, ids: set[str]) -> None:
        """Rows that lost every lock, or met an unknown error each time, must not stop their neighbours: the live writers have more patience,
        and a Case for what never succeeds."""
        if self._leased:
            self._give_back(ids)
        self._leave(ids)

    def _settle(self, loaded: Mapping[str, str], failed: Mapping[str, OmsyncError], bare: Collection[str] = ()) -> set[str]:
        """Everything a job's results ask for. `bare`: loaded without their files. -> Rows to send again. The org's faults change nothing."""
        before, handed = self._noted()
        again: set[str] = set()
        late: set[str] = set()
        refused: list[Quarantined] = []
        self._answered += len(loaded) + len(failed)
        self._refusals.update(fault.code for fault in failed.values() if isinstance(fault, Permanent))
        orgs = self._org_faults()
        for row_id, fault in failed.items():
            if isinstance(fault, DuplicateRecord | MissingParent | Stale):
                late.add(row_id)
            elif isinstance(fault, Retryable):
                again.add(row_id)
            elif fault.code not in orgs:
                refused.append(self._refused(row_id, fault))
        if self._shared and loaded:
            self._tell_ledger(loaded, bare)
        self._hand_over(late - handed)
        self._add_quarantine(refused)
        if self._leased:  # the next job is the same holder and may send the rest; the next call is not
            self._give_back(failed.keys() if self._part.kind == "rest" else late | {one.id for one in refused})
        self._note({**before, **loaded}, handed | late)
        return again

    def _refused(self, row_id: str, fault: OmsyncError) -> Quarantined:
        field = fault.field if isinstance(fault, Permanent) else None
        return Quarantined(table=self._ref.table, id=row_id, code=fault.code, field=field, message=fault.message, refused=True)

    def _org_faults(self) -> dict[str, int]:
        """Code -> rows refused with it in this step, where a person must mend the org and no row."""
        limit = self._answered * ORG_SHARE if self._answered >= ORG_SAMPLE else self._answered
        return {code: rows for code, rows in self._refusals.items() if code in ORG_FAULTS or rows > limit}

    def _stopped_by_org(self) -> Outcome:
        self._part.attempt = 0
        said = ", ".join(f"{rows:,} rows with {code}" for code, rows in self._org_faults().items())
        return Outcome(outcome="failed", reason=f"the org refuses {self._part.object}: {said}")

    def _finish(self) -> None:
        """The equation of the part, by key set."""
        part, ids = self._part, self._all_ids() if self._part.kind == "bulk" else {line[0] for line in self._lines()}
        loaded, handed = self._noted()
        refused = {one.id for one in self._quarantine()} & ids
        part.succeeded, part.there, part.failed = len(loaded.keys() & ids), len(handed & ids), len(refused)
        part.submitted, part.unprocessed = len(ids), len(ids - loaded.keys() - handed - refused)
        if part.unprocessed or part.submitted != part.succeeded + part.there + part.failed:
            raise Permanent(
                f"submitted {part.submitted} is not succeeded {part.succeeded} + already there {part.there} + failed {part.failed}",
                code="migration.equation",
                record=self._ref.name,
            )
        part.done = True

    # ------------------------------------------------------------------------------------------------------------ by REST
    def rest(self) -> Outcome | None:
        """What Bulk cannot carry: several calls a step, and as many steps as it takes."""
        if reason := self._load.held_up(self._ref.migration):
            return Outcome(outcome="paused", wait_seconds=30, reason=reason)
        loaded, handed = self._noted()
        settled = loaded.keys() | handed | {one.id for one in self._quarantine()}
        there = self._load.salesforce.present(self._part.object, within(self._mapping, self._ref, self._part.object))
        mine = {str(line[0]) for line in self._lines()}
        self._leave((there & mine) - settled)
        todo = mine - there - settled
        self._save()  # whoever else is at it goes no further than this
        again: set[str] = set()
        until = self._load.now() + STEP_SECONDS
        for group in _calls(line for line in self._lines() if line[0] in todo):
            if self._load.now() > until:
                return Outcome(outcome="wait", wait_seconds=1)
            again |= self._rest_call(group)
            if self._org_faults():
                return self._stopped_by_org()
        self._part.attempt += 1
        if self._part.attempt >= ATTEMPTS:
            self._give_up(again)
            again = set()
        if not again:
            self._finish()
            return None
        return Outcome(outcome="wait", wait_seconds=2**self._part.attempt)

    def _rest_call(self, lines: Sequence[Sequence[Any]]) -> set[str]:
        if self._leased:
            known = self._take_leases(line[0] for line in lines)
            self._leave(known)
            lines = [line for line in lines if line[0] not in known]
        bodies = [dict(line[1]) for line in lines if isinstance(line[1], Mapping)]
        answers = self._load.salesforce.create(self._part.object, bodies)
        loaded: dict[str, str] = {}
        failed: dict[str, OmsyncError] = {}
        for line, answer in zip(lines, answers, strict=True):
            row_id = str(line[0])
            if answer.error is not None:
                failed[row_id] = answer.error
                continue
            loaded[row_id] = str(answer.id)
        bare = {line[0] for line in lines if line[0] in loaded and not self._attach(loaded[line[0]], line[2])}
        return self._settle(loaded, failed, bare)

    def _attach(self, record_id: str, files: Iterable[Sequence[str]]) -> bool:
        """Text beside a record, before the ledger says that it is there: the live writers believe it. What fails verification misses, and
        they see to."""
        try:
            for name, path, text in files:
                self._load.salesforce.attach(record_id, File(name, path, text))
        except OmsyncError as fault:
            logger.warning("not attached", action="load", chunk=self._ref.name, code=fault.code)
            return False
        return True

    def _lines(self) -> Iterator[list[Any]]:
        yield from read_lines(self._load.files, self._part.file, sha256=self._part.sha256)

    # ------------------------------------------------------------------------------------------------- the ledger's items
    def _tell_ledger(self, loaded: Mapping[str, str], bare: Collection[str]) -> None:
        """Items of what was inserted; of a record without its files none says that they are attached."""
        fingerprint = self._fingerprint()
        items: list[Item] = []
        for row_id, sobject, version, base, files in read_lines(self._load.files, f"{self._state.folder}/ledger.jsonl.gz"):
            if row_id in loaded:
                marks = {unit: Mark(digest, 0, edited_at) for unit, (digest, edited_at) in base.items()}
                item = Item(
                    key=RecordKey(self._ref.table, row_id),
                    object=sobject,
                    salesforce_id=loaded[row_id],
                    version=version,
                    save=0 if self._leased else INSERTED,
                    base=marks,
                    files="" if row_id in bare else files,
                    mapping=fingerprint,
                )
                items.append(item)
        if self._leased:
            self._load.ledger.inserted(items, self._holder)
        else:
            self._load.ledger.save(items)  # they must be new: a live writer that was quicker knows better

    def _fingerprint(self) -> str:
        facts = self._load.facts(self._ref.migration, self._ref.run)
        org = Org(ids=facts.ids, certified_run=facts.certified_run, staff=frozenset(facts.staff), time_zone=facts.time_zone)
        rules = MappedRegistry(self._load.mappings, org).shared(self._ref.table)
        return rules.fingerprint if rules is not None else ""

    @property
    def _holder(self) -> str:
        """Of leases. A job is one, whoever looks at it; calls are this process's, and what another one has under way is not ours to repeat."""
        mine = f"{self._ref.key}#{self._part.file.rpartition('/')[2]}"
        return mine if self._part.kind == "bulk" else f"{mine}#{self._worker}"

    def _take_leases(self, ids: Iterable[str]) -> set[str]:
        """Where Salesforce has no unique key for a live writer to run into, the ledger's item is taken first. -> Rows others know."""
        lease = Lease(self._holder, int((self._load.now() + LEASE_SECONDS) * 1_000_000))
        keys = [RecordKey(self._ref.table, row_id) for row_id in sorted(ids)]
        taken = self._load.ledger.save([Item(key=key, object=self._part.object, lease=lease) for key in keys])
        doubtful = [key for key, ours in zip(keys, taken, strict=True) if not ours]
        renewed = self._load.ledger.renew(doubtful, lease)
        return {key.id for key, ours in zip(doubtful, renewed, strict=True) if not ours}

    def _give_back(self, ids: Collection[str]) -> None:
        """Nothing is on its way: the live writers may try."""
        if ids:
            self._load.ledger.release([RecordKey(self._ref.table, row_id) for row_id in ids], self._holder)

    # -------------------------------------------------------------------------------------------------------------- notes
    def _noted(self) -> tuple[dict[str, str], set[str]]:
        """What became of this part's rows so far."""
        return read_notes(self._load.files, self._part.file)

    def _note(self, loaded: Mapping[str, str], handed: set[str]) -> None:
        write_notes(self._load.files, self._part.file, loaded, handed)

    def _quarantine(self) -> list[Quarantined]:
        name = f"{self._state.folder}/quarantine.jsonl.gz"
        return [Quarantined.model_validate(line) for line in read_lines(self._load.files, name)]

    def _add_quarantine(self, refused: Sequence[Quarantined]) -> None:
        known = {one.id: one for one in self._quarantine()}
        fresh = [one for one in refused if one.id not in known]
        if fresh:
            lines = [one.model_dump() for one in (*known.values(), *fresh)]
            write_lines(self._load.files, f"{self._state.folder}/quarantine.jsonl.gz", lines)
        extracted = self._state.quarantined + self._state.to_send
        self._state.quarantined = len(known) + len(fresh)
        self._state.to_send = extracted - self._state.quarantined

    def _leave(self, ids: Collection[str]) -> None:
        """Rows that are the live writers' from now on."""
        if ids:
            self._hand_over(ids)
            loaded, handed = self._noted()
            self._note(loaded, handed.union(ids))

    def _hand_over(self, ids: Iterable[str]) -> None:
        wanted = sorted(ids)
        hand_over(self._load.live, self._mapping, wanted)
        self._state.handed += len(wanted)

    def _save(self) -> None:
        self._load.chunks.write(self._ref, self._state)


def _calls(lines: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    """As many lines as one call may carry."""
    group: list[list[Any]] = []
    size = 0
    for line in lines:
        length = sum(len(value) for value in line[1].values() if isinstance(value, str))
        if group and (len(group) == REST_ROWS or size + length > REST_SIZE):
            yield group
            group, size = [], 0
        group.append(line)
        size += length
    if group:
        yield group


def hand_over(live: Live, mapping: TableMapping, ids: Iterable[str], versions: Mapping[str, int] | None = None) -> None:
    """Enqueue ids; the live writers read the rows themselves."""
    known = versions or {}
    if mapping.mode == "shared":
        live.sync([SyncMessage(correlation_id=f"migration.{row_id}", origin="migration", table=mapping.table, id=row_id) for row_id in ids])
    elif mapping.mode in ("mirrored", "matched"):
        live.mirror(
            [
                MirrorMessage(
                    correlation_id=f"migration.{row_id}", origin="migration", table=mapping.table, id=row_id, version=known.get(row_id, 2)
                )
                for row_id in ids
            ]
        )
