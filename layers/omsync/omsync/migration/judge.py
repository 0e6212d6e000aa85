"""The end of a run: every chunk's counts added up, and the certificate issued or refused."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pydantic import BaseModel

from omsync.mapping import Mappings
from omsync.migration.files import Lines, read_lines
from omsync.migration.model import DELTA, Approval, Certificate, ChunkState, Mismatch, Quarantined, RunPlan, TableResult, listed
from omsync.migration.plan import LAST_RUN, read_plan, read_refs
from omsync.migration.ports import Files
from omsync.migration.states import Chunks
from omsync.platform.errors import Permanent

#: rows named in a certificate; all are in the lists beside it
NAMED = 1000


@dataclass(slots=True)
class Judge:
    """Judges runs."""

    mappings: Mappings
    files: Files
    chunks: Chunks
    version: str = ""
    now: Callable[[], float] = time.time

    def run(self, migration: str, run: int, *, approval: Approval | None = None) -> Certificate:
        """The certificate as things stand. Quarantined rows need an approval that covers them; all are listed beside the run."""
        plan = read_plan(self.files, migration, run)
        if plan is None or plan.dry:
            raise Permanent(f"run {run} was never started", code="migration.order")
        made = Certificate(migration=migration, run=run, at=self.now(), planned_at=plan.planned_at, version=self.version)
        with closing(Lines()) as quarantine, closing(Lines()) as mismatches:
            self._add_up(plan, made, quarantine, mismatches)
            quarantine.save(self.files, f"{plan.folder}/verification-quarantine.jsonl.gz")
            mismatches.save(self.files, f"{plan.folder}/verification-mismatches.jsonl.gz")
        if run == LAST_RUN:
            made.delta_rows = sum(table.rows for table in made.tables if table.wave == DELTA)
        if approval is not None and approval.covers(made.in_quarantine):
            made.signed_by = approval.by
        made.refused_because = _objections(made, approval)
        made.issued = not made.refused_because
        made.sha256 = hashlib.sha256(made.model_dump_json(exclude={"sha256", "certified"}).encode()).hexdigest()
        return made

    def _add_up(self, plan: RunPlan, made: Certificate, quarantine: Lines, mismatches: Lines) -> None:
        results = {one.table: TableResult(table=one.table, wave=one.wave) for one in plan.tables}
        digests = {one.table: hashlib.sha256() for one in plan.tables}
        refs = read_refs(self.files, plan)
        finished: list[tuple[float, int]] = []
        spans: dict[str, list[float]] = {}
        for ref, state in zip(refs, self.chunks.read_many(refs), strict=True):
            _add(results[ref.table], state)
            digests[ref.table].update(state.manifest_sha256.encode())
            if "verify" in state.finished_at:
                finished.append((state.finished_at["verify"], state.verified))
            spans.setdefault(ref.table, []).extend(state.finished_at.values())
            _name(self._in_quarantine(state), quarantine, made.quarantine, Quarantined)
            _name(self._lines(state, "mismatches") if state.differing else (), mismatches, made.mismatches, Mismatch)
        for table, result in results.items():
            result.sha256 = digests[table].hexdigest()
            if times := spans.get(table):
                result.seconds = round(max(times) - plan.planned_at, 1)
                result.rate = round(result.rows / result.seconds, 1) if result.seconds > 0 else 0.0
        made.tables = list(results.values())
        total = 0
        for at, rows in sorted(finished):
            total += rows
            made.progress.append((round(at - plan.planned_at, 1), total))

    def _in_quarantine(self, state: ChunkState) -> Iterator[Any]:
        if state.in_quarantine:
            released = set(self._lines(state, "released")) if state.released else set()
            refused = chain(self._lines(state, "quarantine"), self._lines(state, "orphans") if state.orphaned else ())
            yield from (line for line in refused if line["id"] not in released)

    def _lines(self, state: ChunkState, what: str) -> Iterator[Any]:
        return read_lines(self.files, f"{state.folder}/{what}.jsonl.gz")


def _name[T: BaseModel](rows: Iterable[Any], all_of_them: Lines, first: list[T], kind: type[T]) -> None:
    for row in rows:
        all_of_them.json(row)
        if len(first) < NAMED:
            first.append(kind.model_validate(row))


def _add(result: TableResult, state: ChunkState) -> None:
    result.chunks += 1
    result.open_chunks += state.phase != "verified"
    result.rows += state.rows + state.arrived
    result.verified += state.verified
    for reason, rows in (*state.not_sent.items(), *state.excused.items()):
        result.not_sent[reason] = result.not_sent.get(reason, 0) + rows
    result.quarantined += state.in_quarantine
    result.missing += state.missing
    result.mismatched += state.mismatched
    result.unknown += state.unknown
    result.handed += state.handed
    result.calls += state.calls


def _objections(made: Certificate, approval: Approval | None) -> list[str]:
    """Why it cannot be issued, in words."""
    found: list[str] = []
    for name in ("missing", "mismatched", "unknown"):
        if total := sum(getattr(one, name) for one in made.tables):
            found.append(f"{total} rows {name}")
    if total := sum(one.open_chunks for one in made.tables):
        found.append(f"{total} chunks not verified")
    found += [f"{one.table}: rows do not add up" for one in made.tables if not one.open_chunks and not one.balanced]
    if (rows := made.in_quarantine) and made.signed_by is None:
        signed = f": {approval}, these are {listed(rows)}" if approval is not None else ""
        found.append(f"{sum(rows.values())} rows in quarantine need a named sign-off{signed}")
    return found
