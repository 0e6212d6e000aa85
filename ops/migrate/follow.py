"""Following an execution: a bar per table (rows, rate, time left), approvals asked where the run waits for one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from omsync.platform.errors import OmsyncError
from ops.migrate.machine import Execution, Gate, Machine

LOOK_SECONDS = 3.0
#: looks that nobody answers before following is given up; the run goes on without us
PATIENCE = 20


def follow(
    machine: Machine, execution: Execution, console: Console, *, quiet: bool = False, approve: Callable[[int, Gate], None] | None = None
) -> Execution:
    """Until it has come to its end."""
    bars = None if quiet else _bars(console)
    known: dict[str, TaskID] = {}
    silent = 0
    with bars if bars is not None else nullcontext():
        while execution.running:
            time.sleep(LOOK_SECONDS)
            try:
                execution = machine.execution(execution.arn) or execution
                status = machine.status(execution.run) if not execution.dry else {"tables": [], "waits_for": []}
            except OmsyncError:
                silent += 1
                if silent > PATIENCE:
                    raise
                continue
            silent = 0
            if bars is not None:
                _show(bars, known, status)
            _ask(execution, status, approve, bars)
    return execution


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
        TextColumn("{task.description:22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
    )


def _show(bars: Progress, known: dict[str, TaskID], status: dict[str, Any]) -> None:
    """A table's bar counts its rows three times: extracted, loaded, verified."""
    for one in status["tables"]:
        name = one["table"]
        total = max(one["planned"], one["extracted"], 1)
        if name not in known:
            known[name] = bars.add_task(name, total=total * 3, rate="", note="")
        done = min(one["extracted"], total) + min(one["loaded"], total) + min(one["verified"], total)
        phase = "verified" if one["verified"] >= one["planned"] else "loaded" if one["loaded"] >= one["planned"] else "loading"
        notes = [f"{one['quarantined']} quarantined"] if one["quarantined"] else []
        notes += [f"{one['different']} not in step"] if one["different"] else []
        speed = bars.tasks[known[name]].speed
        rate = f"{speed / 3:,.0f} rows/s" if speed else ""
        bars.update(known[name], completed=done, total=total * 3, rate=rate, note=", ".join([phase, *notes, *one["failures"]]))
