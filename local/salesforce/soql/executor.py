"""Runs SOQL on the store: pages of JSON records, the locators behind them, and streams of CSV rows for bulk queries."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from local.salesforce.context import Context
from local.salesforce.dml_types import Stored
from local.salesforce.ids import make_id
from local.salesforce.schema import FieldType, Kind
from local.salesforce.soql.compiler import compile_query
from local.salesforce.soql.errors import SoqlError
from local.salesforce.soql.nodes import SelectFields
from local.salesforce.soql.parser import parse
from local.salesforce.soql.plan import Aggregation, Child, JsonRecord, Selection, SqlRow, Typeof
from local.salesforce.store import Store

BATCH = 2000
MIN_BATCH = 200
_ID_LENGTH = 18
_KEPT_LOCATORS = 500


@dataclass(slots=True)
class Page:
    """One answer: `next` is the next page's locator (`01g...-2000`), None on the last page."""

    total: int
    records: list[JsonRecord]
    next: str | None = None

    @property
    def done(self) -> bool:
        return self.next is None

    def body(self, root: str) -> JsonRecord:
        """As the REST API answers."""
        answer: JsonRecord = {"totalSize": self.total, "done": self.done}
        if self.next is not None:
            answer["nextRecordsUrl"] = f"{root}/query/{self.next}"
        answer["records"] = self.records
        return answer


@dataclass(slots=True)
class _Cursor:
    """A query that is read page by page: its text, and the ids it found (18 bytes each)."""

    soql: str
    all_rows: bool
    user_id: str
    batch: int
    ids: bytes


class Locators:
    """The cursors of an org. They live in memory: a restart ends them, as age ends Salesforce's; so does a flood of newer ones."""

    def __init__(self) -> None:
        self._cursors: OrderedDict[str, _Cursor] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def keep(self, cursor: _Cursor) -> str:
        with self._lock:
            self._count += 1
            locator = make_id("01g", self._count)
            self._cursors[locator] = cursor
            while len(self._cursors) > _KEPT_LOCATORS:
                self._cursors.popitem(last=False)
        return locator

    def find(self, locator: str, user_id: str) -> _Cursor:
        with self._lock:
            cursor = self._cursors.get(locator)
        if cursor is None or cursor.user_id != user_id:
            raise SoqlError("INVALID_QUERY_LOCATOR", "invalid query locator")
        return cursor


