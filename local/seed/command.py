"""`omsync local seed`: history for the OMS, made up or brought from files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.seed.bulk import SeedFault
from local.seed.columns import TABLES
from local.seed.sow import Outcome, Wanted, sow
from local.stack.home import Home


class Bars:
    """A progress bar per table, on stderr, where that is a terminal."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}
        self.stage = progress.add_task("", total=None)

    def expect(self, table: str, rows: int) -> None:
        if table in self.tasks:
            known = self.progress.tasks[self.progress.task_ids.index(self.tasks[table])].total or 0
            self.progress.update(self.tasks[table], total=known + rows)
        else:
            self.tasks[table] = self.progress.add_task(table, total=rows)

    def loaded(self, table: str, rows: int) -> None:
        self.progress.advance(self.tasks[table], rows)

    def say(self, what: str) -> None:
        self.progress.update(self.stage, description=what)


@click.command()
@click.option("--patients", type=click.IntRange(min=1), default=None, help="Make up this many patients, about 82 rows each.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same rows.")
@click.option("--append", is_flag=True, help="Add to a database that is not empty.")
@click.option(
    "--synthea", type=click.Path(path_type=Path), default=None, help="Load the CSV files of a Synthea export from this directory."
)
@click.option("--notes", type=click.Path(path_type=Path), default=None, help="Load signed notes from a CSV file with a column `note`.")
@click.option(
    "--rejects", type=click.Path(path_type=Path), default=None, help="Where to list rows that can't be loaded (.local/seed-rejects.csv)."
)
@click.option("--database-url", default=None, help="The OMS's database; otherwise that of the running stack.")
@click.option("--json", "as_json", is_flag=True, help="Print what was loaded as JSON.")
def command(
    patients: int | None,
    seed: int,
    append: bool,
    synthea: Path | None,
    notes: Path | None,
    rejects: Path | None,
    database_url: str | None,
    as_json: bool,
) -> None:
    """Fill the OMS with history: made up (--patients), from a Synthea export, from note texts.

    History is no news: it writes no events, and lies behind every cursor of the sweep.
    """
    if not (patients or synthea or notes):
        raise SeedFault("nothing to load: give --patients, --synthea or --notes")
    url = database_url or os.environ.get("OMS_DATABASE_URL") or Home.here().endpoints()["oms_database_url"]
    wanted = Wanted(patients or 0, seed, append, synthea, notes, rejects or Home.here().path / "seed-rejects.csv")
    errors = Console(stderr=True)
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=as_json or not errors.is_terminal) as progress:
        outcome = sow(url, wanted, Bars(progress))
    if as_json:
        click.echo(json.dumps(_as_json(outcome, wanted)))
    else:
        _print(outcome, wanted)


def _as_json(outcome: Outcome, wanted: Wanted) -> dict[str, object]:
    return {
        "loaded": {table: outcome.loaded.get(table, 0) for table in TABLES}, "total": outcome.total, "rows": outcome.rows,
        "seconds": round(outcome.seconds, 2), "rows_per_second": round(outcome.rows / outcome.seconds), "peak_mb": outcome.peak_mb,
        "cursor": outcome.cursor, "files": _files(outcome), "rejects": str(wanted.rejects) if outcome.tally.rejects else None,
    }  # fmt: skip


def _files(outcome: Outcome) -> dict[str, dict[str, int]]:
    tally = outcome.tally
    return {
        file: {"read": read, "loaded": tally.loaded.get(file, 0), "rejected": tally.rejected(file)} for file, read in tally.read.items()
    }


def _print(outcome: Outcome, wanted: Wanted) -> None:
    console = Console()
    table = Table("table", "loaded", "in all", title=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in TABLES:
        table.add_row(name, f"{outcome.loaded.get(name, 0):,}", f"{outcome.total[name]:,}")
    table.add_section()
    table.add_row("all", f"{outcome.rows:,}", f"{sum(outcome.total.values()):,}")
    console.print(table)
    if outcome.tally.read:
        files = Table("file", "rows", "loaded", "rejected")
        for column in files.columns[1:]:
            column.justify = "right"
        for file, counts in _files(outcome).items():
            files.add_row(file, *(f"{number:,}" for number in counts.values()))
        console.print(files)
    if outcome.tally.rejects:
        reasons: dict[str, int] = {}
        for _, _, reason, _ in outcome.tally.rejects:
            reasons[reason] = reasons.get(reason, 0) + 1
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:12]:
            click.echo(f"{count:6,} × {reason}")
        click.echo(f"every rejected row, with its reason: {wanted.rejects}")
    speed = f"{outcome.rows / outcome.seconds:,.0f} rows/s, {outcome.peak_mb} MB at most"
    click.echo(f"{outcome.rows:,} rows in {outcome.seconds:.1f} s ({speed})")
