"""The second pass: references to the own table, once all of the table's records are there.

A reference to a row in quarantine is left out: nobody can make it, and verification puts the row into quarantine with it.

Mirrored records are updated with their own columns and the extract's `OMS_Version__c`, so that Salesforce's version guard refuses what is
late; shared ones go through the synchroniser.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from omsync.mapping import Mappings
from omsync.migration.files import read_lines
from omsync.migration.load import hand_over
from omsync.migration.model import ChunkRef, Outcome
from omsync.migration.ports import Files, Live, Salesforce
from omsync.migration.states import Chunks
from omsync.platform.errors import Retryable, Stale
from omsync.sync.ports import MissingParent

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
        mapping, again = self.mappings[ref.table], 0
        if state.second_pass:
            absent = self.absent(ref.migration, ref.run, ref.table)
            lines = (line for line in read_lines(self.files, f"{state.folder}/second.jsonl.gz") if not _refers_to(line[3], absent))
            if mapping.mode == "shared":
                hand_over(self.live, mapping, sorted({str(line[0]) for line in lines}))
            else:
                for group in batched(lines, ROWS, strict=False):
                    again += self._update(ref, group)
        state.calls += self.salesforce.calls - calls
        state.seconds["link"] = round(state.seconds.get("link", 0.0) + self.now() - begun, 3)
        if not again:
            state.phase = "linked"
            state.finished_at["link"] = self.now()
        self.chunks.write(ref, state)
        return Outcome(outcome="wait", wait_seconds=5) if again else Outcome()

    def _update(self, ref: ChunkRef, lines: Sequence[Any]) -> int:
        """-> How many lost a lock and must be tried again."""
        by_object: dict[str, list[Any]] = {}
        for line in lines:
            by_object.setdefault(str(line[2]), []).append(line)
        again = 0
        for sobject, members in by_object.items():
            ids = [str(line[0]) for line in members]
            found = {str(row["OMS_Id__c"]).lower(): str(row["Id"]) for row in self.salesforce.by_oms_id(sobject, ["Id", "OMS_Id__c"], ids)}
            versions = {str(line[0]): int(line[1]) for line in members}
            records = [{**_without_id(line[3]), "Id": found[line[0]]} for line in members if line[0] in found]
            late = [row_id for row_id in ids if row_id not in found]
            sent = [row_id for row_id in ids if row_id in found]
            for row_id, answer in zip(sent, self.salesforce.update(sobject, records), strict=True):
                if isinstance(answer.error, MissingParent):
                    late.append(row_id)
                elif isinstance(answer.error, Retryable):
                    again += 1
                elif answer.error is not None and not isinstance(answer.error, Stale):
                    late.append(row_id)  # verification names it if the live writer fails as well
            hand_over(self.live, self.mappings[ref.table], late, versions)
        return again


def _refers_to(body: Mapping[str, object], absent: Collection[str]) -> bool:
    return any(isinstance(value, Mapping) and value.get("OMS_Id__c") in absent for value in body.values())


def _without_id(body: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if name != "OMS_Id__c"}
