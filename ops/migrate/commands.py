"""`omsync migrate ...`.

Exit codes: 0 done (with the certificate, where one was asked for); 1 not (blocked, refused, stopped); 2 a mistake, or nobody answers.
"""

from __future__ import annotations

import getpass
import gzip
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console
from rich.table import Table

from omsync.migration.model import DELTA, MAIN, Certificate, listed
from ops.connections import Connections, with_connections
from ops.migrate import planning
from ops.migrate.follow import follow
from ops.migrate.machine import RUNS, Execution, Gate, Machine

#: rows of a certificate that are named in the terminal
SHOWN = 20
console = Console(width=None if sys.stdout.isatty() else 180)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Plan, start, watch, approve, pause, resume, verify and report the migration's four runs."""


def with_machine(command: Callable[..., None]) -> Callable[..., None]:
    """`--name`, `--stack-name` and `--region`; the machine they mean as first argument."""

    @click.option(
        "--name",
        "migration",
        default=MAIN,
        show_default=True,
        callback=_named,
        help="Name of the migration; a rehearsal has one of its own, its certified runs too.",
    )
    def run(connections: Connections, migration: str, **arguments: object) -> None:
        command(Machine(connections, migration), **arguments)

    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    run.__click_params__ = [*getattr(command, "__click_params__", []), *run.__click_params__]  # type: ignore[attr-defined]
    return with_connections(run)


