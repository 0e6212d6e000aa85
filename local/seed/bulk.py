"""Rows into the database, in one transaction: all of them or none.

Into an empty database, indexes and foreign keys are dropped before the load and made again after it, which checks every row
just the same and takes a fifth of the time. The tables are locked meanwhile. Row triggers are skipped where the server lets
us (`session_replication_role`); seeded rows already hold what those would fill in. Where it does not, the triggers run under
`omsync.seeding`, with the same result. No outbox row is written either way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql

from local.oms import database
from local.seed.columns import COLUMNS, TABLES
from local.seed.story import Chunk
from omsync.platform.errors import Permanent

type Connection = psycopg.Connection[tuple[object, ...]]
type Loaded = Callable[[str, int], None]
"""told after each COPY: table, rows"""

#: patients' numbers times 120 must stay below 50,000,000, where the numbers of live rows begin
MOST_PATIENTS = 400_000


class SeedFault(Permanent):
    """Seeding is refused or impossible; the message says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="seed")


@dataclass(frozen=True, slots=True)
class Before:
    """What the database held: rows by table, and the seeds it was given (name -> patients)."""

    rows: dict[str, int]
    seeds: dict[str, int]
    has_company: bool

    @property
    def empty(self) -> bool:
        return not any(self.rows.values())

    @property
    def patients(self) -> int:
        """How many patient numbers are taken."""
        return sum(self.seeds.values())


@contextlib.contextmanager
def opened(url: str) -> Iterator[Connection]:
    """A connection in a transaction of its own that loads history; the OMS's schema is installed first if it is missing."""
    try:
        database.install(url)
        with psycopg.connect(url, connect_timeout=10) as connection:
            connection.execute("SELECT set_config('omsync.seeding', 'on', false), set_config('timezone', 'UTC', false)")
            connection.execute("SELECT set_config('lock_timeout', '30s', true), set_config('synchronous_commit', 'off', true)")
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('oms.seed'))")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS oms_seeded (name text PRIMARY KEY, patients bigint NOT NULL, at timestamptz NOT NULL DEFAULT now())"
            )
            yield connection
    except psycopg.errors.LockNotAvailable:
        raise SeedFault("the tables are in use by another transaction: stop the writers and seed again") from None
    except psycopg.errors.UniqueViolation as fault:
        where = f"{fault.diag.table_name} ({fault.diag.constraint_name})"
        raise SeedFault(f"{where}: the database already holds some of these rows; nothing was loaded") from None
    except psycopg.OperationalError as fault:
        raise SeedFault(f"the database cannot be reached: {str(fault).strip().splitlines()[0]}") from None
    except psycopg.Error as fault:
        raise SeedFault(f"the database refused the load, nothing was loaded: {str(fault).strip().splitlines()[0]}") from None


def look(connection: Connection, company: str) -> Before:
    """What is there. `company`: id of a product of the fixed tables."""
    rows = {table: _one(connection, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))) for table in TABLES}
    seeds = {str(name): int(str(patients)) for name, patients in connection.execute("SELECT name, patients FROM oms_seeded")}
    known = connection.execute("SELECT 1 FROM products WHERE id = %s", [company]).fetchone() is not None
    return Before(rows, seeds, known)


def edit_times(connection: Connection) -> dict[str, str]:
    """table -> edited_at of a row as JSON text, @ for the moment: the shared columns as the triggers name them."""
    found = connection.execute("SELECT tgrelid::regclass::text, tgargs FROM pg_trigger WHERE tgname = 't80_edit_times'")
    templates = {}
    for table, arguments in found:
        assert isinstance(arguments, bytes)
        names = arguments.decode().rstrip("\0").split("\0")
        templates[str(table)] = "{" + ",".join(f'"{name}":"@"' for name in names) + "}"
    return templates


def remember(connection: Connection, name: str, patients: int) -> None:
    """This seed has been sown."""
    connection.execute("INSERT INTO oms_seeded (name, patients) VALUES (%s, %s)", [name, patients])


@contextlib.contextmanager
def bare(connection: Connection, tell: Callable[[str], None]) -> Iterator[None]:
    """The tables without indexes, keys and row triggers for the length of a `with`."""
    dropped, made = _structure(connection)
    skipped = _may_skip_triggers(connection)
    if skipped:
        connection.execute("SET LOCAL session_replication_role = replica")
    for statement in dropped:
        connection.execute(statement.encode())
    yield
    if skipped:
        connection.execute("SET LOCAL session_replication_role = origin")
    connection.execute("SELECT set_config('maintenance_work_mem', '128MB', true)")
    for place, statement in enumerate(made, 1):
        tell(f"indexes and keys {place}/{len(made)}")
        connection.execute(statement.encode())


def copy(connection: Connection, chunks: Iterable[Chunk], loaded: Loaded) -> None:
    """COPY every chunk's tables in turn."""
    for chunk in chunks:
        for table, count, text in chunk:
            with connection.cursor().copy(_copy_into(table, COLUMNS[table])) as target:
                target.write(text)
            loaded(table, count)


def copy_rows(connection: Connection, table: str, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> int:
    """COPY Python values; how many rows."""
    count = 0
    with connection.cursor().copy(_copy_into(table, columns)) as target:
        for row in rows:
            target.write_row(row)
            count += 1
    return count


def settle(url: str) -> str:
    """Statistics for the planner, which would otherwise think the tables empty; the feeds' position now, ahead of all seeded rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table in TABLES:
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
        row = connection.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()
    assert row is not None
    return str(row[0])


def _copy_into(table: str, columns: tuple[str, ...]) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)


def _structure(connection: Connection) -> tuple[list[str], list[str]]:
    """Statements that drop all keys and indexes of the 23 tables, and those that make them again."""
    tables = list(TABLES)
    constraints = connection.execute(
        "SELECT conrelid::regclass::text, quote_ident(conname), contype::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid::regclass::text = ANY(%s) AND contype IN ('f', 'p', 'u') ORDER BY contype = 'f' DESC, conrelid, conname",
        [tables],
    ).fetchall()
    indexes = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid::regclass::text = ANY(%s) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))"
        " ORDER BY indrelid, indexrelid",
        [tables],
    ).fetchall()
    dropped = [f"ALTER TABLE {table} DROP CONSTRAINT {name}" for table, name, _, _ in constraints]
    dropped += [f"DROP INDEX {name}" for name, _ in indexes]
    keys = [f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}" for table, name, kind, text in constraints if kind != "f"]
    foreign = [f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}" for table, name, kind, text in constraints if kind == "f"]
    return dropped, [*keys, *(str(text) for _, text in indexes), *foreign]


def _may_skip_triggers(connection: Connection) -> bool:
    row = connection.execute("SELECT has_parameter_privilege('session_replication_role', 'SET')").fetchone()
    return row is not None and bool(row[0])


def _one(connection: Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(str(row[0]))
