"""`omsync migrate plan` on paper: the plan's report in the terminal, and as files."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from omsync.migration.report import PlanReport
from ops.migrate.machine import Machine

_WEIGHTS = {"bad": ("bad", "red"), "look": ("look", "yellow"), "note": ("note", "dim")}


def show(made: PlanReport, console: Console) -> None:
    """What is wrong comes last, where the eye is."""
    _checks(made, console)
    _tables(made, console)
    _needs(made, console)
    _findings(made, console)
    for reason in made.blocked_because:
        console.print(Text(f"stop: {reason}", style="red"))
    if not made.blocked:
        console.print(Text(_verdict(made), style="green"))


def _verdict(made: PlanReport) -> str:
    bad = sum(one.bad for one in made.tables)
    return f"nothing stops run {made.run}" + (f"; {bad:,} rows would be quarantined" if bad else "")


def newest(machine: Machine, run: int) -> str:
    """When a run was last looked at before it moves, and what came of it: for whoever approves."""
    made = machine.plan_report(run)
    if made is None:
        return f"run {run} has no plan report"
    said = f"run {run} is stopped: {'; '.join(made.blocked_because)}" if made.blocked else _verdict(made)
    return f"plan report of {datetime.fromtimestamp(made.at, UTC):%Y-%m-%d %H:%M} UTC: {said}"


def _checks(made: PlanReport, console: Console) -> None:
    table = Table("", "check", "detail", "how to mend", title=f"Run {made.run}: the org")
    fine = 0
    for check in made.checks:
        if check.ok and not check.detail:
            fine += 1
            continue
        word, style = ("ok", "green") if check.ok else ("stop", "red") if check.blocking else ("look", "yellow")
        table.add_row(Text(word, style), check.name, check.detail, check.mend)
    console.print(table)
    if fine:
        console.print(f"{fine} more checks are ok", style="dim")


def _tables(made: PlanReport, console: Console) -> None:
    table = Table(title=f"Run {made.run}: what would move")
    for name in ("table", "rows", "to send", "not sent by rule", "bad", "records", "MB", "chunks"):
        table.add_column(name, justify="left" if name in ("table", "records") else "right")
    for one in made.tables:
        records = ", ".join(f"{name} {count:,}" for name, count in one.records.items())
        sent = sum(one.records.values())
        figures = (f"{value:,}" for value in (one.rows, sent, one.not_sent, one.bad))
        table.add_row(one.table, *figures, records, f"{one.data_kb / 1024:,.1f}", f"{one.chunks:,}")
    console.print(table)


def _needs(made: PlanReport, console: Console) -> None:
    table = Table(title="What it takes of the org's allocations, at most")
    for name in ("", "allocation", "needed", "left", "of"):
        table.add_column(name, justify="left" if name in ("", "allocation") else "right")
    for need in made.needs:
        word, style = ("ok", "green") if need.ok else ("too much", "red") if need.impossible else ("tight", "yellow")
        left, of = ("not told" if value is None else f"{value:,.0f}" for value in (need.left, need.of))
        table.add_row(Text(word, style), need.limit, f"{need.needed:,.1f}", left, of)
    console.print(table)


def _findings(made: PlanReport, console: Console) -> None:
    if not made.findings:
        return
    table = Table("", "table", "kind", "column", "rows", "what", "how to mend", "first ids", title="Findings")
    for one in made.findings:
        word, style = _WEIGHTS[one.weight]
        table.add_row(Text(word, style), one.table, one.kind, one.field, f"{one.rows:,}", one.message, one.mend, "\n".join(one.ids[:2]))
    console.print(table)


def save(machine: Machine, run: int, folder: Path) -> list[Path]:
    """The report as JSON and HTML, and every pair of likely duplicates as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    saved: list[Path] = []
    for kind in ("json", "html"):
        content = machine.get(f"{machine.folder(run)}/plan-report.{kind}")
        if content is not None:
            saved.append(folder / f"plan-run-{run}.{kind}")
            saved[-1].write_bytes(content)
    pairs = machine.get(f"{machine.folder(run)}/duplicates.jsonl.gz")
    if pairs is not None:
        saved.append(folder / f"duplicates-run-{run}.csv")
        with saved[-1].open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("one", "other", "grade", "weight", "found_by"))
            writer.writerows(_lines(pairs))
    return saved


def _lines(content: bytes) -> Iterator[list[object]]:
    with gzip.open(io.BytesIO(content), "rb") as lines:
        yield from map(json.loads, lines)
