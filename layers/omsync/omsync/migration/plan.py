"""A run cut into chunks. The last run looks at those of the runs before once more: the delta."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from omsync.mapping import Mappings
from omsync.migration.model import DELTA, ChunkRef, RunPlan, TablePlan
from omsync.migration.ports import Files, Source, States
from omsync.platform.errors import Permanent

#: rows of a chunk: one internal batch of Bulk API 2.0
CHUNK_ROWS = 10_000
#: chunks at work at once (`MaxConcurrency` of the state machine)
WORKERS = 5
LAST_RUN = 4


def chunks_of(migration: str, run: int, table: str, bounds: Iterable[str]) -> Iterator[ChunkRef]:
    """The ranges between the bounds; the last one is open, so that nothing falls behind it."""
    edges: list[str | None] = [None, *dict.fromkeys(bounds), None]
    for number, (after, upto) in enumerate(pairwise(edges)):
        yield ChunkRef(migration=migration, run=run, table=table, number=number, after=after, upto=upto)


def size_of(count: int, rows: int) -> int:
    """Rows of a table's chunks: at most `rows`; of a small table half as many if that gives every worker one."""
    return min(rows, max(rows // 2, -(-count // WORKERS), 1))


@dataclass(slots=True)
class Plan:
    """Plans runs."""

    mappings: Mappings
    source: Source
    files: Files
    states: States
    now: Callable[[], float] = time.time

    def run(self, migration: str, run: int, *, rows: int = CHUNK_ROWS, dry: bool = False) -> RunPlan:
        """A run's plan, made once: a resumed run goes on with the chunks that it had. A dry run's is made each time."""
        known = read_plan(self.files, migration, run)
        if known is not None and not known.dry:
            return known
        tables = [mapping for mapping in self.mappings if mapping.run == run]
        if not tables:
            raise Permanent(f"no run {run}: there are {sorted({mapping.run for mapping in self.mappings})}", code="migration.run")
        planned, refs = [], dict[str, list[ChunkRef]]()
        for mapping in tables:
            count = self.source.count(mapping)
            chunks = list(chunks_of(migration, run, mapping.table, self.source.bounds(mapping, size_of(count, rows))))
            refs.setdefault(mapping.wave, []).extend(chunks)
            planned.append(TablePlan(table=mapping.table, wave=mapping.wave, rows=count, chunks=len(chunks)))
        if run == LAST_RUN and not dry:
            refs[DELTA] = self._delta(migration)
            planned += [
                TablePlan(table=table, wave=DELTA, rows=0, chunks=n) for table, n in Counter(ref.table for ref in refs[DELTA]).items()
            ]
        made = RunPlan(
            migration=migration,
            run=run,
            chunk_rows=rows,
            planned_at=self.now(),
            dry=dry,
            tables=planned,
            waves=sorted(refs),  # the delta after all others
        )
        for wave, chunks in refs.items():
            content = json.dumps([ref.model_dump(exclude_none=True) for ref in chunks], separators=(",", ":"))
            self.files.put(made.wave_file(wave), content.encode())
        self.files.put(f"{made.folder}/plan.json", made.model_dump_json().encode())
        return made

    def survivors(self, migration: str, run: int) -> dict[str, str]:
        """Written down for the steps that cannot reach the database."""
        found = self.source.survivors()
        self.files.put(f"migrations/{migration}/run-{run}/survivors.json", json.dumps(found).encode())
        return found

    def _delta(self, migration: str) -> list[ChunkRef]:
        """The chunks of the runs before, for what changed in them since. A change of an address is one of its patient."""
        found: list[ChunkRef] = []
        for run in range(1, LAST_RUN):
            plan = read_plan(self.files, migration, run)
            if plan is None or plan.dry:
                raise Permanent(f"run {run} was never started", code="migration.order")
            found += [ref for ref in read_refs(self.files, plan) if self.mappings[ref.table].mode != "embedded"]
        return [ref.model_copy(update={"run": LAST_RUN, "delta": True}) for ref in found]


def read_plan(files: Files, migration: str, run: int) -> RunPlan | None:
    """A run's plan, if it has one."""
    content = files.get(f"migrations/{migration}/run-{run}/plan.json")
    return RunPlan.model_validate_json(content) if content is not None else None


def read_refs(files: Files, plan: RunPlan) -> list[ChunkRef]:
    """All chunks of a run, in load order."""
    found: list[ChunkRef] = []
    for wave in plan.waves:
        content = files.get(plan.wave_file(wave))
        found += [ChunkRef.model_validate(one) for one in json.loads(content or b"[]")]
    return found
