"""The change feed, the outbox as a feed, and where both stand.

A page never passes the snapshot's xmin: every transaction below it has ended, so no row can appear later behind a cursor.
A cursor is `xid:uuid` (changes) or `xid:seq` (outbox), the last item seen; a bare `xid` means everything from that
transaction on, which is what `/v1/cursor` gives for a beginning.
"""

from __future__ import annotations

import json
import re
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from psycopg import sql

from . import openapi
from .problems import Problem
from .rows import Reader
from .store import Connection, Store

XID = re.compile(r"\d{1,19}")
CHANGE = re.compile(r"(\d{1,19}):([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
EVENT = re.compile(r"(\d{1,19}):(\d{1,18})")
XMIN = "pg_snapshot_xmin(pg_current_snapshot())"


def router(store: Store) -> APIRouter:
    """/v1/changes, /v1/outbox, /v1/cursor."""
    routes = APIRouter(tags=["feeds"])

    @routes.get(
        "/v1/changes",
        summary="Rows that changed, in (change_xid, id) order",
        openapi_extra={"responses": openapi.answers("400", "401", "403", "404", "503", ok_200={"type": "object"})},
    )
    def changes(
        _: Reader,
        table: Annotated[str, Query(max_length=63)],
        after: Annotated[str | None, Query(description="`next` of the page before, or an xmin.", max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    ) -> Response:
        if table not in store.tables:
            raise Problem(404, "No such table.")
        return Response(store.read(lambda c: _changes(c, table, after, limit)), media_type="application/json")

    @routes.get(
        "/v1/outbox",
        summary="Events of all tables, in commit-safe order",
        openapi_extra={"responses": openapi.answers("400", "401", "403", "503", ok_200={"type": "object"})},
    )
    def outbox(
        _: Reader,
        after: Annotated[str | None, Query(description="`next` of the page before, or an xmin.", max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        subject: Annotated[
            str | None, Query(description="Only the events of one record, `table/id`.", pattern=r"^[a-z_]{1,63}/[0-9a-fA-F-]{36}$")
        ] = None,
    ) -> Response:
        return Response(store.read(lambda c: _outbox(c, after, limit, subject)), media_type="application/json")

    @routes.get(
        "/v1/cursor",
        summary="Where a new reader of the feeds begins",
        openapi_extra={
            "responses": openapi.answers("400", "401", "403", "503", ok_200={"type": "object", "properties": {"xmin": {"type": "string"}}})
        },
    )
    def cursor(_: Reader) -> dict[str, str]:
        row = store.read(lambda c: c.execute(f"SELECT {XMIN}::text").fetchone())
        assert row is not None
        return {"xmin": row[0]}

    return routes


def _changes(connection: Connection, table: str, after: str | None, limit: int) -> str:
    if after is None or XID.fullmatch(after):
        start, values = sql.SQL("change_xid >= %s::xid8"), [after or "0"]
    elif found := CHANGE.fullmatch(after):
        start, values = sql.SQL("(change_xid, id) > (%s::xid8, %s::uuid)"), list(found.groups())
    else:
        raise Problem(400, "after must be a cursor of this feed, or an xmin.")
    query = sql.SQL("""
        SELECT change_xid::text || ':' || id, jsonb_build_object(
            'id', id, 'version', version, 'change_xid', change_xid::text,
            'changed_by', changed_by, 'deleted_at', api_time(deleted_at))::text
        FROM {} WHERE {} AND change_xid < %s::xid8 ORDER BY change_xid, id LIMIT %s""")
    return _page(connection, query.format(sql.Identifier(table), start), values, limit, "items")


def _outbox(connection: Connection, after: str | None, limit: int, subject: str | None) -> str:
    if after is None or XID.fullmatch(after):
        start, values = sql.SQL("change_xid >= %s::xid8"), [after or "0"]
    elif found := EVENT.fullmatch(after):
        start, values = sql.SQL("(change_xid, seq) > (%s::xid8, %s::bigint)"), list(found.groups())
    else:
        raise Problem(400, "after must be a cursor of this feed, or an xmin.")
    if subject is not None:
        table, _, row_id = subject.partition("/")
        start = sql.Composed([start, sql.SQL(" AND row ->> 'id' = %s AND table_name = %s")])
        values += [row_id.lower(), table]
    query = sql.SQL("""
        SELECT change_xid::text || ':' || seq, cloud_event(o)::text
        FROM outbox o WHERE {} AND change_xid < %s::xid8 ORDER BY change_xid, seq LIMIT %s""")
    return _page(connection, query.format(start), values, limit, "events")


def _page(connection: Connection, query: sql.Composed, values: list[str], limit: int, name: str) -> str:
    """One page below the xmin of now. At its end the cursor is that xmin: all below it has been seen."""
    row = connection.execute(f"SELECT {XMIN}::text").fetchone()
    assert row is not None
    xmin = str(row[0])
    rows = connection.execute(query, [*values, xmin, limit + 1]).fetchall()
    more = len(rows) > limit
    following = rows[limit - 1][0] if more else xmin
    items = ",".join(item for _, item in rows[:limit])
    return f'{{"{name}": [{items}], "next": {json.dumps(following)}, "xmin": "{xmin}", "more": {json.dumps(more)}}}'
