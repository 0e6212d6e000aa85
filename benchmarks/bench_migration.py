"""Rows a second from PostgreSQL to verified in Salesforce, for patients, orders and clinical_notes, against the same simulator in one run.

    python benchmarks/bench_migration.py [--rows 10000] [--million] [--home DIR]

    omsync       extract, load, link, verify: the steps of the functions, chunks as they are planned, five at a time, in warm processes
    plain        a script with simple-salesforce's bulk2
    cumulusci    CumulusCI's load_dataset
    sfdmu        the sf plugin
    floor        COPY to CSV, PUT, poll, nothing else: no mapping of rows, no manifest, no verification

What the others do is in contenders.py; one that is not installed is left out, with the line that installs it. Parents are loaded before
the clock starts, and each begins with an org that lacks the table. Prints one JSON object; `--home` uses a stack that is up and
seeded. `--million`: order_status_history, 10,000 rows and 1,000,000, function by function in a process of its own: memory, calls, rate.
"""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psycopg
from contenders import CONTENDERS, Missing, Table
from migration_stack import LOOK_SECONDS, Bench, Workers, multiply, stack, tell

if TYPE_CHECKING:
    from omsync.migration.model import ChunkState

#: the tables that are measured, each with what has to be there before
TABLES = {
    "patients": ("pharmacies", "providers"),
    "orders": ("products", "consultations", "subscriptions"),
    "clinical_notes": (),
}
ALL_STEPS = (("source", "extract"), ("org", "load"), ("org", "link"), ("source", "changes"), ("org", "verify"))
#: as the state machine does them: all chunks of a wave come so far before one goes on
BARRIERS = (ALL_STEPS[:2], ALL_STEPS[2:3], ALL_STEPS[3:])
MILLION = "order_status_history"


def omsync(bench: Bench, table: str, _: Sequence[bytes]) -> dict[str, Any]:
    """All of it, to the last value verified."""
    name = bench.named()
    begun = time.monotonic()
    refs = bench.refs(name, table)
    told = [bench.workers.run(refs, steps) for steps in BARRIERS]
    seconds = time.monotonic() - begun
    states = bench.org.chunks.read_many(refs)
    rows, verified = sum(_due(one) for one in states), sum(one.verified for one in states)
    worked: dict[str, float] = {}
    for state in states:
        for step, spent in state.seconds.items():
            worked[step] = round(worked.get(step, 0.0) + spent, 2)
    calls, peak = sum(calls for calls, _ in told), max(peak for _, peak in told)
    return {"rows": rows, "seconds": seconds, "different": rows - verified, "calls": calls, "peak_mb": peak, "worked": worked}


def _due(state: ChunkState) -> int:
    """Rows that must be in Salesforce: children of what is not sent by rule are not."""
    return state.to_send - sum(state.excused.values())


def floor(bench: Bench, table: str, contents: Sequence[bytes]) -> dict[str, Any]:
    """What no loader can be quicker than: the files are made before."""
    target = bench.mappings[table].targets[0].object
    begun = time.monotonic()
    statement = f"COPY {table} TO STDOUT (FORMAT csv)"
    with psycopg.connect(bench.endpoints["oms_database_url"]) as database, database.cursor() as cursor, cursor.copy(statement) as copied:
        for _ in copied:
            pass
    jobs = []
    for content in contents:
        job = bench.org.salesforce.create_job(target)
        bench.org.salesforce.upload(job, io.BytesIO(content))
        jobs.append(job)
    while not all(bench.org.salesforce.look(job).done for job in jobs):
        time.sleep(LOOK_SECONDS)
    rows = sum(bench.org.salesforce.look(job).processed for job in jobs)
    return {"rows": rows, "seconds": time.monotonic() - begun, "different": 0}


def contender(load: Callable[[Table], tuple[int, int]]) -> Callable[[Bench, str, Sequence[bytes]], dict[str, Any]]:
    """One of the others, timed."""

    def run(bench: Bench, table: str, _: Sequence[bytes]) -> dict[str, Any]:
        prepared = Table(bench, table)
        begun = time.monotonic()
        rows, different = load(prepared)
        return {"rows": rows, "seconds": time.monotonic() - begun, "different": different}

    return run


def bulk_files(bench: Bench, table: str) -> list[bytes]:
    """The CSV of a table, as omsync would send it."""
    refs = bench.refs(bench.named(), table)
    bench.workers.run(refs, (("source", "extract"),))
    parts = [part for state in bench.org.chunks.read_many(refs) for part in state.parts if part.kind == "bulk"]
    return [gzip.decompress(bench.source.files.get(part.file) or b"") for part in parts]


