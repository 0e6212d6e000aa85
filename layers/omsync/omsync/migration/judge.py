"""The end of a run: every chunk's counts added up, and the certificate issued or refused."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from omsync.mapping import Mappings
from omsync.migration.files import read_lines
from omsync.migration.model import Certificate, ChunkState, Mismatch, Quarantined, RunPlan, TableResult
from omsync.migration.plan import DELTA, LAST_RUN, read_plan, read_refs
from omsync.migration.ports import Files
from omsync.migration.states import Chunks
from omsync.platform.errors import Permanent

#: rows named in a certificate; all are in the chunks' files
NAMED = 1000


@dataclass(slots=True)
class Judge:
    """Judges runs."""

    mappings: Mappings
    files: Files
    chunks: Chunks
    version: str = ""
    now: Callable[[], float] = time.time

    def run(self, migration: str, run: int, *, signed_by: str | None = None) -> Certificate:
        """The certificate as things stand. Quarantined rows need `signed_by`."""
        plan = read_plan(self.files, migration, run)
        if plan is None or plan.dry:
            raise Permanent(f"run {run} was never started", code="migration.order")
        made = Certificate(
            migration=migration, run=run, at=self.now(), planned_at=plan.planned_at, signed_by=signed_by, version=self.version
        )
        self._add_up(plan, made)
        if run == LAST_RUN:
            made.delta_rows = sum(table.rows for table in made.tables if table.wave == DELTA)
        made.refused_because = list(_objections(made))
        made.issued = not made.refused_because
        made.sha256 = hashlib.sha256(made.model_dump_json(exclude={"sha256", "certified"}).encode()).hexdigest()
        return made

    def _add_up(self, plan: RunPlan, made: Certificate) -> None:
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
            self._name(state, made)
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

    def _name(self, state: ChunkState, made: Certificate) -> None:
        def lines(what: str) -> Iterator[Any]:
            return read_lines(self.files, f"{state.folder}/{what}.jsonl.gz")

        if state.in_quarantine and (room := NAMED - len(made.quarantine)) > 0:
            released = set(lines("released")) if state.released else set()
            refused = [*lines("quarantine"), *(lines("orphans") if state.orphaned else ())]
            made.quarantine += [Quarantined.model_validate(line) for line in refused if line["id"] not in released][:room]
        if state.differing and (room := NAMED - len(made.mismatches)) > 0:
            made.mismatches += [Mismatch.model_validate(line) for line in islice(lines("mismatches"), room)]


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


def _objections(made: Certificate) -> list[str]:
    """Why it cannot be issued, in words."""
    found: list[str] = []
    for name in ("missing", "mismatched", "unknown"):
        if total := sum(getattr(one, name) for one in made.tables):
            found.append(f"{total} rows {name}")
    if total := sum(one.open_chunks for one in made.tables):
        found.append(f"{total} chunks not verified")
    found += [f"{one.table}: rows do not add up" for one in made.tables if not one.open_chunks and not one.balanced]
    quarantined = sum(one.quarantined for one in made.tables)
    if quarantined and made.signed_by is None:
        found.append(f"{quarantined} rows in quarantine need a named sign-off")
    return found
