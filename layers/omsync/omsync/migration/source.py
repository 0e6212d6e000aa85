"""The OMS's database, read in bulk: plain SQL over the mapping's columns, by key range, each chunk from one snapshot.

A chunk is a range of the table's key. The key is the id; where a child locks its parent while it is written (master-detail), it is
the parent's id, so that siblings are in one chunk. Within a chunk rows are sorted by parent: siblings stand beside each other.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import cast

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from omsync.mapping.model import Embedded, Field, Mappings, Row, TableMapping
from omsync.migration.model import ChunkRef
from omsync.platform.errors import Permanent, Retryable

#: rows fetched at a time where they are short: ids, people
FETCH = 2000
#: a chunk is one statement, for as long as its reader takes: a role's time-out is meant for shorter ones, and a function has its own
OPTIONS = "-c default_transaction_read_only=on -c statement_timeout=0"


def lock_field(mapping: TableMapping) -> Field | None:
    """The master-detail field by which a table is cut into chunks; None: by id."""
    for target in mapping.targets:
        for field in target.fields.values():
            if field.type == "MasterDetail":
                return field
    return None


def chunk_column(mapping: TableMapping) -> str:
    """The column whose ranges are the chunks."""
    field = lock_field(mapping)
    return field.sources[0] if field is not None else "id"


def chunk_path(mapping: TableMapping) -> str:
    """The same as SOQL names it."""
    field = lock_field(mapping)
    return field.path if field is not None else "OMS_Id__c"


def _parent_column(mapping: TableMapping) -> str:
    """What siblings have in common: the chunk key, else the first reference that is sent."""
    key = chunk_column(mapping)
    if key != "id":
        return key
    parents = (name for name, column in mapping.columns.items() if column.references and column.references != mapping.table)
    return next((name for name in parents if mapping.columns[name].not_sent is None), "id")


@dataclass(slots=True)
class PostgresSource:
    """`ports.Source` over PostgreSQL."""

    dsn: str
    mappings: Mappings

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """A read-only transaction of one snapshot."""
        try:
            with psycopg.connect(self.dsn, connect_timeout=10, options=OPTIONS) as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                yield connection
        except psycopg.OperationalError as fault:
            raise Retryable(f"the OMS's database: {type(fault).__name__}", code="source.unreachable") from None
        except psycopg.Error as fault:
            raise Permanent(f"the OMS's database refuses: {fault.sqlstate}", code="source.refused") from None

    def count(self, mapping: TableMapping) -> int:
        """Rows of a table."""
        with self.connection() as connection:
            found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(mapping.table))).fetchone()
            return int(found[0]) if found else 0

    def bounds(self, mapping: TableMapping, rows: int) -> list[str]:
        """Every `rows`-th key, by one pass over the key's index."""
        key = sql.Identifier(chunk_column(mapping))
        statement = sql.SQL(
            "SELECT DISTINCT {key}::text FROM (SELECT {key}, row_number() OVER (ORDER BY {key}) AS place FROM {table}) AS t"
            " WHERE place % {rows} = 0 ORDER BY 1"
        ).format(key=key, table=sql.Identifier(mapping.table), rows=sql.Literal(rows))
        with self.connection() as connection:
            return [str(row[0]) for row in connection.execute(statement)]

    @contextmanager
    def read(self, mapping: TableMapping, ref: ChunkRef) -> Iterator[tuple[str, Iterator[Row]]]:
        """A chunk's rows with the snapshot they were read in. They come one by one: whole pages of long texts would not fit into memory."""
        with self.connection() as connection:
            found = connection.execute("SELECT pg_current_snapshot()::text").fetchone()
            snapshot = str(found[0]) if found else ""
            statement = self._select(connection, mapping, ref)
            rows = cast("Generator[Row]", connection.cursor(row_factory=dict_row).stream(statement))
            with closing(rows):  # a reader that stops early would leave the statement running
                yield snapshot, rows

    def _select(self, connection: psycopg.Connection, mapping: TableMapping, ref: ChunkRef) -> sql.Composed:
        selected: list[sql.Composable] = [
            sql.SQL("t.{c}::text AS {c}" if column.type == "uuid" else "t.{c}").format(c=sql.Identifier(name))
            for name, column in mapping.columns.items()
        ]
        if mapping.shared_columns and _has_edit_times(connection, mapping.table):
            selected.append(sql.SQL("t.edited_at"))
        joins = []
        for name, embedded in mapping.embedded.items():
            selected.append(sql.SQL("to_jsonb({alias}) AS {name}").format(alias=sql.Identifier(f"e_{name}"), name=sql.Identifier(name)))
            joins.append(self._join(name, embedded))
        return sql.SQL("SELECT {columns} FROM {table} AS t {joins} WHERE {where} ORDER BY t.{parent}, t.id").format(
            columns=sql.SQL(", ").join(selected),
            table=sql.Identifier(mapping.table),
            joins=sql.SQL(" ").join(joins),
            where=_range(mapping, ref),
            parent=sql.Identifier(_parent_column(mapping)),
        )

    def _join(self, name: str, embedded: Embedded) -> sql.Composed:
        """The default address of a patient: one row or none, by the mapping's condition."""
        mapping = self.mappings[embedded.table]
        owner = next(column for column in mapping.columns.values() if column.references is not None)
        alias = sql.Identifier(f"e_{name}")
        conditions = [sql.SQL("{a}.{c} = t.id AND {a}.deleted_at IS NULL").format(a=alias, c=sql.Identifier(owner.name))]
        for column, values in embedded.where.values.items():
            allowed = sql.SQL(", ").join([sql.Literal(value) for value in values])
            conditions.append(sql.SQL("{}.{} IN ({})").format(alias, sql.Identifier(column), allowed))
        on = sql.SQL(" AND ").join(conditions)
        return sql.SQL("LEFT JOIN {table} AS {alias} ON {on}").format(table=sql.Identifier(embedded.table), alias=alias, on=on)

    def changed(self, mapping: TableMapping, ref: ChunkRef, since: str) -> Iterator[tuple[str, int]]:
        """By the index (change_xid, id)."""
        statement = sql.SQL(
            "SELECT t.id::text, t.version FROM {} AS t WHERE t.change_xid >= {}::xid8 AND {} ORDER BY t.change_xid, t.id"
        ).format(sql.Identifier(mapping.table), sql.Literal(since), _range(mapping, ref))
        with self.connection() as connection, connection.cursor(name="changed") as cursor:
            cursor.itersize = FETCH
            cursor.execute(statement)
            for row_id, version in cursor:
                yield str(row_id), int(version)

    def survivors(self) -> dict[str, str]:
        """Who stands for merged patients."""
        statement = "SELECT id::text, merged_into_patient_id::text FROM patients WHERE merged_into_patient_id IS NOT NULL"
        with self.connection() as connection:
            into = {str(loser): str(winner) for loser, winner in connection.execute(statement)}
        found: dict[str, str] = {}
        for loser in into:
            winner, seen = into[loser], {loser}
            while winner in into and winner not in seen:
                seen.add(winner)
                winner = into[winner]
            found[loser] = winner
        return found


def _range(mapping: TableMapping, ref: ChunkRef) -> sql.Composable:
    """A chunk's rows."""
    key = sql.Identifier(chunk_column(mapping))
    ranges: list[sql.Composable] = [sql.SQL("TRUE")]
    if ref.after is not None:
        ranges.append(sql.SQL("t.{} > {}::uuid").format(key, sql.Literal(ref.after)))
    if ref.upto is not None:
        ranges.append(sql.SQL("t.{} <= {}::uuid").format(key, sql.Literal(ref.upto)))
    return sql.SQL(" AND ").join(ranges)


def _has_edit_times(connection: psycopg.Connection, table: str) -> bool:
    """An OMS may keep no times per column."""
    found = connection.execute(
        "SELECT 1 FROM information_schema.columns WHERE table_name = %s AND column_name = 'edited_at' AND table_schema = ANY (current_schemas(false))",
        (table,),
    ).fetchone()
    return found is not None
