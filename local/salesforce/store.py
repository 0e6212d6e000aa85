"""The org's data: SQLite in WAL mode, one table per object, one writer at a time, any number of readers beside it.

Columns are named as fields. Text compares without case (as SOQL does) except ids, references and case-sensitive fields. A deleted row
stays with `IsDeleted` = 1 until it is purged; uniqueness holds among live rows only. Tables that start with `_` are the simulator's own.
Salesforce's record locks are the writer lock here: rules read and write under it.

    with store.read() as connection: ...    # a consistent snapshot; inside this thread's own write() it sees uncommitted rows
    with store.write() as tx: ...           # BEGIN IMMEDIATE; nested calls are savepoints; an exception rolls the block back
    store.insert("Account", records, context) -> [Result]
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from local.salesforce.context import Context, utc_now
from local.salesforce.dml_types import Record, Result, Row, Stored
from local.salesforce.ids import id_range
from local.salesforce.schema import FieldType, Kind, ObjectType, Org

if TYPE_CHECKING:
    from local.salesforce.dml import Engine

_OWN_TABLES = """
CREATE TABLE IF NOT EXISTS _sequences (name TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _deleted (
    object TEXT NOT NULL, id TEXT NOT NULL, deleted_at TEXT NOT NULL, PRIMARY KEY (object, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS _deleted_at ON _deleted (object, deleted_at);
CREATE TABLE IF NOT EXISTS _cascaded (root TEXT NOT NULL, object TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (root, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _unlinked (
    root TEXT NOT NULL, object TEXT NOT NULL, field TEXT NOT NULL, child TEXT NOT NULL, parent TEXT NOT NULL,
    PRIMARY KEY (root, child, field)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _platform_events (
    replay_id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL, name TEXT NOT NULL, payload TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS _state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_BINARY_KINDS = frozenset({Kind.ID, Kind.LOOKUP, Kind.MASTER_DETAIL, Kind.DATE, Kind.DATETIME, Kind.BASE64})
_UNINDEXED = frozenset({"CreatedById", "LastModifiedById", "OwnerId", "RecordTypeId", "ProfileId"})


def stamp(moment: datetime) -> str:
    """A moment as it is stored: UTC, milliseconds, `Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class Transaction:
    """An open write: its connection, its one moment (`now`), the platform events it will have published."""

    def __init__(self, store: Store, connection: sqlite3.Connection, now: str) -> None:
        self.store = store
        self.connection = connection
        self.now = now

    def rows(self, object_name: str, ids: Iterable[str]) -> dict[str, Row]:
        return self.store.rows_where(self.connection, object_name, "Id", ids)

    def new_ids(self, obj: ObjectType, count: int) -> list[str]:
        """`count` fresh ids of an object, ascending."""
        first = self.store.take_numbers(self.connection, obj.key_prefix or "a0X", count)
        return id_range(obj.key_prefix or "a0X", first, count)

    def next_number(self, name: str) -> int:
        """The next value of an auto-number or another named sequence."""
        return self.store.take_numbers(self.connection, name, 1)

    def publish(self, name: str, payload: Mapping[str, Stored]) -> int:
        """A platform event, delivered only if this transaction commits. Returns its replay id."""
        return self.publish_many([(name, payload)])

    def publish_many(self, events: Sequence[tuple[str, Mapping[str, Stored]]]) -> int:
        last = 0
        for name, payload in events:
            cursor = self.connection.execute(
                "INSERT INTO _platform_events (uuid, name, payload, created_at) VALUES (lower(hex(randomblob(16))), ?, ?, ?)",
                (name, json.dumps(payload, separators=(",", ":")), self.now),
            )
            last = cursor.lastrowid or 0
        self.store.note_published()
        return last


class Store:
    """One org's data in one file. Thread-safe. `clock` is injectable for tests."""

    def __init__(self, path: Path | str, org: Org, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.path = Path(path)
        self.org = org
        self.clock = clock
        self._lock = threading.RLock()
        self._depth = 0
        self._transaction: Transaction | None = None
        self._owner: int | None = None
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._listeners: list[Callable[[], None]] = []
        self._published = False
        self._last_stamp = ""
        self._numbers: dict[str, int] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = self._connect(cache_mb=64)
        self._migrate()

    # --- connections -------------------------------------------------------------------------------------------------

    def _connect(self, cache_mb: int) -> sqlite3.Connection:
        """A commit survives the death of the process, not of the machine: nothing here is worth waiting for its disk."""
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=1024, timeout=60)
        for pragma in (
            "journal_mode=WAL",
            "synchronous=OFF",
            "wal_autocheckpoint=8000",
            f"cache_size=-{cache_mb * 1024}",
            "temp_store=MEMORY",
            "case_sensitive_like=OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")
        self._connections.append(connection)
        return connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection with a consistent snapshot for the length of the block; the writing thread sees its own uncommitted rows."""
        if self._owner == threading.get_ident():
            yield self._writer
            return
        local = self._local
        connection: sqlite3.Connection | None = getattr(local, "connection", None)
        if connection is None:
            connection = local.connection = self._connect(cache_mb=4)  # each thread of the server has one
            local.depth = 0
        if local.depth == 0:
            connection.execute("BEGIN")
        local.depth += 1
        try:
            yield connection
        finally:
            local.depth -= 1
            if local.depth == 0:
                connection.execute("COMMIT")

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """The one writer. Nested (same thread): a savepoint, undone alone when its block raises."""
        with self._lock:
            if self._transaction is None:
                yield from self._outermost()
            else:
                yield from self._nested(self._transaction)

    def _outermost(self) -> Iterator[Transaction]:
        self._writer.execute("BEGIN IMMEDIATE")
        self._owner = threading.get_ident()
        self._transaction = Transaction(self, self._writer, self._next_stamp())
        self._published = False
        try:
            yield self._transaction
            self._writer.execute("COMMIT")
        except BaseException:
            self._writer.execute("ROLLBACK")
            self._published = False
            raise
        finally:
            self._owner = None
            self._transaction = None
        if self._published:
            for listener in self._listeners:
                listener()

    def _nested(self, transaction: Transaction) -> Iterator[Transaction]:
        self._depth += 1
        name = f"s{self._depth}"
        self._writer.execute(f"SAVEPOINT {name}")
        try:
            yield transaction
        except BaseException:
            self._writer.execute(f"ROLLBACK TO {name}")
            raise
        finally:
            self._writer.execute(f"RELEASE {name}")
            self._depth -= 1

    def _next_stamp(self) -> str:
        """Never before the last one: SystemModstamp follows commit order here."""
        self._last_stamp = max(self._last_stamp, stamp(self.clock()))
        return self._last_stamp

    def close(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    # --- tables ------------------------------------------------------------------------------------------------------

    def _migrate(self) -> None:
        """Create what is missing; a field added to the metadata becomes a column, nothing is ever dropped."""
        self._writer.executescript(_OWN_TABLES)
        self._writer.execute("BEGIN")
        for obj in self.org:
            if obj.event:
                continue
            known = {row[1] for row in self._writer.execute(f'PRAGMA table_info("{obj.name}")')}
            if not known:
                columns = ", ".join(_column(obj.fields[name]) for name in obj.columns)
                self._writer.execute(f'CREATE TABLE "{obj.name}" ({columns})')
            for name in obj.columns:
                if known and name not in known:
                    self._writer.execute(f'ALTER TABLE "{obj.name}" ADD COLUMN {_column(obj.fields[name])}')
            for statement in _indexes(obj):
                self._writer.execute(statement)
        self._writer.execute("COMMIT")
        self._numbers = dict(self._writer.execute("SELECT name, next FROM _sequences"))

    def take_numbers(self, connection: sqlite3.Connection, name: str, count: int) -> int:
        """Reserve `count` consecutive numbers; the first is returned. Numbers of a rolled-back save stay used."""
        first = self._numbers.get(name, 1)
        self._numbers[name] = first + count
        connection.execute("INSERT OR REPLACE INTO _sequences VALUES (?, ?)", (name, first + count))
        return first

    # --- rows --------------------------------------------------------------------------------------------------------

    def rows_where(
        self,
        connection: sqlite3.Connection,
        object_name: str,
        column: str,
        values: Iterable[Stored],
        *,
        live: bool = False,
        columns: Sequence[str] | None = None,
    ) -> dict[str, Row]:
        """Rows whose `column` is among `values`, by id: deleted ones too unless `live`. One statement whatever the number of values.

        Unique fields are indexed among live rows, so a look-up by one of them must ask for live rows, or it reads the whole table.
        """
        obj = self.org.objects[object_name]
        names = columns or obj.columns
        only = '"IsDeleted" = 0 AND ' if live else ""
        cursor = connection.execute(
            f'SELECT {_quoted(names)} FROM "{obj.name}" WHERE {only}"{column}" IN (SELECT value FROM json_each(?))',
            (json.dumps(list(values)),),
        )
        return {row[0]: dict(zip(names, row, strict=False)) for row in cursor}

    def get(self, object_name: str, record_id: str) -> Row | None:
        """One row by its 18-character id, deleted or not."""
        with self.read() as connection:
            return self.rows_where(connection, object_name, "Id", [record_id]).get(record_id)

    def find(self, object_name: str, column: str, value: Stored) -> list[Row]:
        """Live rows with this value."""
        with self.read() as connection:
            return list(self.rows_where(connection, object_name, column, [value], live=True).values())

    def count(self, object_name: str) -> int:
        with self.read() as connection:
            answer: int = connection.execute(f'SELECT count(*) FROM "{object_name}" WHERE "IsDeleted" = 0').fetchone()[0]
            return answer

    def deleted_between(self, object_name: str, start: str, end: str) -> list[tuple[str, str]]:
        """(id, deleted at) of records deleted in [start, end) and not undeleted since, hard deletes too: what getDeleted answers."""
        with self.read() as connection:
            return connection.execute(
                "SELECT id, deleted_at FROM _deleted WHERE object = ? AND deleted_at >= ? AND deleted_at < ? ORDER BY deleted_at, id",
                (object_name, start, end),
            ).fetchall()

    # --- platform events ---------------------------------------------------------------------------------------------

    def note_published(self) -> None:
        self._published = True

    def on_events(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each commit that published platform events (from the writing thread: only wake something up)."""
        self._listeners.append(listener)

    def events_after(self, replay_id: int, limit: int = 100) -> list[tuple[int, str, str, dict[str, Stored], str]]:
        """Committed platform events in order: (replay id, uuid, name, payload, created at)."""
        with self.read() as connection:
            rows = connection.execute(
                "SELECT replay_id, uuid, name, payload, created_at FROM _platform_events WHERE replay_id > ? ORDER BY replay_id LIMIT ?",
                (replay_id, limit),
            ).fetchall()
        return [(replay, uuid, name, json.loads(payload), created) for replay, uuid, name, payload, created in rows]

    def state(self, name: str) -> str | None:
        """A small fact kept across restarts, e.g. the publisher's last delivered replay id."""
        with self.read() as connection:
            row = connection.execute("SELECT value FROM _state WHERE name = ?", (name,)).fetchone()
            return row[0] if row else None

    def set_state(self, name: str, value: str) -> None:
        with self.write() as tx:
            tx.connection.execute("INSERT OR REPLACE INTO _state VALUES (?, ?)", (name, value))

    # --- saving ------------------------------------------------------------------------------------------------------

    @cached_property
    def dml(self) -> Engine:
        from local.salesforce.dml import Engine

        return Engine(self)

    def insert(self, object_name: str, records: Sequence[Record], context: Context) -> list[Result]:
        """Create records. One Result per record, in order; with `context.all_or_none` a failure undoes the others."""
        return self.dml.insert(object_name, records, context)

    def update(self, object_name: str, records: Sequence[Record], context: Context) -> list[Result]:
        """Change records named by `Id`."""
        return self.dml.update(object_name, records, context)

    def upsert(self, object_name: str, external_id: str, records: Sequence[Record], context: Context) -> list[Result]:
        """Create or change by the value of `external_id` (an external id, an idLookup field or `Id`)."""
        return self.dml.upsert(object_name, external_id, records, context)

    def delete(self, object_name: str, ids: Sequence[str], context: Context, *, hard: bool = False) -> list[Result]:
        """Into the recycle bin with cascaded children; `hard` purges."""
        return self.dml.delete(object_name, ids, context, hard=hard)

    def undelete(self, ids: Sequence[str], context: Context) -> list[Result]:
        """Out of the recycle bin, with the children that went with them."""
        return self.dml.undelete(ids, context)

    def merge(self, object_name: str, master: Record, losers: Sequence[str], context: Context) -> Result:
        """Merge up to two losers into the master (Account or Contact)."""
        return self.dml.merge(object_name, master, losers, context)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _column(f: FieldType) -> str:
    if f.name == "Id":
        return '"Id" TEXT PRIMARY KEY NOT NULL'
    if f.kind in {Kind.CHECKBOX, Kind.INTEGER}:
        return f'"{f.name}" INTEGER' + (" NOT NULL DEFAULT 0" if f.kind is Kind.CHECKBOX else "")
    if f.is_number:
        return f'"{f.name}" REAL'
    binary = f.kind in _BINARY_KINDS or f.case_sensitive
    return f'"{f.name}" TEXT' + ("" if binary else " COLLATE NOCASE")


def _indexes(obj: ObjectType) -> Iterator[str]:
    """Live uniqueness, external ids, parents of children, and the change feed's order."""
    for f in obj.fields.values():
        name = f'"{obj.name}_{f.name}"'
        if f.unique:
            yield (
                f'CREATE UNIQUE INDEX IF NOT EXISTS {name} ON "{obj.name}" ("{f.name}") WHERE "{f.name}" IS NOT NULL AND "IsDeleted" = 0'
            )
        elif (f.external_id or f.id_lookup or (f.is_reference and f.name not in _UNINDEXED)) and f.name != "Id":
            yield f'CREATE INDEX IF NOT EXISTS {name} ON "{obj.name}" ("{f.name}") WHERE "{f.name}" IS NOT NULL'
    if "SystemModstamp" in obj.fields:
        yield f'CREATE INDEX IF NOT EXISTS "{obj.name}_modstamp" ON "{obj.name}" ("SystemModstamp", "Id")'