@dataclass(slots=True)
class Executor:
    """Queries one store."""

    store: Store
    locators: Locators

    def query(self, soql: str, context: Context, root: str, *, all_rows: bool = False, batch: int = BATCH) -> Page:
        """The first page of a query. `root` (`/services/data/v67.0`) begins the records' URLs."""
        plan = compile_query(parse(soql), self.store.org, context, all_rows=all_rows)
        with self._connection() as connection:
            if isinstance(plan, Aggregation):
                return _aggregate(connection, plan)
            cursor = connection.execute(plan.rows_sql(), plan.params)
            rows = cursor.fetchmany(batch + 1)
            if len(rows) <= batch:
                return Page(len(rows), _records(connection, plan, rows, root))
            cursor.close()
            found = [row[0] for row in connection.execute(plan.ids_sql(), plan.params)]
            records = _records(connection, plan, rows[:batch], root)
        kept = _Cursor(soql, all_rows, context.user_id, batch, "".join(found).encode())
        return Page(len(found), records, f"{self.locators.keep(kept)}-{batch}")

    def more(self, locator: str, context: Context, root: str, *, batch: int | None = None) -> Page:
        """A further page: `locator` is `01g...-2000`. The list of ids is the first page's, the values are today's."""
        cursor_id, _, start_text = locator.partition("-")
        kept = self.locators.find(cursor_id, context.user_id)
        total = len(kept.ids) // _ID_LENGTH
        if not start_text.isdigit() or len(start_text) > 9 or int(start_text) >= total:
            raise SoqlError("INVALID_QUERY_LOCATOR", "invalid query locator")
        start, size = int(start_text), batch or kept.batch
        piece = kept.ids[start * _ID_LENGTH : (start + size) * _ID_LENGTH].decode()
        ids = [piece[at : at + _ID_LENGTH] for at in range(0, len(piece), _ID_LENGTH)]
        plan = compile_query(parse(kept.soql), self.store.org, context, all_rows=kept.all_rows)
        if not isinstance(plan, Selection):
            raise SoqlError("INVALID_QUERY_LOCATOR", "invalid query locator")
        with self._connection() as connection:
            by_id = {row[0]: row for row in connection.execute(plan.by_ids_sql(), (json.dumps(ids),))}
            records = _records(connection, plan, [by_id[record_id] for record_id in ids if record_id in by_id], root)
        end = start + size
        return Page(total, records, f"{cursor_id}-{end}" if end < total else None)

    def csv_rows(self, soql: str, context: Context, *, all_rows: bool = False) -> tuple[list[str], Iterator[SqlRow]]:
        """A bulk query: its header, and its rows as text-ready values, streamed. Rows hold a read snapshot until exhausted."""
        plan = self._bulk_plan(soql, context, all_rows=all_rows)
        columns = [_csv_sql(plan.columns[cell.index], cell.field) for _, cell in plan.headers]
        return [header for header, _ in plan.headers], self._stream(plan.rows_sql(columns=", ".join(columns)), plan.params)

    def check_bulk(self, soql: str, context: Context) -> str:
        """The object of a bulk query, or the SoqlError that such a job would meet."""
        return self._bulk_plan(soql, context, all_rows=False).object.name

    def _bulk_plan(self, soql: str, context: Context, *, all_rows: bool) -> Selection:
        """What the Bulk API leaves out of SOQL: aggregates, subqueries, TYPEOF, OFFSET, compound fields, FIELDS without bounds."""
        query = parse(soql)
        if any(isinstance(item, SelectFields) and item.scope != "STANDARD" for item in query.select):
            text = "The SOQL FIELDS function is not supported with an unbounded set of fields in this API"
            raise SoqlError("MALFORMED_QUERY", text)
        plan = compile_query(query, self.store.org, context, all_rows=all_rows, compounds=False)
        if isinstance(plan, Aggregation):
            raise SoqlError("API_ERROR", "Aggregate functions and GROUP BY not supported in Bulk Query")
        if plan.children or plan.typeofs:
            raise SoqlError("API_ERROR", "Aggregate Relationships not supported in Bulk Query")
        if plan.offset is not None:
            raise SoqlError("API_ERROR", "OFFSET clause not supported in Bulk Query")
        if plan.has_compounds():
            raise SoqlError("API_ERROR", "Selecting compound data not supported in Bulk Query")
        return plan

    def _stream(self, sql: str, params: Sequence[Stored]) -> Iterator[SqlRow]:
        with self._connection() as connection:
            yield from connection.execute(sql, params)

    def count(self, object_name: str) -> int:
        return self.store.count(object_name)

    def plan_text(self, soql: str, context: Context) -> tuple[str, list[str]]:
        """The object of a query and SQLite's plan for it."""
        plan = compile_query(parse(soql), self.store.org, context)
        sql = plan.sql if isinstance(plan, Aggregation) else plan.rows_sql()
        with self._connection() as connection:
            steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", plan.params)]
        return plan.scope.object.name, steps

    def _connection(self) -> _Reading:
        return _Reading(self.store)


class _Reading:
    """A read snapshot with SOQL's SQL functions; what SQLite can't do with a query is said in Salesforce's words."""

    def __init__(self, store: Store) -> None:
        self._reading = store.read()

    def __enter__(self) -> sqlite3.Connection:
        connection = self._reading.__enter__()
        connection.create_function("sf_fold", 1, _fold, deterministic=True)
        return connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._reading.__exit__(kind, error, trace)  # type: ignore[arg-type]
        if isinstance(error, (sqlite3.OperationalError, sqlite3.DataError, OverflowError)):
            text = "Query is either selecting too many fields or the filter conditions are too complicated"
            raise SoqlError("QUERY_TOO_COMPLICATED", text) from error


