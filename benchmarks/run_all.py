"""All benchmarks, one after the other, and one table of their figures at the end: `make bench`.

    python benchmarks/run_all.py [NAME ...]

Those that need a stack share one, made for them in `.local/bench/stack` and taken down afterwards. What a benchmark printed is kept in
`.local/bench/<name>.log`. Exit code 1 if one failed, or missed a limit of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".local" / "bench"
HOME = KEPT / "stack"
HERE = Path(__file__).resolve().parent
#: a figure by its place in the printed JSON, and what it is called
type Figures = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Bench:
    """A benchmark and what of it goes into the table; without figures its last line does."""

    name: str
    script: str
    words: tuple[str, ...] = ()
    figures: Figures = ()
    stack: bool = False
    seed: int = 0  # patients to be there before


def _lags(direction: str) -> Figures:
    return [(f"{direction}/{part}", f"{direction}: lag {part}, s") for part in ("p50", "p99")]


def _migration() -> Iterator[tuple[str, str]]:
    for table in ("patients", "orders", "clinical_notes"):
        for name in ("omsync", "plain", "cumulusci", "sfdmu", "floor"):
            yield f"{table}/{name}/rows_per_second", f"{table}: {name}, rows/s"
        yield f"{table}/share_of_floor", f"{table}: share of the floor"
        yield f"{table}/calls_per_million_rows", f"{table}: API calls a million rows"


def _million() -> Iterator[tuple[str, str]]:
    for rows in ("10,000 rows", "1,000,000 rows"):
        yield f"{rows}/rows_per_second", f"{rows}: rows/s"
        yield f"{rows}/calls_per_million_rows", f"{rows}: API calls a million"
        for function in ("source", "load", "verify"):
            yield f"{rows}/{function}/peak_mb", f"{rows}: {function}, peak MB"


_OMS = [
    (f"{way}/{part}", f"PATCH {way}: {part}")
    for way in ("one after the other", "8 at a time")
    for part in ("p50_ms", "p99_ms", "per_second")
]
_BULK = [(f"{kind}/per_second", f"Bulk {kind}, records/s") for kind in ("created", "repeated", "updated")]
_BULK += [("exported_per_second", "Bulk query, records/s"), ("memory_mb/peak", "peak MB")]
BENCHES = (
    Bench("mapping", "bench_mapping.py"),
    Bench("seed", "bench_seed.py"),
    Bench("memory", "bench_memory.py"),
    Bench("oms", "bench_oms.py", figures=_OMS),
    Bench("bulk", "bench_bulk.py", figures=_BULK),
    Bench("sync", "bench_sync.py", figures=[*_lags("OMS to Salesforce"), *_lags("Salesforce to OMS")], stack=True),
    Bench("calls", "bench_calls.py", figures=[("records_per_call", "changed records a Salesforce call"), ("records_per_second", "records/s")], stack=True),
    Bench("emails", "bench_emails.py", stack=True),
    Bench("migration", "bench_migration.py", ("--home", str(HOME)), list(_migration()), stack=True, seed=1000),
    Bench("million", "bench_migration.py", ("--million", "--home", str(HOME)), list(_million()), stack=True, seed=1000),
)  # fmt: skip


def omsync(*words: str) -> None:
    """The command, for the shared stack."""
    subprocess.run([sys.executable, "-m", "ops.main", *words], cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL)


def environment() -> dict[str, str]:
    """Of the benchmarks: the shared stack is theirs."""
    return {**os.environ, "OMSYNC_HOME": str(HOME), "PYTHONPATH": f"{ROOT / 'layers' / 'omsync'}:{ROOT}", "PYTHONUNBUFFERED": "1"}


def run(bench: Bench) -> tuple[int, float, str]:
    """(exit code, seconds, what it printed)."""
    begun = time.monotonic()
    log = KEPT / f"{bench.name}.log"
    with log.open("w") as file:
        command = [sys.executable, str(HERE / bench.script), *bench.words]
        done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=file, text=True)
        file.write(done.stdout)
    return done.returncode, time.monotonic() - begun, done.stdout


def rows(bench: Bench, printed: str) -> Iterator[tuple[str, str]]:
    """(figure, value): those that are named; of others, all numbers on the outside; of text, the last line."""
    told = _json(printed)
    if told is None:
        lines = [line for line in printed.splitlines() if line.strip()]
        yield (lines[-1].partition(":")[0], lines[-1].partition(":")[2].strip()) if lines else ("nothing", "was printed")
        return
    for place, name in bench.figures or [
        (key, key.replace("_", " ")) for key, value in told.items() if isinstance(value, int | float | str)
    ]:
        value = _at(told, place)
        if value is not None:
            yield name, f"{value:,}" if isinstance(value, int | float) else str(value)
        elif (missing := _at(told, f"{place.rpartition('/')[0]}/missing")) is not None:
            yield name, f"not measured; {missing}"
        else:
            yield name, "not reported"


def _json(printed: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(printed[printed.index("{") :])
    except ValueError:
        return None
    return found if isinstance(found, Mapping) else None


def _at(told: Any, place: str) -> Any:
    for part in place.split("/"):
        if not isinstance(told, Mapping) or part not in told:
            return None
        told = told[part]
    return told


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([bench.name for bench in BENCHES]))
def main(names: tuple[str, ...]) -> None:
    """Run them (all, or those named) and print the table."""
    console, table = Console(width=None if sys.stdout.isatty() else 140), Table("benchmark", "figure", "value", title="Benchmarks")
    chosen = [bench for bench in BENCHES if not names or bench.name in names]
    KEPT.mkdir(parents=True, exist_ok=True)
    failed, up, seeded = [], False, False
    try:
        for bench in chosen:
            if bench.stack and not up:
                shutil.rmtree(HOME, ignore_errors=True)
                omsync("local", "up")
                up = True
            if bench.seed and not seeded:
                omsync("local", "seed", "--patients", str(bench.seed))
                seeded = True
            console.print(f"{bench.name} ...", highlight=False)
            code, seconds, printed = run(bench)
            if code:
                failed.append(bench.name)
            table.add_section()
            table.add_row(bench.name, "took", f"{seconds:,.0f} s" + (f"; FAILED with {code}, see {KEPT / bench.name}.log" if code else ""))
            for figure, value in rows(bench, printed):
                table.add_row("", figure, value)
    finally:
        if up:
            omsync("local", "down")
    console.print(table)
    if failed:
        console.print(f"[red]failed or too slow: {', '.join(failed)}")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
