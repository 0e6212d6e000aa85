"""Every value of every row: what Salesforce holds, by Bulk query, against the source, in the mapping's normal form.

Each row's normal values were hashed when it was extracted. Equal hash, and not changed in the OMS since (`changes`): every value is there.
Else the row is read again from both systems as they are now and compared value by value: it is in step, is on its way (looked at again
later), or differs for good, and then table, key and fields are named. So are rows that are new since. Nothing is repaired here except by
asking the live writers to look. A row in quarantine that somebody has mended meanwhile is found too, and released.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import batched
from typing import cast

from omsync.mapping import Compiled, Json, Mappings, Record, Row, TransformError, compile_mapping, differences, row_hash
from omsync.mapping.model import Field
from omsync.migration import absent
from omsync.migration.extract import verified_fields, with_survivors
from omsync.migration.files import read_lines, write_lines
from omsync.migration.kin import Kin
from omsync.migration.load import JOB_SECONDS, hand_over, poll_seconds, within
from omsync.migration.model import ATTEMPTS, ChunkRef, ChunkState, Inquiry, Mismatch, OrgFacts, Outcome, Quarantined
from omsync.migration.ports import Files, Live, Rows, Salesforce
from omsync.migration.states import Chunks
from omsync.salesforce.errors import NotFound
from omsync.salesforce.files import title_of

#: seconds until rows that differ are looked at again: mostly the live writers are done with them in two, at a busy time in minutes
LOOKS = (1, 1, 2, 3, 5, 8, 13, 20, 30, 60, 60)
#: seconds that the live writers have for rows whose parents have come
RECALL_SECONDS = 10
#: the field of a record that another one has the OMS id of
TWICE = "OMS_Id__c: two records have it"
#: rows read again at a time: one query's ids, and not too many long notes
REREAD = 200
#: records whose polymorphic parents are looked up at once
PAGE = 2000

type Records = Mapping[str, dict[str, Json]]  # OMS id -> normal values
type Found = dict[str, Mapping[str, Json]]


def columns_of(compiled: Compiled, sobject: str) -> list[str]:
    """What a query asks for to compare everything."""
    names = ["Id", "OMS_Id__c"]
    for name in verified_fields(compiled, sobject):
        field = compiled.fields(sobject)[name]
        if not _is_list(field):
            names.append(field.path)
    return list(dict.fromkeys(names))


def _is_list(field: Field) -> bool:
    return field.references is not None and field.references.many


@dataclass(slots=True)
class Verify:
    """Verifies chunks. `held_up` says why no new work may begin: paused by an operator, API budget, sync lag."""

    mappings: Mappings
    files: Files
    chunks: Chunks
    salesforce: Salesforce
    oms: Rows
    live: Live
    facts: Callable[[str, int], OrgFacts]
    survivors: Callable[[str, int], Mapping[str, str]]
    absent: Callable[[str, int, str], Collection[str]]  # quarantined rows of a table
    held_up: Callable[[str], str | None]
    now: Callable[[], float] = time.time
    looks: Sequence[int] = LOOKS

    def run(self, ref: ChunkRef) -> Outcome:
        """One step of a chunk."""
        state = self.chunks.read(ref)
        if state.phase == "verified":
            return Outcome()
        if state.phase != "linked":
            return Outcome(outcome="failed", reason=f"the chunk is only {state.phase}")
        begun, calls = self.now(), self.salesforce.calls
        outcome = _Check(self, ref, state).step()
        state.calls += self.salesforce.calls - calls
        state.seconds["verify"] = round(state.seconds.get("verify", 0.0) + self.now() - begun, 3)
        state.failure = outcome.reason if outcome.outcome == "failed" else ""
        self.chunks.write(ref, state)
        return outcome


class _Check:
    """One step of one chunk."""

    def __init__(self, verify: Verify, ref: ChunkRef, state: ChunkState) -> None:
        self._verify, self._ref, self._state = verify, ref, state
        facts = verify.facts(ref.migration, ref.run)
        self._staff = frozenset(facts.staff)
        self._mapping = verify.mappings[ref.table]
        self._compiled = compile_mapping(self._mapping, facts.time_zone)
        self._survivors = verify.survivors(ref.migration, ref.run)
        mine = partial(verify.absent, ref.migration, ref.run, ref.table)
        self._kin = Kin(verify.mappings, self._compiled, verify.salesforce, verify.oms, self._survivors, mine)
        self._objects = [target.object for target in self._mapping.targets]
        self._salesforce_ids: dict[str, str] = {}  # of rows read again
        self._columns = {sobject: columns_of(self._compiled, sobject) for sobject in self._objects}
        self._compared = {
            sobject: tuple(name for name in verified_fields(self._compiled, sobject) if not _is_list(self._compiled.fields(sobject)[name]))
            for sobject in self._objects
        }

    def step(self) -> Outcome:
        if self._mapping.mode in ("embedded", "matched"):
            self._state.verified = self._state.to_send
            self._release(self._kin.complete)  # it came with its parent
            return self._end()
        asked = self._state.tries == 0 and any(inquiry.job for inquiry in self._state.inquiries)
        if not asked and (reason := self._verify.held_up(self._ref.migration)):
            return Outcome(outcome="paused", wait_seconds=30, reason=reason)
        if self._state.quarantined and not self._state.recalled and (called := self._recall()):
            return Outcome(outcome="wait", wait_seconds=RECALL_SECONDS, reason=f"{called} rows in quarantine are tried again")
        if self._state.tries == 0:
            waiting = self._ask()
            if waiting is not None:
                return waiting
            left = self._compare_all()
        else:
            left = {line[0]: line[1] for line in read_lines(self._verify.files, self._name("open"))}
        return self._look_again(left)

    def _name(self, what: str) -> str:
        return f"{self._state.folder}/{what}.jsonl.gz"

    # ----------------------------------------------------------------------------------------------------- the quarantine
    def _recall(self) -> int:
        """Ask the live writers for rows that only waited for a parent, where it has come; and, when somebody has them looked at again, for
        what Salesforce refused: perhaps the org has been mended. -> How many."""
        waited = self._in_quarantine(lambda one: one["code"] == absent.CODE)
        ids = [row_id for part in waited for row_id in self._kin.complete(part)]
        if self._state.reopened:
            ids += [row_id for part in self._in_quarantine(lambda one: bool(one.get("refused"))) for row_id in part]
        hand_over(self._verify.live, self._mapping, ids)
        self._state.handed += len(ids)
        self._state.recalled = True
        return len(ids)

    def _in_quarantine(self, wanted: Callable[[Mapping[str, object]], bool] = lambda _: True) -> Iterator[Sequence[str]]:
        """Ids of the quarantine, a part at a time."""
        lines = read_lines(self._verify.files, self._name("quarantine"))
        yield from batched((str(line["id"]) for line in lines if wanted(line)), REREAD, strict=False)

    # ------------------------------------------------------------------------------------------------------------ by Bulk
    def _ask(self) -> Outcome | None:
        """Start what is not started; None: all answers are there."""
        state = self._state
        if not state.inquiries and state.to_send:
            state.inquiries = [Inquiry(object=sobject) for sobject in self._objects]
        for inquiry in state.inquiries:
            if inquiry.job is None:
                where = within(self._mapping, self._ref, inquiry.object)
                columns = ", ".join(self._columns[inquiry.object])
                inquiry.job = self._verify.salesforce.start_query(f"SELECT {columns} FROM {inquiry.object} WHERE {where}")  # noqa: S608
                inquiry.deadline = self._verify.now() + JOB_SECONDS
        return next((waiting for inquiry in state.inquiries if (waiting := self._look(inquiry)) is not None), None)

    def _look(self, inquiry: Inquiry) -> Outcome | None:
        """None: its answer is there."""
        age = self._verify.now() - (inquiry.deadline - JOB_SECONDS)
        try:
            job = self._verify.salesforce.look(str(inquiry.job), query=True)
            if job.done and job.state not in ("Failed", "Aborted"):
                return None
            if not job.done and age <= JOB_SECONDS:
                return Outcome(outcome="wait", wait_seconds=poll_seconds(age))
            if not job.done:
                self._verify.salesforce.abort(job.id, query=True)
            why = f"a query of {inquiry.object} came to nothing: {job.state}"
        except NotFound:  # results are kept for seven days
            why = f"a query of {inquiry.object} is gone"
        inquiry.job, inquiry.attempt = None, inquiry.attempt + 1
        if inquiry.attempt < ATTEMPTS:
            return Outcome(outcome="wait", wait_seconds=15 * inquiry.attempt, reason=why)
        inquiry.attempt = 0  # a resumed migration tries again
        return Outcome(outcome="failed", reason=why)

    def _compare_all(self) -> dict[str, int]:
        """-> Rows to look at themselves: whose hash is not found, or that changed, or that are new. OMS id -> version."""
        refused = {row_id for part in self._in_quarantine() for row_id in part}
        expected: dict[str, tuple[int, dict[str, str], list[str]]] = {}
        for row_id, version, hashes, *titles in read_lines(self._verify.files, self._name("manifest"), sha256=self._state.manifest_sha256):
            if row_id not in refused:
                expected[row_id] = version, hashes, titles[0] if titles else []
        changed = {row_id: version for row_id, version in read_lines(self._verify.files, self._name("changed")) if row_id not in refused}
        for inquiry in self._state.inquiries:
            self._compare(inquiry, expected)
        left = {row_id: version for row_id, (version, hashes, _) in expected.items() if hashes or row_id in changed}
        self._state.verified = len(expected) - len(left)
        self._release(self._in_step)
        return left | self._arrived({row_id: version for row_id, version in changed.items() if row_id not in expected})

    def _compare(self, inquiry: Inquiry, expected: Mapping[str, tuple[int, dict[str, str], list[str]]]) -> None:
        """Take away the hashes that are found, once each: a second record with the same id is one too many."""
        met: set[str] = set()
        for row_id, salesforce_id, values in self._answers(inquiry):
            known = expected.get(row_id)
            if known is None:
                continue
            digest = row_hash(values, self._compared[inquiry.object])
            if row_id in met:
                known[1][inquiry.object] = "twice"
            elif digest == known[1].get(inquiry.object) and self._beside(salesforce_id, known[2]):
                del known[1][inquiry.object]
            met.add(row_id)

    def _beside(self, salesforce_id: str, titles: Sequence[str]) -> bool:
        """Are these long texts beside the record?"""
        return not titles or set(titles) <= self._verify.salesforce.attached(salesforce_id)

    def _arrived(self, new: Mapping[str, int]) -> dict[str, int]:
        """Count rows that the extract did not have to send: it left them out by rule, or they came since. What an earlier run's signature
        covers stays out."""
        signed = set(read_lines(self._verify.files, self._name("signed"))) if self._ref.delta else set()
        unsent = {row_id: reason for row_id, reason in read_lines(self._verify.files, self._name("unsent")) if row_id in new}
        for reason in unsent.values():
            self._state.excuse(reason, -1)
        found = {row_id: version for row_id, version in new.items() if row_id not in signed}
        self._state.arrived = len(found.keys() - unsent.keys())
        return found

    def _release(self, arrived: Callable[[Sequence[str]], Iterator[str]]) -> None:
        """Rows of the quarantine that are in Salesforce by now, every value: `arrived` tells which."""
        if not self._state.quarantined:
            return
        released = [row_id for part in self._in_quarantine() for row_id in arrived(part)]
        write_lines(self._verify.files, self._name("released"), released)
        self._state.released = len(released)
        self._state.verified += len(released)

    def _in_step(self, ids: Sequence[str]) -> Iterator[str]:
        differing = {one.id for one in self._reread(ids)}
        yield from (row_id for row_id in ids if row_id not in differing)

    def _answers(self, inquiry: Inquiry) -> Iterator[tuple[str, str, dict[str, Json]]]:
        locator: str | None = None
        while True:
            page = self._verify.salesforce.query_page(str(inquiry.job), locator)
            yield from self._normal(inquiry.object, cast("Iterator[Mapping[str, Json]]", page.rows))
            locator = page.locator
            if locator is None:
                return

    def _normal(self, sobject: str, rows: Iterator[Mapping[str, Json]]) -> Iterator[tuple[str, str, dict[str, Json]]]:
        """(OMS id, Salesforce id, normal values); polymorphic parents are looked up a page at a time."""
        polymorphic = [f for f in self._compiled.fields(sobject).values() if f.references is not None and f.references.polymorphic]
        if not polymorphic:
            for row in rows:
                yield str(row["OMS_Id__c"]).lower(), str(row["Id"]), self._compiled.normal_record(sobject, row)
            return
        for page in batched(rows, PAGE, strict=False):
            known: dict[str, str] = {}
            for field in polymorphic:
                wanted = sorted({str(row[field.name]) for row in page if row.get(field.name)})
                if field.references is not None:
                    known |= self._verify.salesforce.oms_ids(field.references.object, wanted)
            for row in page:
                values = self._compiled.normal_record(sobject, row, ids=lambda _, salesforce_id, known=known: known.get(salesforce_id))  # type: ignore[misc]
                yield str(row["OMS_Id__c"]).lower(), str(row["Id"]), values

    # --------------------------------------------------------------------------------------------------------- once more
    def _look_again(self, left: Mapping[str, int]) -> Outcome:
        """Rows that differ from what was extracted, as they are now on both sides."""
        found: list[Mismatch] = []
        state = self._state
        for part in batched(sorted(left), REREAD, strict=False):
            differing = list(self._reread(part))
            state.verified += len(part) - len(differing)
            for mismatch in differing:
                if mismatch.kind == "missing" and mismatch.fields:
                    state.excuse(f"meanwhile: {mismatch.fields[0]}")
                else:
                    found.append(mismatch)
        if state.tries == 0:  # what no waiting brings
            found = self._explained(found, last=False)
        state.tries += 1
        state.open_keys = len(found)
        if found and state.tries <= len(self._verify.looks):
            return self._wait_for({one.id: left[one.id] for one in found})
        final = self._explained(found, last=True)
        write_lines(self._verify.files, self._name("mismatches"), [one.model_dump() for one in final])
        state.missing = sum(one.kind == "missing" for one in final)
        state.mismatched = sum(one.kind == "different" for one in final)
        state.unknown = sum(one.kind == "unknown" for one in final)
        return self._end()

    def _wait_for(self, still: Mapping[str, int]) -> Outcome:
        """The live writers are at work on rows (id -> version extracted), or are asked to be."""
        if self._state.tries == 1:
            hand_over(self._verify.live, self._mapping, sorted(still))
            self._state.handed += len(still)
        write_lines(self._verify.files, self._name("open"), [[row_id, version] for row_id, version in still.items()])
        wait = self._verify.looks[self._state.tries - 1]
        return Outcome(outcome="wait", wait_seconds=wait, reason=f"{len(still)} rows are not in step yet")

    def _reread(self, ids: Sequence[str]) -> Iterator[Mismatch]:
        """Those that differ now too. The OMS first, then Salesforce: what changes in between is looked at again."""
        verify, table = self._verify, self._ref.table
        rows = verify.oms.batch_get(table, list(ids))
        there: dict[str, Found] = {sobject: {} for sobject in self._objects}
        twice: set[str] = set()
        self._salesforce_ids = {}
        for sobject in self._objects:
            answers = verify.salesforce.by_oms_id(sobject, self._columns[sobject], list(ids))
            for row_id, salesforce_id, values in self._normal(sobject, cast("Iterator[Mapping[str, Json]]", answers)):
                if row_id in there[sobject]:
                    twice.add(row_id)
                there[sobject][row_id] = values
                self._salesforce_ids[row_id] = salesforce_id
        for row_id in ids:
            row = rows.get(row_id)
            if row is None:
                yield Mismatch(table=table, id=row_id, kind="unknown")
            elif row_id in twice:
                yield Mismatch(table=table, id=row_id, kind="different", fields=(TWICE,))
            elif mismatch := self._difference(row_id, with_survivors(self._mapping, row, self._survivors), there):
                yield mismatch

    def _difference(self, row_id: str, row: Row, there: Mapping[str, Found]) -> Mismatch | None:
        """None: every value is there. A missing row with a field is one that is not sent any more: the field says why."""
        table = self._ref.table
        is_there = any(row_id in found for found in there.values())
        reason = self._mapping.skip_reason(row)
        if reason is not None and not is_there:
            return Mismatch(table=table, id=row_id, kind="missing", fields=(reason,))
        try:
            records: Sequence[Record] = self._compiled.to_salesforce(row, existing=True, staff=self._staff)
        except TransformError as fault:
            return Mismatch(table=table, id=row_id, kind="unknown", fields=(fault.field or fault.code,), uncarried=fault.message)
        differing: list[str] = []
        for record in records:
            held = there[record.object].get(row_id)
            if held is None:
                return Mismatch(table=table, id=row_id, kind="missing")
            differing += differences(record.values, held, self._compared[record.object])
            if record.files:
                beside = self._verify.salesforce.attached(self._salesforce_ids[row_id])
                differing += [file.field for file in record.files if title_of(file) not in beside]
        return Mismatch(table=table, id=row_id, kind="different", fields=tuple(differing)) if differing else None

    def _explained(self, found: Sequence[Mismatch], *, last: bool) -> list[Mismatch]:
        """Without what a record that is not there explains: a rule's reason is the row's too; else it is in quarantine with it, if that one is or
        has not come until the last look. A row that cannot be carried as it is now is in quarantine, too."""
        blamed = self._kin.blame(found)
        left: list[Mismatch] = []
        orphans: list[Quarantined] = []
        for mismatch in found:
            blame = blamed.get(mismatch.id)
            if blame is not None and blame.reason is not None and mismatch.kind == "missing":
                self._state.excuse(f"its {blame.column} is not sent: {blame.reason}")
            elif mismatch.uncarried:
                [field] = mismatch.fields
                orphans.append(
                    Quarantined(table=self._ref.table, id=mismatch.id, code="not_carried", field=field, message=mismatch.uncarried)
                )
            elif blame is not None and (last or blame.quarantined):
                message = f"its {blame.column} is not in Salesforce{'' if mismatch.kind == 'missing' else '; all else is there'}"
                orphans.append(
                    Quarantined(table=self._ref.table, id=mismatch.id, code="parent_missing", field=blame.column, message=message)
                )
            else:
                left.append(mismatch)
        if orphans:
            known = list(read_lines(self._verify.files, self._name("orphans"))) if self._state.orphaned else []
            write_lines(self._verify.files, self._name("orphans"), [*known, *(one.model_dump() for one in orphans)])
            self._state.orphaned += len(orphans)
        return left

    def _end(self) -> Outcome:
        state = self._state
        state.phase, state.open_keys = "verified", 0
        state.finished_at["verify"] = self._verify.now()
        return Outcome()