def _fold(value: Stored) -> Stored:
    return value.casefold() if isinstance(value, str) else value


def _aggregate(connection: sqlite3.Connection, plan: Aggregation) -> Page:
    rows = connection.execute(plan.sql, plan.params).fetchmany(BATCH + 1)
    if plan.count_only:
        return Page(int(rows[0][0]), [])
    if len(rows) > BATCH:
        text = "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch"
        raise SoqlError("EXCEEDED_ID_LIMIT", text)
    records: list[JsonRecord] = []
    for row in rows:
        record: JsonRecord = {"attributes": {"type": "AggregateResult"}}
        for key, cell in plan.cells.items():
            record[key] = cell.value(row, "", "")
        records.append(record)
    return Page(len(records), records)


def _records(connection: sqlite3.Connection, plan: Selection, rows: Sequence[SqlRow], root: str) -> list[JsonRecord]:
    """Rows as records, their children and TYPEOFs filled in."""
    records = [record for record in (plan.shape.build(row, root) for row in rows) if record is not None]
    ids = [str(row[0]) for row in rows]
    for child in plan.children:
        found = _children(connection, child, ids, root)
        for record_id, record in zip(ids, records, strict=True):
            mine = found.get(record_id)
            record[child.key] = {"totalSize": len(mine), "done": True, "records": mine} if mine else None
    for typeof in plan.typeofs:
        _fill_typeof(connection, typeof, rows, records, root)
    return records


def _children(connection: sqlite3.Connection, child: Child, parents: Sequence[str], root: str) -> dict[str, list[JsonRecord]]:
    """A child subquery's records by parent id. Its LIMIT and OFFSET count within each parent."""
    selection = child.selection
    extra = f'{selection.scope.root.alias}."{child.lookup.name}" IN (SELECT value FROM json_each(?))'
    grouped: dict[str, list[SqlRow]] = {}
    for row in connection.execute(selection.rows_sql(extra, limited=False), [json.dumps(list(parents)), *selection.params]):
        grouped.setdefault(str(row[selection.lookup_index]), []).append(row)
    start = selection.offset or 0
    end = None if selection.limit is None else start + selection.limit
    chosen = {parent: rows[start:end] for parent, rows in grouped.items()}
    flat = [row for rows in chosen.values() for row in rows]
    built = iter(_records(connection, selection, flat, root))
    return {parent: [next(built) for _ in rows] for parent, rows in chosen.items()}


def _fill_typeof(connection: sqlite3.Connection, typeof: Typeof, rows: Sequence[SqlRow], records: Sequence[JsonRecord], root: str) -> None:
    wanted: dict[str, list[str]] = {}
    for row in rows:
        if row[typeof.id_index] is not None:
            wanted.setdefault(str(row[typeof.type_index]), []).append(str(row[typeof.id_index]))
    found: dict[str, JsonRecord] = {}
    for name, ids in wanted.items():
        selection = typeof.by_object[name]
        fetched = connection.execute(selection.by_ids_sql(), (json.dumps(ids),)).fetchall()
        for row, record in zip(fetched, _records(connection, selection, fetched, root), strict=True):
            found[str(row[0])] = record
    for row, record in zip(rows, records, strict=True):
        record[typeof.key] = found.get(str(row[typeof.id_index]))


# CSV ----------------------------------------------------------------------------------------------------------------


def _csv_sql(sql: str, field: FieldType) -> str:
    if field.kind is Kind.CHECKBOX:
        return f"CASE {sql} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"
    if field.kind is Kind.INTEGER:
        return f"CAST({sql} AS INTEGER)"
    return sql