def _named(_: click.Context, __: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", value):
        raise click.BadParameter("letters, digits, - and _, at most 32 of them")
    return value


def _certified(machine: Machine) -> int:
    return int(machine.ask("status", run=1)["certified_run"])


def _next(machine: Machine) -> int:
    """The first run without a certificate."""
    return min(_certified(machine) + 1, RUNS[-1])


run_option = click.option("--run", type=click.IntRange(1, 4), help="One run; without: the next.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
by_option = click.option("--by", default=getpass.getuser, help="Who says so; it is written down.", show_default="your user name")


# ---------------------------------------------------------------------------------------------------------- plan and start
@cli.command()
@run_option
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Also save the report as JSON and HTML, and duplicates as CSV."
)
@json_option
@with_machine
def plan(machine: Machine, run: int | None, output: Path | None, as_json: bool) -> None:
    """Preflight, dry run and survey: everything but writing. Exit code 1 if something stops the run."""
    number = run or _next(machine)
    before = machine.plan_report(number)
    done = follow(machine, machine.start([number], approve=False, purpose="plan"), console, quiet=as_json)
    made = machine.plan_report(number)
    if made is None or (before is not None and made.at == before.at):  # it did not get that far
        _say(as_json, {"run": number, "blocked": True, "error": done.error, "cause": done.cause}, f"{done.error}: {done.cause}")
        raise SystemExit(1)
    if as_json:
        click.echo(made.model_dump_json())
    else:
        planning.show(made, console)
    for path in planning.save(machine, number, output) if output is not None else ():
        console.print(f"saved {path}", highlight=False) if not as_json else None
    raise SystemExit(1 if made.blocked or done.status != "SUCCEEDED" else 0)


@cli.command()
@run_option
@click.option("--all", "every", is_flag=True, help="All runs that have no certificate yet, one after the other.")
@click.option("--yes", is_flag=True, help="Approve everything but quarantined rows in advance.")
@click.option("--detach", is_flag=True, help="Return at once instead of following to the certificate.")
@click.option("--chunk-rows", default=10_000, show_default=True, type=click.IntRange(100, 100_000), help="Rows of a chunk.")
@by_option
@json_option
@with_machine
def start(machine: Machine, run: int | None, every: bool, yes: bool, detach: bool, chunk_rows: int, by: str, as_json: bool) -> None:
    """Start the next run (--run N, --all) and follow it to its certificate. Exit code 0 only with the certificate."""
    if every and run is not None:
        raise click.UsageError("--run and --all exclude each other")
    certified = _certified(machine)
    wanted = list(RUNS) if every else [run or _next(machine)]
    todo = [number for number in wanted if not _has_certificate(machine, number, certified)]
    if not todo:
        _say(as_json, {"outcome": "nothing to do", "certified_run": certified}, f"run {wanted[-1]} has its certificate: nothing to do")
        return
    if todo[0] > certified + 1:
        raise click.UsageError(f"run {certified + 1} comes before run {todo[0]}: start that one, or --all")
    if not yes and not detach and not _is_attended():
        raise click.UsageError("nobody is here to approve: give --yes, or --detach and `omsync migrate approve` later")
    execution = machine.start(todo, approve=not yes, rows=chunk_rows)
    if detach:
        words = f"{_runs(todo)} started: follow with `omsync migrate status --watch`"
        _say(as_json, {"outcome": "started", "run": todo[0], "runs": todo, "execution": execution.arn}, words)
        return
    _to_the_end(machine, execution, as_json, by)


def _runs(runs: Sequence[int]) -> str:
    return f"run {runs[0]} is" if len(runs) == 1 else f"runs {', '.join(map(str, runs))} are"


def _is_attended() -> bool:
    return click.get_text_stream("stdin").isatty()


def _has_certificate(machine: Machine, run: int, certified: int) -> bool:
    return certified >= run and machine.certificate(run) is not None


def _approver(machine: Machine, by: str) -> Callable[[int, Gate], None]:
    def ask(run: int, gate: Gate) -> None:
        made = machine.verification(run) if gate == "certificate" else None
        if made is not None:
            _print_certificate(made)
        if gate == "start":
            console.print(planning.newest(machine, run), markup=False, highlight=False)
        what = "start" if gate == "start" else f"certificate{_signed_for(machine, run, None)}"
        if click.confirm(f"run {run}: approve the {what}?"):
            machine.approve(run, gate, by)
        else:
            console.print("not approved; the run waits a week: `omsync migrate approve`, or `omsync migrate stop`")
            raise click.Abort

    return ask


def _to_the_end(machine: Machine, execution: Execution, as_json: bool, by: str) -> None:
    """Follow runs to their certificates, one after the other; leave with 1 if one has none."""
    told: list[int] = []

    def ended(run: int) -> None:
        told.append(run)
        _conclude(machine, run, None, as_json)

    try:
        done = follow(machine, execution, console, quiet=as_json, approve=_approver(machine, by) if _is_attended() else None, ended=ended)
    except KeyboardInterrupt:
        console.print("followed no longer; it goes on: `omsync migrate status --watch`, or `omsync migrate stop`")
        raise SystemExit(1) from None
    issued = [_conclude(machine, run, done, as_json) for run in done.runs if run not in told and run <= done.run]
    if done.status != "SUCCEEDED" or not all(issued):
        raise SystemExit(1)


def _conclude(machine: Machine, run: int, done: Execution | None, as_json: bool) -> bool:
    """Tell what a run came to. -> Has it a certificate?"""
    made = machine.certificate(run)
    issued = made is not None
    status, error, cause = (done.status, done.error, done.cause) if done is not None and done.run == run else ("SUCCEEDED", "", "")
    if as_json:
        click.echo(json.dumps({"run": run, "status": status, "issued": issued, "cause": cause, "error": error}))
        return issued
    if (shown := made or machine.verification(run)) is not None:
        _print_certificate(shown)
    if not issued or status != "SUCCEEDED":
        console.print(f"[red]run {run}: {status.lower()}: {error} {cause}", highlight=False)
    return issued


# ------------------------------------------------------------------------------------------------------ watch and steer it
@cli.command()
@run_option
@click.option("--watch", is_flag=True, help="Follow until the run has come to its end.")
@json_option
@with_machine
def status(machine: Machine, run: int | None, watch: bool, as_json: bool) -> None:
    """How far a run is, table by table."""
    latest = next(iter(machine.executions()), None)
    if watch and latest is not None and latest.running:
        latest = follow(machine, latest, console, quiet=as_json)
    number = run or (latest.run if latest is not None else _next(machine))
    found = machine.status(number)
    mine = latest if latest is not None and number in latest.runs and latest.purpose == "migrate" else None
    if mine is not None and mine.run == number and mine.error == "CertificateRefused":
        _explain(found)
    running = "nothing is under way" if mine is None else mine.status if number >= mine.run else "SUCCEEDED"
    waits = found["waits_for"] if latest is not None and latest.running else []
    if as_json:
        click.echo(json.dumps({"run": number, "execution": running, **found, "waits_for": waits}))
    else:
        _print_status(number, running, found, waits)
        if mine is not None and not mine.running and mine.error:
            console.print(f"[red]{mine.error}: {mine.cause}", highlight=False)
    if watch and latest is not None and latest.status != "SUCCEEDED":
        raise SystemExit(1)


def _explain(found: Mapping[str, Any]) -> None:
    """Whoever has come to the end of a run without a word died with its process: out of memory or of time."""
    for one in found["tables"]:
        if lost := one["unexplained"]:
            one["failures"].append(f"{lost:,} {'chunk' if lost == 1 else 'chunks'} crashed and left no reason: see the functions' logs")


def _print_status(run: int, running: str, found: Mapping[str, Any], waits: Sequence[str]) -> None:
    paused = ", paused" if found["paused"] else ""
    console.print(f"run {run}: {running.lower().replace('_', ' ')}; certified up to run {found['certified_run']}{paused}")
    for reason in filter(None, [found.get("held_up"), *(f"run {gate} waits for: omsync migrate approve" for gate in waits)]):
        console.print(f"[yellow]{reason}", highlight=False)
    table = Table("table", "wave", "rows", "extracted", "loaded", "verified", "quarantined", "not in step", "API calls", "chunks")
    for one in found["tables"]:
        if one["wave"] == DELTA and not (one["extracted"] or one["different"] or one["failures"]):  # nothing changed there
            continue
        figures = (f"{one[key]:,}" for key in ("planned", "extracted", "loaded", "verified", "quarantined", "different", "calls"))
        table.add_row(one["table"], one["wave"], *figures, f"{one['done']}/{one['chunks']}")
        for failure in one["failures"]:
            console.print(f"[red]{one['table']}: {failure}", highlight=False)
    console.print(table)


@cli.command()
@run_option
@click.option("--gate", type=click.Choice(["start", "certificate"]), help="What to approve; without: what waits.")
@click.option(
    "--up-to",
    type=click.IntRange(min=0),
    metavar="ROWS",
    help="Sign a certificate with at most so many rows in quarantine; without: those that were verified, or in advance none.",
)
@by_option
@with_machine
def approve(machine: Machine, run: int | None, gate: str | None, up_to: int | None, by: str) -> None:
    """Approve a start, or sign a certificate with its quarantine, by name."""
    if up_to is not None and gate != "certificate":
        raise click.UsageError("--up-to goes with --gate certificate")
    waiting = [name.split("/") for name in machine.ask("status", run=1)["waits_for"]]
    chosen = [(int(number), name) for number, name in waiting if (run is None or int(number) == run) and gate in (None, name)]
    if not chosen and run is not None and gate is not None:
        chosen = [(run, gate)]  # in advance
    if not chosen:
        raise click.UsageError("nothing waits for an approval; to approve in advance give --run and --gate")
    for number, name in chosen:
        signed = _signed_for(machine, number, up_to) if name == "certificate" else ""
        if name == "start":
            console.print(planning.newest(machine, number), markup=False, highlight=False)
        was_waiting = machine.approve(number, cast("Gate", name), by, up_to=up_to)
        later = "" if was_waiting else " (nothing waits for it yet)"
        console.print(f"run {number}: {name} approved by {by}{signed}{later}", highlight=False)


def _signed_for(machine: Machine, run: int, up_to: int | None) -> str:
    made = machine.verification(run) if up_to is None else None
    if made is None:
        return f" for up to {up_to or 0:,} rows in quarantine"
    return f" for {made.quarantined_rows:,} rows in quarantine" + (f" ({listed(made.in_quarantine)})" if made.in_quarantine else "")


@cli.command()
@by_option
@with_machine
def pause(machine: Machine, by: str) -> None:
    """Begin no new work; what Salesforce works on is finished."""
    machine.ask("pause", paused=True, by=by)
    console.print("paused: jobs under way are finished, none is begun; go on with `omsync migrate resume`")


@cli.command()
@run_option
@click.option("--detach", is_flag=True, help="Return at once.")
@by_option
@json_option
@with_machine
def resume(machine: Machine, run: int | None, detach: bool, by: str, as_json: bool) -> None:
    """Go on after a pause or a stop, at the chunks where it stopped."""
    machine.ask("pause", paused=False, by=by)
    latest = next((one for one in machine.executions() if one.purpose == "migrate" and (run is None or run in one.runs)), None)
    if latest is None:
        raise click.UsageError("nothing was started yet: `omsync migrate start`")
    if not latest.running:
        certified = _certified(machine)
        wanted = [run] if run is not None else latest.runs
        todo = [number for number in wanted if not _has_certificate(machine, number, certified)]
        if not todo:
            told = {"outcome": "nothing to do", "certified_run": certified}
            _say(as_json, told, f"run {wanted[-1]} has its certificate: nothing to do")
            return
        latest = machine.start(todo, approve=latest.approve, rows=latest.chunk_rows)
    if detach:
        _say(as_json, {"outcome": "resumed", "run": latest.run, "runs": latest.runs}, f"{_runs(latest.runs)} going on")
        return
    _to_the_end(machine, latest, as_json, by)


@cli.command()
@with_machine
def stop(machine: Machine) -> None:
    """Stop the execution under way; `resume` goes on with its chunks."""
    found = list(machine.running())
    if not found:
        raise click.UsageError("nothing is under way")
    for one in found:
        machine.stop(one)
        console.print(f"run {one.run} is stopped; go on with `omsync migrate resume`")


# -------------------------------------------------------------------------------------------------------- verify and report
@cli.command()
@run_option
@json_option
@with_machine
def verify(machine: Machine, run: int | None, as_json: bool) -> None:
    """Compare every value of every row of a run once more, as both systems are now. Exit code 1 unless all are there."""
    number = run or max(1, _certified(machine))
    done = follow(machine, machine.start([number], approve=False, purpose="verify"), console, quiet=as_json)
    made = machine.verification(number) if done.status == "SUCCEEDED" or done.error == "CertificateRefused" else None
    proven = done.status == "SUCCEEDED" and made is not None and made.issued
    if as_json:
        refused = made.refused_because if made is not None else [f"{done.error}: {done.cause}"]
        rows = {table.table: table.model_dump(mode="json") for table in made.tables} if made is not None else {}
        click.echo(json.dumps({"run": number, "status": done.status, "proven": proven, "refused_because": refused, "tables": rows}))
    elif made is not None:
        _print_certificate(made)
    else:
        console.print(f"[red]{done.error}: {done.cause}", highlight=False)
    raise SystemExit(0 if proven else 1)


@cli.command()
@run_option
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Also save certificates, verifications and all their rows there."
)
@json_option
@with_machine
def report(machine: Machine, run: int | None, output: Path | None, as_json: bool) -> None:
    """Show the certificates. Exit code 1 if one that was asked for is not issued."""
    wanted = (run,) if run else RUNS
    issued = {number: machine.certificate(number) for number in wanted}
    made = {number: one or machine.verification(number) for number, one in issued.items()}
    if output is not None:
        _save(machine, wanted, output)
    if as_json:
        click.echo(json.dumps({str(number): one.model_dump(mode="json") for number, one in made.items() if one is not None}))
    else:
        for number, one in made.items():
            if one is None:
                console.print(f"run {number}: no certificate yet")
            else:
                _print_certificate(one)
    raise SystemExit(0 if all(issued.values()) else 1)


