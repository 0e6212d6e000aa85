"""What `omsync local seed` does: checks what is there, loads, and says what was loaded. One transaction, all or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from local.seed import bulk, notes, synthea
from local.seed.bulk import Before, Connection, SeedFault
from local.seed.columns import COLUMNS, FIXED, RATIOS, TABLES
from local.seed.company import found
from local.seed.source import Tally
from local.seed.story import Chunk, Plan, receive, send
from local.seed.text import Rows


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to load. `rejects`: where rows of the source files that could not be loaded are listed."""

    patients: int = 0
    seed: int = 1
    append: bool = False
    synthea: Path | None = None
    notes: Path | None = None
    rejects: Path = Path("rejects.csv")


@dataclass(slots=True)
class Outcome:
    """What was loaded, by table; what became of the source files; what it cost. `cursor` is the feeds' position afterwards."""

    loaded: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    peak_mb: int = 0
    cursor: str = ""

    @property
    def rows(self) -> int:
        return sum(self.loaded.values())


class Watcher(Protocol):
    """Shows how far it is."""

    def expect(self, table: str, rows: int) -> None:
        """About so many rows will be loaded."""

    def loaded(self, table: str, rows: int) -> None:
        """So many more are."""

    def say(self, what: str) -> None:
        """What happens now."""


def sow(url: str, wanted: Wanted, watcher: Watcher) -> Outcome:
    """Load what is wanted. Everything wrong is a SeedFault, and then nothing was loaded."""
    begun, outcome = time.monotonic(), Outcome()

    def count(table: str, rows: int) -> None:
        outcome.loaded[table] = outcome.loaded.get(table, 0) + rows
        watcher.loaded(table, rows)

    with bulk.opened(url) as connection:
        before = bulk.look(connection, _a_product())
        _check(before, wanted)
        export = synthea.load(wanted.synthea, outcome.tally) if wanted.synthea else None
        with bulk.bare(connection, watcher.say) if before.empty else contextlib.nullcontext():
            if wanted.patients:
                _sow_patients(connection, wanted, before, watcher, count)
            if export is not None and wanted.synthea:
                _load_rows(connection, export.rows, watcher, count)
                bulk.remember(connection, _name(wanted.synthea / "patients.csv"), 0)
            if wanted.notes:
                _load_rows(connection, {"clinical_notes": notes.load(connection, wanted.notes, outcome.tally)}, watcher, count)
                bulk.remember(connection, _name(wanted.notes), 0)
        outcome.tally.check()
        outcome.total = bulk.look(connection, _a_product()).rows
    watcher.say("statistics")
    outcome.cursor = bulk.settle(url)
    if outcome.tally.rejects:
        outcome.tally.write(wanted.rejects)
    outcome.seconds = time.monotonic() - begun
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    outcome.peak_mb = (own + children) // 1024
    return outcome


def _check(before: Before, wanted: Wanted) -> None:
    for path in (wanted.synthea / "patients.csv" if wanted.synthea else None, wanted.notes):
        if path is not None and _name(path) in before.seeds:
            raise SeedFault(f"{path} is already in this database: nothing was loaded")
    if not wanted.patients:
        return
    if before.patients + wanted.patients > bulk.MOST_PATIENTS:
        raise SeedFault(f"at most {bulk.MOST_PATIENTS:,} seeded patients fit below the numbers of live rows; there are {before.patients:,}")
    if _seed_name(wanted.seed) in before.seeds:
        patients = before.seeds[_seed_name(wanted.seed)]
        raise SeedFault(
            f"seed {wanted.seed} is already in this database ({patients:,} patients): add others by --append and another --seed"
        )
    if not before.empty and not wanted.append:
        raise SeedFault(
            f"the database is not empty ({before.rows['patients']:,} patients, {before.rows['orders']:,} orders):"
            " add to it by --append, or start with an empty one (`make clean`)"
        )


def _sow_patients(connection: Connection, wanted: Wanted, before: Before, watcher: Watcher, count: Callable[[str, int], None]) -> None:
    plan = Plan(wanted.patients, wanted.seed, before.patients, not before.has_company, bulk.edit_times(connection))
    for table, ratio in RATIOS.items():
        watcher.expect(table, int(ratio * wanted.patients))
    if plan.company:
        for table, rows in FIXED.items():
            watcher.expect(table, rows)
    watcher.say("rows")
    with _generator(plan) as chunks:
        bulk.copy(connection, chunks, count)
    bulk.remember(connection, _seed_name(wanted.seed), wanted.patients)


@contextlib.contextmanager
def _generator(plan: Plan) -> Iterator[Iterable[Chunk]]:
    """The chunks of a plan, made by a process of its own, which ends with the `with`."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(plan, there), daemon=True, name="seed")
    process.start()
    there.close()
    try:
        yield receive(here)
    except EOFError:
        raise SeedFault("the process that makes the rows has stopped: nothing was loaded") from None
    finally:
        here.close()
        process.join()


def _load_rows(
    connection: Connection, tables: dict[str, list[dict[str, object]]], watcher: Watcher, count: Callable[[str, int], None]
) -> None:
    """COPY rows given as column -> value; edited_at of a shared table is the row's own time."""
    templates = bulk.edit_times(connection)
    for table, rows in tables.items():
        if not rows:
            continue
        watcher.expect(table, len(rows))
        if table in templates:
            for row in rows:
                row["edited_at"] = templates[table].replace("@", _api_time(str(row["updated_at"])))
        names = {name for row in rows for name in row}
        columns = tuple(column for column in COLUMNS[table] if column in names)
        count(table, bulk.copy_rows(connection, table, columns, (tuple(row.get(column) for column in columns) for row in rows)))


def _api_time(moment: str) -> str:
    """With microseconds, as `edited_at` holds times."""
    return moment if "." in moment else moment.replace("Z", ".000000Z")


def _a_product() -> str:
    """The id of a product of the company: is it there already?"""
    return found(Rows(TABLES, {})).others[0].id


def _seed_name(seed: int) -> str:
    return f"seed {seed}"


def _name(path: Path) -> str:
    """A source file by its content."""
    try:
        return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError as fault:
        raise SeedFault(f"{path}: {fault.strerror or fault}") from None
