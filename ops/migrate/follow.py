"""Following an execution: a bar per table (rows, rate, time left), approvals asked where a run waits for one, each run's end told."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from omsync.migration.model import DELTA
from omsync.platform.errors import OmsyncError
from ops.migrate.machine import Execution, Gate, Machine

LOOK_SECONDS = 3.0
#: looks that nobody answers before following is given up; the run goes on without us
PATIENCE = 20


def follow(
    machine: Machine,
    execution: Execution,
    console: Console,
    *,
    quiet: bool = False,
    approve: Callable[[int, Gate], None] | None = None,
    ended: Callable[[int], None] | None = None,
) -> Execution:
    """Until it has come to its end. `ended` is told each run that another one follows."""
    bars = None if quiet else _bars(console)
    known: dict[str, TaskID] = {}
    said: set[str] = set()
    silent, run = 0, execution.run
    with bars if bars is not None else nullcontext():
        while execution.running:
            time.sleep(LOOK_SECONDS)
            try:
                execution = machine.execution(execution.arn) or execution
                status = _look(machine, execution)
            except OmsyncError:
                silent += 1
                if silent > PATIENCE:
                    raise
                continue
            silent = 0
            for gone in range(run, execution.run):
                if ended is not None and gone in execution.runs:
                    ended(gone)
            run = execution.run
            if bars is not None:
                _show(bars, known, run, status)
            if execution.running:
                _ask(execution, status, approve, bars)
                _tell(execution, status, approve, said, console, quiet=quiet)
    return execution


def _look(machine: Machine, execution: Execution) -> dict[str, Any]:
    """The run's status; `examined`: chunks that its dry run has been through, of `chunks`, as long as nothing moves."""
    status = machine.status(execution.run)
    tables = status["tables"]
    if execution.purpose == "plan":
        status |= {"tables": [], "waits_for": [], "held_up": None}
    if execution.purpose == "verify" or any(one["extracted"] for one in status["tables"]):
        return status
    own = sum(one["chunks"] for one in tables if one["wave"] != DELTA)  # the delta was looked at in its runs
    return {**status, "examined": machine.examined(execution), "chunks": own}


def _tell(
    execution: Execution,
    status: dict[str, Any],
    approve: Callable[[int, Gate], None] | None,
    said: set[str],
    console: Console,
    *,
    quiet: bool,
) -> None:
    """Once: what holds it up, and what nobody here approves."""
    found = [] if approve is not None else [f"run {gate} waits for: omsync migrate approve" for gate in status["waits_for"]]
    for line in (*found, *filter(None, [status.get("held_up")])):
        if line not in said and not quiet:
            console.print(f"[yellow]run {execution.run}: {line}", highlight=False)
        said.add(line)


def _ask(execution: Execution, status: dict[str, Any], approve: Callable[[int, Gate], None] | None, bars: Progress | None) -> None:
    gates: tuple[Gate, ...] = ("start", "certificate")
    for gate in gates:
        if f"{execution.run}/{gate}" in status["waits_for"] and approve is not None:
            if bars is not None:
                bars.stop()
            approve(execution.run, gate)
            if bars is not None:
                bars.start()


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:24}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[rows]:>17}"),
        TextColumn("{task.fields[rate]:>14}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


def _show(bars: Progress, known: dict[str, TaskID], run: int, status: dict[str, Any]) -> None:
    """A table's bar counts its rows twice, loaded and verified: a row is done when it is proven. The dry run has a bar of its own."""
    if status.get("chunks"):
        name, done, of = f"{run} dry run", status["examined"], status["chunks"]
        if name not in known:
            known[name] = bars.add_task(name, total=of, rows="", rate="", note="")
        bars.update(known[name], completed=done, total=of, rows=f"{done:,}/{of:,} chunks")
    for one in status["tables"]:
        name = f"{run} {one['table']}"
        total = max(one["planned"], one["extracted"])
        if one["wave"] == DELTA and not total:  # nothing changed there
            continue
        if name not in known:
            known[name] = bars.add_task(name, total=total * 2, rows="", rate="", note="")
        loaded, verified = min(one["loaded"], total), min(one["verified"], total)
        complete = one["done"] == one["chunks"]
        phase = (
            "verified" if complete else "verifying" if verified else "loaded" if loaded >= total else "loading" if one["extracted"] else ""
        )
        notes = [f"{one['quarantined']} quarantined"] if one["quarantined"] else []
        notes += [f"{one['different']} not in step"] if one["different"] else []
        speed = bars.tasks[known[name]].speed
        rate = f"{speed / 2:,.0f} rows/s" if speed and not complete else ""
        done = total * 2 if complete else loaded + verified
        note = ", ".join(filter(None, [phase, *notes, *one["failures"]]))
        rows = f"{one['verified'] if complete else max(loaded, verified):,}/{total:,}"
        bars.update(known[name], completed=done, total=total * 2, rows=rows, rate=rate, note=note)
