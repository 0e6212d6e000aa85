"""A run cut into chunks; and the delta."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import batched, pairwise

from omsync.mapping import Mappings, TableMapping
from omsync.migration.load import hand_over
from omsync.migration.model import ChunkRef, RunPlan, TablePlan
from omsync.migration.ports import Files, Live, Source, States
from omsync.platform.errors import Permanent

#: rows of a chunk: one internal batch of Bulk API 2.0
CHUNK_ROWS = 10_000
LAST_RUN = 4


def chunks_of(migration: str, run: int, table: str, bounds: Iterable[str]) -> Iterator[ChunkRef]:
    """The ranges between the bounds; the last one is open, so that nothing falls behind it."""
    edges: list[str | None] = [None, *dict.fromkeys(bounds), None]
    for number, (after, upto) in enumerate(pairwise(edges)):
        yield ChunkRef(migration=migration, run=run, table=table, number=number, after=after, upto=upto)


@dataclass(slots=True)
class Plan:
    """Plans runs."""

    mappings: Mappings
    source: Source
    files: Files
    states: States
    live: Live
    now: Callable[[], float] = time.time

    def run(self, migration: str, run: int, *, rows: int = CHUNK_ROWS, dry: bool = False) -> RunPlan:
        """A run's plan, made once: a resumed run goes on with the chunks that it had. A dry run's is made each time."""
        known = read_plan(self.files, migration, run)
        if known is not None and not known.dry:
            return known
        tables = [mapping for mapping in self.mappings if mapping.run == run]
        if not tables:
            raise Permanent(f"no run {run}: there are {sorted({mapping.run for mapping in self.mappings})}", code="migration.run")
        xmin, planned, refs = self.source.xmin(), [], dict[str, list[ChunkRef]]()
        for mapping in tables:
            count, bounds = self.source.bounds(mapping, rows)
            chunks = list(chunks_of(migration, run, mapping.table, bounds))
            refs.setdefault(mapping.wave, []).extend(chunks)
            planned.append(TablePlan(table=mapping.table, wave=mapping.wave, rows=count, chunks=len(chunks)))
        made = RunPlan(
            migration=migration,
            run=run,
            chunk_rows=rows,
            xmin=xmin,
            planned_at=self.now(),
            dry=dry,
            tables=planned,
            waves=sorted(refs),
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

    def delta(self, migration: str) -> int:
        """What changed since run 1 was planned, of all tables: the live writers look at it. -> Rows enqueued."""
        first = read_plan(self.files, migration, 1)
        if first is None or first.dry:
            raise Permanent("run 1 was never started", code="migration.order")
        before, total = self.source.xmin(), 0
        for mapping in self.mappings:
            total += self._delta_of(mapping, first.xmin, before)
        self.files.put(f"migrations/{migration}/run-{LAST_RUN}/delta.json", json.dumps({"since": first.xmin, "rows": total}).encode())
        return total

    def _delta_of(self, mapping: TableMapping, since: str, before: str) -> int:
        if mapping.mode == "embedded":  # a change of an address is one of its patient
            return 0
        total = 0
        for part in batched(self.source.changed(mapping, since, before), 1000, strict=False):
            hand_over(self.live, mapping, [row_id for row_id, _ in part], dict(part))
            total += len(part)
        return total


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