def compare(bench: Bench, rows: int, only: Sequence[str]) -> dict[str, Any]:
    """All tables, all contenders."""
    found: dict[str, Any] = {}
    for table in TABLES:
        multiply(bench.endpoints["oms_database_url"], table, rows)
    bench.empty()
    for table, before in TABLES.items():
        bench.load(*before)
        contents = bulk_files(bench, table)
        figures: dict[str, Any] = {}
        runs = {"floor": floor, **{name: contender(load) for name, load in CONTENDERS.items()}, "omsync": omsync}
        for name, run in runs.items():
            if only and name not in only and name != "omsync":  # whose rows the next table refers to
                continue
            bench.empty(table) if table != "patients" else _only_parents(bench, before)
            try:
                one = run(bench, table, contents)
            except Missing as how:
                figures[name] = {"missing": f"to compare with it: {how}"}
                continue
            one["rows_per_second"] = round(one["rows"] / one["seconds"])
            one["seconds"] = round(one["seconds"], 2)
            figures[name] = one
            click.echo(f"{table} {name}: {one}", err=True)
        found[table] = {**figures, **ratios(figures)}
    return found


def _only_parents(bench: Bench, before: Sequence[str]) -> None:
    """Patients share an object with pharmacies."""
    bench.empty()
    bench.load(*before)


def ratios(figures: dict[str, Any]) -> dict[str, Any]:
    """omsync against each, and against the floor."""
    rates = {name: one["rows_per_second"] for name, one in figures.items() if "rows_per_second" in one}
    ours = rates["omsync"]
    told: dict[str, Any] = {f"against_{name}": round(ours / rates[name], 2) for name in CONTENDERS if name in rates}
    if "floor" in rates:
        told["share_of_floor"] = round(ours / rates["floor"], 2)
    told["calls_per_million_rows"] = round(figures["omsync"]["calls"] / figures["omsync"]["rows"] * 1_000_000)
    return told


def million(bench: Bench, rows: int) -> dict[str, Any]:
    """A small and a large migration of one table, each function in a process of its own."""
    url = bench.endpoints["oms_database_url"]
    bench.empty()
    bench.load("products", "pharmacies", "providers", "patients", "consultations", "subscriptions", "orders")
    found: dict[str, Any] = {}
    for wanted in (10_000, rows):
        there = multiply(url, MILLION, rows if wanted == rows else 0)
        bench.empty(MILLION)
        name = bench.named()
        refs = bench.refs(name, MILLION)
        refs = refs[: max(1, round(len(refs) * wanted / there))] if wanted < there else refs
        figures: dict[str, Any] = {}
        calls, seconds = 0, 0.0
        for function, steps in (
            ("source", ALL_STEPS[:1]),
            ("load", ALL_STEPS[1:3]),
            ("changes", ALL_STEPS[3:4]),
            ("verify", ALL_STEPS[4:]),
        ):
            workers, started = Workers(bench.endpoints), time.monotonic()
            made, peak = workers.run(refs, steps)
            workers.close()
            calls, seconds = calls + made, seconds + time.monotonic() - started
            figures[function] = {"peak_mb": peak, "seconds": round(time.monotonic() - started, 1)}
        states = bench.org.chunks.read_many(refs)
        sent, verified = sum(_due(one) for one in states), sum(one.verified for one in states)
        figures |= {"rows": sent, "different": sent - verified, "seconds": round(seconds, 1), "rows_per_second": round(sent / seconds)}
        figures |= {"calls": calls, "calls_per_million_rows": round(calls / sent * 1_000_000)}
        found[f"{wanted:,} rows"] = figures
        click.echo(f"{wanted:,} rows: {figures}", err=True)
    return found


@click.command()
@click.option("--rows", default=10_000, show_default=True, help="Rows of each table.")
@click.option("--million", "as_million", is_flag=True, help="A million rows of one table instead; --rows says another number.")
@click.option("--only", multiple=True, help="Of the others, only these.")
@click.option("--home", type=click.Path(file_okay=False, path_type=Path))
def main(rows: int, as_million: bool, only: tuple[str, ...], home: Path | None) -> None:
    """Print the figures."""
    with stack(home, 1000) as endpoints:
        tell(endpoints)
        bench = Bench(endpoints)
        try:
            with bench.without_schedules():
                found = million(bench, rows if rows != 10_000 else 1_000_000) if as_million else compare(bench, rows, only)
        finally:
            bench.workers.close()
        click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
