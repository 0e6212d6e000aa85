"""What was there before: the OMS is filled with history, and the four migration runs bring it into Salesforce while the company works on."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from local.demo import requirements
from local.demo.children import Children
from local.demo.journal import MigratedRun, MigratedTable, PromiseBroken
from local.demo.stage import Stage
from omsync.migration.model import DELTA, Certificate, TableResult
from ops.connections import Connections
from ops.migrate.machine import Machine

#: made-up patients; each brings about 82 rows
PATIENTS, FEW = 40, 8
RUNS = (1, 2, 3, 4)
SIGNED_BY = "omsync demo"
#: rows in quarantine that are signed for: more than any demo has, so that no run waits for a signature that nobody gives
SIGNED_ROWS = 1_000_000
#: the share of rows that may be in quarantine; of more the demo says that its promise is broken
BAD_SHARE = 0.01


def seeds(stage: Stage, children: Children, data: str) -> None:
    """Made up, or from the files in DATA."""
    if data:
        folder = Path(data).absolute()
        wanted = ["--synthea", str(requirements.synthea(folder))]
        if texts := requirements.notes(folder):
            wanted += ["--notes", str(texts)]
    else:
        wanted = ["--patients", str(FEW if stage.quick else PATIENTS)]
    stage.show.waiting("filling the OMS")
    told = json.loads(children.omsync("local", "seed", *wanted, "--json").splitlines()[-1])
    tables = sum(1 for rows in told["loaded"].values() if rows)
    stage.fact(f"{told['rows']:,} rows in {tables} tables, {told['loaded']['patients']:,} of them patients", told["seconds"])
    for name, counts in told["files"].items():
        stage.show.line(f"{name}: {counts['read']:,} read, {counts['loaded']:,} loaded, {counts['rejected']:,} rejected")
    if told["rejects"]:
        rejected = sum(counts["rejected"] for counts in told["files"].values())
        stage.fact(f"{rejected:,} rows of the files fit nowhere; each is listed with its reason in {os.path.relpath(told['rejects'])}")


def migrates(stage: Stage, children: Children, out: Path) -> None:
    """All four runs, every value verified; approved by the demo, quarantined rows signed for by name."""
    stage.show.waiting("approving the runs")
    machine = Machine(_connections(stage), "main")
    for run in RUNS:
        machine.approve(run, "certificate", SIGNED_BY, up_to=SIGNED_ROWS)  # in advance, as `omsync migrate approve` does
    began = stage.journal.now()
    if stage.show.console.is_terminal:
        stage.show.rest()
        children.visibly("migrate", "start", "--all", "--yes", "--by", SIGNED_BY)
    else:
        children.omsync(
            "migrate", "start", "--all", "--yes", "--by", SIGNED_BY, "--json", told=lambda line: stage.show.line(_progress(line))
        )
    seconds = stage.journal.now() - began
    stage.show.waiting("reading the certificates")
    told = json.loads(children.omsync("migrate", "report", "--json", "--output", str(out / "certificates")).splitlines()[-1])
    made = [Certificate.model_validate(one) for _, one in sorted(told.items())]
    stage.journal.migrated = list(migrated(made))
    stage.journal.runs = [run_of(one) for one in made]
    stage.journal.verified = progress(made)
    summary = figures(made)
    stage.journal.summary["migration"] = summary
    stage.fact(
        f"{summary['source_rows']:,} rows of {summary['tables']} tables in {len(made)} runs; {summary['verified_rows']:,} verified value by value",
        seconds,
    )
    stage.fact(
        f"{summary['missing']} missing, {summary['mismatched']} mismatched, {summary['unknown']} unknown, {summary['quarantined']} quarantined"
    )
    for reason in set_aside(made):
        stage.fact(reason)
    if int(str(summary["quarantined"])) > BAD_SHARE * int(str(summary["source_rows"])):
        raise PromiseBroken(f"{summary['quarantined']:,} of {summary['source_rows']:,} rows are in quarantine, more than one in a hundred")
    if [one.run for one in made if one.issued] != list(RUNS):
        raise PromiseBroken("not every run has its certificate")
    stage.fact("all four certificates are issued")


def _connections(stage: Stage) -> Connections:
    told = stage.systems.endpoints
    account = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return Connections(told["stack_name"], told["region"], told["aws_endpoint_url"], account)


def own_tables(made: Certificate) -> list[TableResult]:
    """A run's tables, without what the last run looked at once more: rows that changed since the runs before."""
    return [table for table in made.tables if table.wave != DELTA]


def figures(made: Sequence[Certificate]) -> dict[str, object]:
    """The section `migration` of summary.json."""
    tables = [table for one in made for table in own_tables(one)]
    everything = [table for one in made for table in one.tables]
    names = ("missing", "mismatched", "unknown", "quarantined")
    return {
        "tables": len({table.table for table in tables}),
        "runs": sum(one.issued for one in made),
        "source_rows": sum(table.rows for table in tables),
        "verified_rows": sum(table.verified for table in tables),
        **{name: sum(int(getattr(table, name)) for table in everything) for name in names},
        "not_sent_by_rule": sum(sum(table.not_sent.values()) for table in tables),
    }


def set_aside(made: Sequence[Certificate]) -> list[str]:
    """What is in quarantine and why, the most frequent first."""
    reasons = Counter((row.table, row.message) for one in made for row in one.quarantine)
    return [f"in quarantine: {number:,} of {table}, {message}" for (table, message), number in reasons.most_common(5)]


def migrated(made: Iterable[Certificate]) -> Iterable[MigratedTable]:
    """What each table came to."""
    for one in made:
        for table in own_tables(one):
            yield MigratedTable(
                table.table, one.run, table.rows, table.verified, sum(table.not_sent.values()), table.quarantined, table.rate
            )


def run_of(one: Certificate) -> MigratedRun:
    """What a run came to."""
    tables = own_tables(one)
    return MigratedRun(one.run, len(tables), sum(table.verified for table in tables), round(one.at - one.planned_at, 1))


def progress(made: Sequence[Certificate]) -> list[tuple[float, int]]:
    """(seconds since the first run was planned, rows verified by then), over all runs."""
    points: list[tuple[float, int]] = []
    before = 0
    for one in made:
        shift = one.planned_at - made[0].planned_at
        points += [(round(at + shift, 1), before + rows) for at, rows in [(0.0, 0), *one.progress]]
        before = points[-1][1]
    return points


def _progress(line: str) -> str:
    """A line of `migrate start --json` in words."""
    try:
        told = json.loads(line)
    except ValueError:
        return line
    return f"run {told['run']}: {'certificate issued' if told.get('issued') else told.get('status')}"