def _save(machine: Machine, runs: Sequence[int], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for run, what, kind in product(runs, ("certificate", "verification"), ("json", "html")):
        content = machine.get(f"{machine.folder(run)}/{what}.{kind}")
        if content is not None:
            (output / f"{what}-run-{run}.{kind}").write_bytes(content)
    for run, what, rows in product(runs, ("certificate", "verification"), ("quarantine", "mismatches")):
        packed = machine.get(f"{machine.folder(run)}/{what}-{rows}.jsonl.gz")
        if packed is not None and (lines := gzip.decompress(packed)):
            (output / f"{what}-run-{run}-{rows}.jsonl").write_bytes(lines)


def _print_certificate(made: Certificate) -> None:
    said = f"[red]not proven: {'; '.join(made.refused_because)}"
    if made.issued:
        said = "[green]certificate issued" if made.certified else "[green]every value of every row is there"
    names = (
        "table",
        "rows",
        "verified",
        "not sent",
        "quarantined",
        "missing",
        "mismatched",
        "unknown",
        "by live sync",
        "API calls",
        "rows/s",
    )
    table = Table(*names, title=f"Run {made.run}: {said}")
    for one in (table for table in made.tables if table.told):
        figures: list[Any] = [one.rows, one.verified, sum(one.not_sent.values()), one.quarantined, one.missing, one.mismatched, one.unknown]
        table.add_row(one.title, *(f"{value:,}" for value in [*figures, one.handed, one.calls]), f"{one.rate:,.0f}")
    console.print(table)
    for row in made.quarantine[:SHOWN]:
        console.print(f"  quarantined {row.table}/{row.id} {row.field or ''}: {row.message}", style="yellow", highlight=False)
    for found in made.mismatches[:SHOWN]:
        console.print(f"  {found.kind} {found.table}/{found.id} {', '.join(found.fields)}", style="red", highlight=False)
    for what, named, of in (
        ("in quarantine", made.quarantine, made.quarantined_rows),
        ("that differ", made.mismatches, made.differing_rows),
    ):
        if (shown := len(named[:SHOWN])) < of:
            console.print(f"  {shown} of {of:,} rows {what}; all: omsync migrate report --run {made.run} --output DIR", highlight=False)


def _say(as_json: bool, answer: dict[str, Any], words: str) -> None:
    if as_json:
        click.echo(json.dumps(answer))
    else:
        print(words, file=sys.stdout)
