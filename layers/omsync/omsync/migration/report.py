"""What a person reads before anything moves: preflight, dry run and survey of a run in one report, beside the run as JSON and as a page.

plan-report.json, plan-report.html
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from pydantic import BaseModel, Field

from omsync.mapping import Mappings
from omsync.migration.examine import Examined
from omsync.migration.findings import Finding, Findings
from omsync.migration.model import DELTA, Check, Outcome, Preflight, RunPlan, run_folder
from omsync.migration.plan import read_plan, read_refs
from omsync.migration.ports import Files
from omsync.migration.report_page import page
from omsync.migration.storage import BATCH, Need, kilobytes, needs
from omsync.migration.survey import read_survey
from omsync.platform.errors import Permanent


class TableReport(BaseModel):
    """A table's rows: rows = sent + not sent + bad."""

    table: str
    wave: str
    rows: int = 0
    not_sent: int = 0
    bad: int = 0
    records: dict[str, int] = Field(default_factory=dict)  # object -> records to come
    data_kb: float = 0.0
    chunks: int = 0
    unseen: int = 0  # chunks that the dry run did not get through


class PlanReport(BaseModel):
    """A run as it would be."""

    migration: str
    run: int
    at: float
    blocked: bool = False
    blocked_because: list[str] = Field(default_factory=list)
    checks: list[Check] = Field(default_factory=list)
    tables: list[TableReport] = Field(default_factory=list)
    needs: list[Need] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)
    pairs: dict[str, int] = Field(default_factory=dict)  # duplicates by grade


@dataclass(slots=True)
class Reports:
    """Makes reports of what preparation, dry run and survey have left in the bucket."""

    mappings: Mappings
    files: Files
    now: Callable[[], float] = time.time

    def run(self, migration: str, run: int) -> Outcome:
        """Write the report; `failed` if something must be mended before the run may start."""
        made = self.make(migration, run)
        folder = run_folder(migration, run)
        self.files.put(f"{folder}/plan-report.json", made.model_dump_json(indent=1).encode())
        self.files.put(f"{folder}/plan-report.html", page(made).encode())
        return Outcome(outcome="failed" if made.blocked else "done", reason="; ".join(made.blocked_because)[:2000])

    def make(self, migration: str, run: int) -> PlanReport:
        """The report."""
        plan, preflight = read_plan(self.files, migration, run), read_preflight(self.files, migration, run)
        if plan is None or preflight is None:
            raise Permanent(f"run {run} was not planned yet", code="migration.order")
        made = PlanReport(migration=migration, run=run, at=self.now(), checks=preflight.checks)
        findings, total, batches, jobs = Findings(), Examined(), 0, 0
        for table, seen in self._tables(plan):
            made.tables.append(table)
            for one in seen.findings:
                findings.add(one)
            total.add(seen)
            batches += sum(max(ceil(count / BATCH), min(table.chunks, count)) for count in table.records.values())
            jobs += table.chunks * len(table.records)
        survey = read_survey(self.files, migration, run)
        for one in survey.findings:
            findings.add(one)
        made.findings, made.pairs = findings.all(), survey.pairs
        made.needs = list(needs(sum(table.data_kb for table in made.tables), total, batches, jobs, preflight.limits))
        made.blocked_because = list(_reasons(made))
        made.blocked = bool(made.blocked_because)
        return made

    def _tables(self, plan: RunPlan) -> list[tuple[TableReport, Examined]]:
        """What is sent for the first time: the delta is there already."""
        reports = {one.table: TableReport(table=one.table, wave=one.wave, chunks=one.chunks) for one in plan.tables if one.wave != DELTA}
        seen = {name: Examined() for name in reports}
        for ref in (one for one in read_refs(self.files, plan) if not one.delta):
            content = self.files.get(f"{ref.folder}/examined.json")
            if content is None:
                reports[ref.table].unseen += 1
                continue
            chunk = Examined.model_validate_json(content)
            seen[ref.table].add(chunk)
            seen[ref.table].findings += chunk.findings
        for name, report in reports.items():
            total = seen[name]
            report.rows, report.not_sent, report.bad, report.records = total.rows, total.not_sent, total.bad, dict(total.sent)
            text: Counter[str] = total.text_bytes
            targets = self.mappings[name].targets
            report.data_kb = sum(kilobytes(one, total.sent[one.object], text[one.object]) for one in targets)
        return [(reports[name], seen[name]) for name in reports]


def _reasons(made: PlanReport) -> list[str]:
    """Why the run may not start."""
    found = [f"{one.name}: {one.detail} {one.mend}".strip() for one in made.checks if one.blocking and not one.ok]
    for need in made.needs:
        if need.blocking and need.impossible:
            found.append(f"{need.limit}: the run needs {need.needed:,.0f}, {need.left:,.0f} of {need.of:,.0f} are left")
    found += [f"{one.table}: {one.unseen} of {one.chunks} chunks could not be examined: run it again" for one in made.tables if one.unseen]
    return found


def read_preflight(files: Files, migration: str, run: int) -> Preflight | None:
    """As last looked at."""
    content = files.get(f"{run_folder(migration, run)}/preflight.json")
    return Preflight.model_validate_json(content) if content is not None else None
