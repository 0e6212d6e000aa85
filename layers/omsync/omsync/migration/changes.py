"""What changed in the OMS since a chunk was extracted: verification compares these rows as they are now, not as they were.

`run` writes a chunk's changed rows down just before it is verified. It goes by the transactions that the chunk's snapshot had not seen
for certain (`change_xid`), so it may name a row too many and never one too few, and it names rows that are new.

`delta` is run 4's look at the runs before: each of their chunks once more (`ChunkRef.delta`), with nothing but what changed since it was
extracted. The live writers are asked for these rows, and verification compares them. Runs beside the database.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import batched

from omsync.mapping import Mappings
from omsync.migration import absent
from omsync.migration.files import write_lines
from omsync.migration.load import hand_over
from omsync.migration.model import ChunkRef, ChunkState, Outcome
from omsync.migration.ports import Files, Live, Source
from omsync.migration.states import Chunks
from omsync.platform.errors import Permanent

#: rows handed to the live writers at a time
PART = 1000


@dataclass(slots=True)
class Changes:
    """Finds what changed in chunks."""

    mappings: Mappings
    source: Source
    files: Files
    chunks: Chunks
    live: Live
    now: Callable[[], float] = time.time

    def run(self, ref: ChunkRef) -> Outcome:
        """Write down what verification has to look at itself."""
        state = self.chunks.read(ref)
        if state.phase == "linked" and state.tries == 0:  # else it has begun to look already
            found = self.source.changed(self.mappings[ref.table], ref, since(state))
            write_lines(self.files, f"{state.folder}/changed.jsonl.gz", found)
        return Outcome()

    def delta(self, ref: ChunkRef) -> Outcome:
        """Hand over what changed since the chunk was extracted in its own run."""
        state = self.chunks.read(ref)
        if state.phase != "planned":
            return Outcome()
        mapping = self.mappings[ref.table]
        first = self.chunks.read(ref.model_copy(update={"run": mapping.run, "delta": False}))
        if first.phase == "planned":
            raise Permanent(f"run {mapping.run} has not extracted it", code="migration.order", record=ref.name)
        begun = self.now()
        state.folder, state.snapshot = f"{ref.folder}/{uuid.uuid4().hex[:8]}", first.snapshot
        write_lines(self.files, f"{state.folder}/signed.jsonl.gz", sorted(absent.quarantined(self.files, first)))
        for part in batched(self.source.changed(mapping, ref, since(first)), PART, strict=False):
            hand_over(self.live, mapping, [row_id for row_id, _ in part], dict(part))
            state.handed += len(part)
        state.phase = "extracted"
        state.seconds["extract"] = round(self.now() - begun, 3)
        state.finished_at["extract"] = self.now()
        self.chunks.write(ref, state)
        return Outcome()


def since(state: ChunkState) -> str:
    """The oldest transaction that the chunk's snapshot did not see the end of: a snapshot's text begins with it."""
    return state.snapshot.partition(":")[0]
