"""What an action works with: rows by id (locked), inserts, updates, and the list of what it has written.

An action is a function of a `Work` and a request model, registered under its name by `@action`. It runs in one transaction
and refuses by raising `Problem`; what it wrote is answered as {"action": name, "rows": {table: [row, ...]}}.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import dict_row
from pydantic import BaseModel, ConfigDict

from ..problems import Problem, refused
from ..store import Connection, get_row, insert_row, update_row

type Row = dict[str, Any]  # a database row: its columns are known to SQL, not to Python

EXAMPLE_ID = "3f0e8f5a-6f0b-4a56-9a6b-0d2f6a1c9e10"


class Request(BaseModel):
    """Base of the actions' requests."""

    model_config = ConfigDict(extra="forbid", str_max_length=200_000)


class Work:
    """One action's transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.written: dict[tuple[str, str], None] = {}

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def row(self, table: str, row_id: UUID | str) -> Row:
        """The live row, locked until the transaction ends."""
        found = self.many(table, id=row_id)
        if not found:
            raise Problem(404, f"No such row of {table}.")
        return found[0]

    def many(self, table: str, **where: object) -> list[Row]:
        """Live rows whose columns equal `where`, locked, oldest first."""
        conditions = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in where)
        query = sql.SQL("SELECT * FROM {} WHERE {} AND deleted_at IS NULL ORDER BY created_at, id FOR NO KEY UPDATE")
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query.format(sql.Identifier(table), conditions), list(where.values())).fetchall()

    def insert(self, table: str, **values: object) -> Row:
        row_id = insert_row(self.connection, table, values)
        if row_id is None:
            raise refused("id", "is already taken by another row")
        return self._note(table, row_id)

    def update(self, table: str, row: Row, **values: object) -> Row:
        update_row(self.connection, table, str(row["id"]), values)
        return self._note(table, str(row["id"]))

    def because(self, reason: str | None = None, actor: str | None = None) -> None:
        """Reason and actor of the order transitions that follow in this transaction."""
        for setting, value in (("omsync.reason", reason), ("omsync.actor_type", actor)):
            if value:
                self.connection.execute("SELECT set_config(%s, %s, true)", [setting, value[:255]])

    def answer(self, name: str) -> str:
        """JSON of the rows written, as they are at the end."""
        rows: dict[str, list[str]] = {}
        for table, row_id in self.written:
            found = get_row(self.connection, table, row_id)
            assert found is not None
            rows.setdefault(table, []).append(found.body)
        tables = ",".join(f"{json.dumps(table)}:[{','.join(bodies)}]" for table, bodies in rows.items())
        return f'{{"action":{json.dumps(name)},"rows":{{{tables}}}}}'

    def _note(self, table: str, row_id: str) -> Row:
        self.written[table, row_id] = None
        return self.row_even_deleted(table, row_id)

    def row_even_deleted(self, table: str, row_id: str) -> Row:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(sql.SQL("SELECT * FROM {} WHERE id = %s").format(sql.Identifier(table)), [row_id]).fetchone()
        assert found is not None
        return found


@dataclass(frozen=True)
class Action:
    name: str
    group: str
    summary: str
    request: type[Request]
    run: Callable[[Work, Any], None]
    example: Mapping[str, object]


ACTIONS: dict[str, Action] = {}


def action[R: Request](
    group: str, request: type[R], summary: str, **example: object
) -> Callable[[Callable[[Work, R], None]], Callable[[Work, R], None]]:
    """Register `do_something` as the action `do-something`."""

    def register(function: Callable[[Work, R], None]) -> Callable[[Work, R], None]:
        name = function.__name__.replace("_", "-")
        ACTIONS[name] = Action(name, group, summary, request, function, example)
        return function

    return register


def require(row: Row, *states: str, column: str = "status") -> None:
    """Refuse unless the row is in one of `states`."""
    if row[column] not in states:
        raise refused(column, f"is {row[column]}; this needs {' or '.join(states)}")
