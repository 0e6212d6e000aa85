"""The pool, the transaction, and the row statements that routes and actions share.

`Store.run(caller, work)` runs `work(connection)` in one transaction that knows who calls, and runs it again if the database
gave it up for another one (deadlock, serialization): such work has had no effect.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import errors as sqlstates
from psycopg import sql
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from .catalog import ADDRESS_UNITS, Table, read_catalog
from .problems import refused

ATTEMPTS = 5
type Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True)
class Caller:
    """Who asks: the OAuth client, the name written to `changed_by`, and the correlation id of the events that follow."""

    client_id: str
    scopes: frozenset[str] = frozenset()
    changed_by: str = ""
    correlation_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Found:
    """A row as the API shows it: its version and its JSON."""

    version: int
    body: str


class Store:
    """The database behind the service."""

    def __init__(self, url: str, *, connections: int = 16) -> None:
        self.url = url
        options = "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
        self.pool: ConnectionPool[Connection] = ConnectionPool(
            url, min_size=2, max_size=connections, timeout=10, open=False, kwargs={"options": options, "application_name": "oms"}
        )
        self.tables: dict[str, Table] = {}

    def open(self) -> None:
        self.pool.open(wait=True, timeout=30)

    def close(self) -> None:
        self.pool.close()

    def read_tables(self) -> dict[str, Table]:
        with psycopg.connect(self.url) as connection:
            self.tables = read_catalog(connection)
        return self.tables

    def run[T](self, caller: Caller, work: Callable[[Connection], T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                with self.pool.connection() as connection, connection.transaction():
                    connection.execute(
                        "SELECT set_config('omsync.changed_by', %s, true), set_config('omsync.correlation_id', %s, true)",
                        [caller.changed_by or caller.client_id, caller.correlation_id],
                    )
                    return work(connection)
            except (sqlstates.DeadlockDetected, sqlstates.SerializationFailure):
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def read[T](self, work: Callable[[Connection], T]) -> T:
        with self.pool.connection() as connection:
            return work(connection)


def get_row(connection: Connection, table: str, row_id: str) -> Found | None:
    query = sql.SQL("SELECT version, api_row(t)::text FROM {} t WHERE id = %s").format(sql.Identifier(table))
    row = connection.execute(query, [row_id]).fetchone()
    return Found(row[0], row[1]) if row else None


def get_rows(connection: Connection, table: str, ids: Sequence[str]) -> dict[str, str]:
    """The JSON of those of `ids` that exist, from one snapshot."""
    query = sql.SQL("SELECT id::text, api_row(t)::text FROM {} t WHERE id = ANY(%s::uuid[])").format(sql.Identifier(table))
    return dict(connection.execute(query, [list(ids)]).fetchall())


def list_rows(
    connection: Connection, table: str, after: str | None, limit: int, where: Mapping[str, list[str]]
) -> tuple[list[str], str | None]:
    """A page in id order after the id `after`, and the id to go on from (None at the end)."""
    conditions: list[sql.Composable] = [sql.SQL("id > %s")] if after else []
    conditions += [sql.SQL("{} = ANY(%s::uuid[])").format(sql.Identifier(column)) for column in where]
    clause = sql.SQL("WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("")
    query = sql.SQL("SELECT id::text, api_row(t)::text FROM {} t {} ORDER BY id LIMIT %s").format(sql.Identifier(table), clause)
    rows = connection.execute(query, [*([after] if after else []), *where.values(), limit + 1]).fetchall()
    page = rows[:limit]
    return [body for _, body in page], page[-1][0] if len(rows) > limit else None


def lock_version(connection: Connection, table: str, row_id: str) -> int | None:
    """The row's version, locked until the transaction ends; None if there is no such row."""
    query = sql.SQL("SELECT version FROM {} WHERE id = %s FOR NO KEY UPDATE").format(sql.Identifier(table))
    row = connection.execute(query, [row_id]).fetchone()
    return row[0] if row else None


def insert_row(connection: Connection, table: str, values: Mapping[str, object]) -> str | None:
    """Insert and return the id; None if a row of that id is there already. `values` may hold default addresses."""
    own, addresses = _split(table, values)
    columns = sql.SQL(", ").join(sql.Identifier(column) for column in own)
    marks = sql.SQL(", ").join(sql.Placeholder() for _ in own)
    statement = (
        sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (id) DO NOTHING RETURNING id::text")
        if own
        else sql.SQL("INSERT INTO {} DEFAULT VALUES RETURNING id::text")
    )
    row = connection.execute(statement.format(sql.Identifier(table), columns, marks), list(own.values())).fetchone()
    if row is None:
        return None
    for kind, address in addresses.items():
        set_default_address(connection, row[0], kind, address)
    return str(row[0])


def update_row(connection: Connection, table: str, row_id: str, values: Mapping[str, object]) -> None:
    """Set columns (and default addresses) of one row."""
    own, addresses = _split(table, values)
    for kind, address in addresses.items():
        set_default_address(connection, row_id, kind, address)
    if own:
        assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in own)
        statement = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), assignments)
        connection.execute(statement, [*own.values(), row_id])


def set_default_address(connection: Connection, patient: str, kind: str, address: Mapping[str, object] | None) -> None:
    """Make `address` the patient's default of `kind`; None leaves the patient without one (the row stays in the address book).

    A changed address has to be validated anew.
    """
    default = "patient_id = %s AND kind = %s AND is_default AND deleted_at IS NULL"
    if address is None:
        connection.execute(f"UPDATE patient_addresses SET is_default = false WHERE {default}", [patient, kind])
        return
    columns = sql.SQL(", ").join(sql.Identifier(column) for column in address)
    marks = sql.SQL(", ").join(sql.Placeholder() for _ in address)
    known = sql.SQL("SELECT ({}) IS DISTINCT FROM ({}) FROM patient_addresses WHERE " + default).format(columns, marks)
    differs = connection.execute(known, [*address.values(), patient, kind]).fetchone()
    if differs is None:
        missing = next((part for part in ("line1", "city") if not address.get(part)), None)
        if missing is not None:
            raise refused(next(unit for unit, of in ADDRESS_UNITS.items() if of == kind), f"needs {missing}: there is no such address yet")
        insert = sql.SQL("INSERT INTO patient_addresses (patient_id, kind, is_default, {}) VALUES (%s, %s, true, {})")
        connection.execute(insert.format(columns, marks), [patient, kind, *address.values()])
    elif differs[0]:
        update = sql.SQL(
            "UPDATE patient_addresses SET ({}) = ROW({}), validation_status = 'unchecked', validated_at = NULL WHERE " + default
        )
        connection.execute(update.format(columns, marks), [*address.values(), patient, kind])


def _split(table: str, values: Mapping[str, object]) -> tuple[dict[str, object], dict[str, Mapping[str, object] | None]]:
    """A row's own columns, and the default addresses among them by kind."""
    if table != "patients":
        return dict(values), {}
    own = {column: value for column, value in values.items() if column not in ADDRESS_UNITS}
    addresses = {kind: values[unit] for unit, kind in ADDRESS_UNITS.items() if unit in values}
    return own, addresses  # type: ignore[return-value]
