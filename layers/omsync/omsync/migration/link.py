"""The second pass: references to the own table, once all of the table's records are there.

What the load inserted is updated by the load user under the same guards as every write: of a mirrored record Salesforce refuses an older
`OMS_Version__c`, of a shared one any save but the insert's own (`Sync_Seen__c`), so that nothing written since is overwritten; whom somebody
else wrote meanwhile is the live writers'. What lost a lock is tried again, by itself: a shared record that is written already would pass for
somebody else's the second time. A reference to a row in quarantine is left out: nobody can make it, and verification puts the row
into quarantine with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from omsync.mapping import Mappings, TableMapping
from omsync.migration.files import read_lines, read_notes, write_lines
from omsync.migration.load import INSERTED, hand_over
from omsync.migration.model import ATTEMPTS, ChunkRef, ChunkState, Outcome
from omsync.migration.ports import Files, Ledger, Live, Salesforce
from omsync.migration.states import Chunks
from omsync.platform.errors import Retryable, Stale
from omsync.sync.ports import MissingParent
from omsync.sync.records import RecordKey

#: records of one Composite call
ROWS = 1000


@dataclass(slots=True)
class Link:
    """Links chunks."""

    mappings: Mappings
    files: Files
    chunks: Chunks
    salesforce: Salesforce
    live: Live
    ledger: Ledger
    absent: Callable[[str, int, str], Collection[str]]  # quarantined rows of a table
    held_up: Callable[[str], str | None]
    now: Callable[[], float] = time.time

    def run(self, ref: ChunkRef) -> Outcome:
        """Link a chunk; may be repeated."""
        state = self.chunks.read(ref)
        if state.phase in ("planned", "extracted"):
            return Outcome(outcome="failed", reason="not loaded")
        if state.phase != "loaded":
            return Outcome()
        if state.second_pass and (reason := self.held_up(ref.migration)):
            return Outcome(outcome="paused", wait_seconds=30, reason=reason)
        begun, calls = self.now(), self.salesforce.calls
        again = state.second_pass > 0 and self._link(ref, state)
        state.calls += self.salesforce.calls - calls
        state.seconds["link"] = round(state.seconds.get("link", 0.0) + self.now() - begun, 3)
        if not again:
            state.phase = "linked"
            state.finished_at["link"] = self.now()
        self.chunks.write(ref, state)
        return Outcome(outcome="wait", wait_seconds=2**state.relinked) if again else Outcome()

    def _link(self, ref: ChunkRef, state: ChunkState) -> bool:
        """-> Is something to be tried again? What is not ours the live writers have been asked for by the load."""
        mapping, lost = self.mappings[ref.table], list[Any]()
        for sobject, members in _by_object(self._lines(ref, state)).items():
            ours = {row_id: record_id for part in state.parts if part.object == sobject for row_id, record_id in self._loaded(part.file)}
            for group in batched((line for line in members if line[0] in ours), ROWS, strict=False):
                lost += self._update(mapping, state, group, ours)
        state.relinked += 1
        if lost and state.relinked < ATTEMPTS:
            write_lines(self.files, _unlinked(state), [[line[2], line[0]] for line in lost])
            return True
        self._leave(mapping, state, lost)
        return False

    def _lines(self, ref: ChunkRef, state: ChunkState) -> Iterator[Any]:
        """[id, version, object, fields] that can be written, of all rows or of those that lost a lock the last time."""
        absent = self.absent(ref.migration, ref.run, ref.table)
        lost = {(sobject, row_id) for sobject, row_id in read_lines(self.files, _unlinked(state))} if state.relinked else None
        for line in read_lines(self.files, f"{state.folder}/second.jsonl.gz"):
            if not _refers_to(line[3], absent) and (lost is None or (line[2], line[0]) in lost):
                yield line

    def _update(self, mapping: TableMapping, state: ChunkState, lines: Sequence[Any], ids: Mapping[str, str]) -> list[Any]:
        """-> Lines that lost a lock."""
        guarded, sobject = mapping.has_sync_fields, str(lines[0][2])
        seen = {"Sync_Seen__c": INSERTED} if guarded else {}
        answers = self.salesforce.update(sobject, [{**_without_id(line[3]), **seen, "Id": ids[line[0]]} for line in lines])
        lost, late, written = list[Any](), list[Any](), list[RecordKey]()
        for line, answer in zip(lines, answers, strict=True):
            if answer.error is None:
                written.append(RecordKey(mapping.table, str(line[0])))
            elif isinstance(answer.error, Stale) and not guarded:
                continue  # a newer version is there
            elif isinstance(answer.error, Retryable) and not isinstance(answer.error, MissingParent):
                lost.append(line)
            else:  # also what cannot be written: verification names it if the live writer fails as well
                late.append(line)
        if guarded:
            self.ledger.saved_again(written)
        self._leave(mapping, state, late)
        return lost

    def _leave(self, mapping: TableMapping, state: ChunkState, lines: Sequence[Any]) -> None:
        """Rows that are the live writers' from now on."""
        versions = {str(line[0]): int(line[1]) for line in lines}
        hand_over(self.live, mapping, versions, versions)
        state.handed += len(versions)

    def _loaded(self, file: str) -> Iterable[tuple[str, str]]:
        return read_notes(self.files, file)[0].items()


def _unlinked(state: ChunkState) -> str:
    return f"{state.folder}/unlinked.jsonl.gz"


def _by_object(lines: Iterable[Any]) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for line in lines:
        found.setdefault(str(line[2]), []).append(line)
    return found


def _refers_to(body: Mapping[str, object], absent: Collection[str]) -> bool:
    return any(isinstance(value, Mapping) and value.get("OMS_Id__c") in absent for value in body.values())


def _without_id(body: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if name != "OMS_Id__c"}
