"""Routes of the 23 tables: list, get, batch-get, create, patch. All tables have the same ones, made from the catalog."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response

from . import openapi
from .auth import allowed
from .catalog import Table
from .commands import COMMAND_TABLES, execute_command
from .problems import Problem, refused
from .store import Caller, Connection, Found, Store, get_row, get_rows, insert_row, list_rows, lock_version, update_row
from .values import UUID as UUID_TEXT
from .values import Json, row_values
from .writes import Answer, Key, write

BATCH = 500
MAX_BODY = 10_000_000
KEY = re.compile(r"[\x21-\x7e]{1,255}")
ETAGS = re.compile(r'\s*(\*|(W/)?"[^"]*"(\s*,\s*(W/)?"[^"]*")*)\s*')

Reader = Annotated[Caller, allowed("oms/read")]
Writer = Annotated[Caller, allowed("oms/write")]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", description="The first answer is given again for 7 days.")]


def reject_constant(_: str) -> Json:
    raise ValueError("NaN and Infinity are no JSON")


async def json_body(request: Request) -> dict[str, Json]:
    """The body as a JSON object; numbers with a point stay exact."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise Problem(413, f"A request has at most {MAX_BODY} bytes.")
    try:
        content = json.loads(bytes(body), parse_float=Decimal, parse_constant=reject_constant)
    except (ValueError, RecursionError) as fault:
        raise Problem(400, "The body is not valid JSON.") from fault
    if not isinstance(content, dict):
        raise Problem(400, "The body must be a JSON object.")
    return content


Body = Annotated[dict[str, Json], Depends(json_body)]


def idempotency_key(value: IdempotencyKey = None) -> str | None:
    if value is not None and not KEY.fullmatch(value):
        raise Problem(400, "Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return value


RequestKey = Annotated[str | None, Depends(idempotency_key)]


def table_router(table: Table, store: Store) -> APIRouter:
    """The routes of one table below /v1/{table}."""
    router = APIRouter(prefix=f"/v1/{table.name}", tags=[table.name])
    title = openapi.model_name(table)
    filters = sorted(column.name for column in table.columns.values() if column.references)

    @router.get("", summary=f"List {table.comment} in id order", openapi_extra=openapi.list_extra(table, filters))
    def list_page(
        request: Request,
        _: Reader,
        after: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        where = _filters(request, filters)
        rows, following = store.read(lambda c: list_rows(c, table.name, str(after) if after else None, limit, where))
        return _raw(f'{{"items": [{",".join(rows)}], "next": {json.dumps(following)}}}')

    @router.get("/{row_id}", summary=f"Get one row of {table.comment}", openapi_extra=openapi.get_extra(table))
    def get_one(row_id: UUID, _: Reader, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        found = store.read(lambda c: get_row(c, table.name, str(row_id)))
        if found is None:
            raise _not_found(table)
        etag = f'"{found.version}"'
        if if_none_match == etag:
            return Response(status_code=304, headers={"ETag": etag})
        return _raw(found.body, {"ETag": etag})

    @router.post("/batch-get", summary=f"Get up to {BATCH} rows by id", openapi_extra=openapi.batch_extra(table, BATCH))
    def batch_get(body: Body, _: Reader) -> Response:
        ids = _batch_ids(body)
        found = store.read(lambda c: get_rows(c, table.name, ids))
        items = ",".join(found[row_id] for row_id in ids if row_id in found)
        return _raw(f'{{"items": [{items}], "missing": {json.dumps([row_id for row_id in ids if row_id not in found])}}}')

    @router.post("", summary=f"Create a {title}", status_code=201, openapi_extra=openapi.create_extra(table))
    def create(body: Body, caller: Writer, key: RequestKey) -> Response:
        values = row_values(table, body, creating=True)
        request_key = Key.of(caller, key, f"POST {table.name}", body)
        return write(store, caller, request_key, lambda c: _create(c, table, values)).response()

    @router.patch("/{row_id}", summary=f"Change a {title}", openapi_extra=openapi.patch_extra(table))
    def patch(
        row_id: UUID,
        body: Body,
        caller: Writer,
        key: RequestKey,
        if_match: Annotated[str | None, Header(description='The version that was read: `"<version>"`.')] = None,
    ) -> Response:
        values = row_values(table, body, creating=False)
        command = table.name in COMMAND_TABLES and values.get("requested_action") is not None
        request_key = Key.of(caller, key, f"PATCH {table.name}/{row_id}", body, command=command)
        if command:
            _check_command(values, key)
            return write(store, caller, request_key, lambda c: _command(c, table, str(row_id), values)).response()
        if if_match is None:
            raise Problem(428, "If-Match with the version that was read is required.")
        if not ETAGS.fullmatch(if_match):
            raise Problem(400, 'If-Match must be "<version>".')
        return write(store, caller, request_key, lambda c: _patch(c, table, str(row_id), if_match, values)).response()

    return router


def _create(connection: Connection, table: Table, values: Mapping[str, object]) -> Answer:
    created = insert_row(connection, table.name, values)
    found = get_row(connection, table.name, created or str(values["id"]))
    assert found is not None
    return Answer(201 if created else 200, found.body, found.version)


def _patch(connection: Connection, table: Table, row_id: str, if_match: str, values: Mapping[str, object]) -> Answer:
    version = lock_version(connection, table.name, row_id)
    if version is None:
        raise _not_found(table)
    etag = f'"{version}"'
    if if_match.strip() != "*" and etag not in re.findall(r'(?:W/)?"[^"]*"', if_match):  # a weak tag never matches
        raise Problem(412, "The row has another version by now.", headers={"ETag": etag})
    if values:
        update_row(connection, table.name, row_id, values)
    return _answer(get_row(connection, table.name, row_id))


def _check_command(values: Mapping[str, object], key: str | None) -> None:
    if key is None:
        raise Problem(400, "A command needs an Idempotency-Key: it is executed once under it.")
    if len(values) > 1:
        raise refused("requested_action", "is a command and is sent alone")


def _command(connection: Connection, table: Table, row_id: str, values: Mapping[str, object]) -> Answer:
    if lock_version(connection, table.name, row_id) is None:
        raise _not_found(table)
    update_row(connection, table.name, row_id, values)
    execute_command(connection, table.name, row_id)
    return _answer(get_row(connection, table.name, row_id))


def _answer(found: Found | None) -> Answer:
    assert found is not None
    return Answer(200, found.body, found.version)


def _not_found(table: Table) -> Problem:
    return Problem(404, f"No such row of {table.name}.")


def _batch_ids(body: Mapping[str, Json]) -> list[str]:
    """The ids asked for, each once, in their order."""
    ids = body.get("ids")
    if set(body) != {"ids"} or not isinstance(ids, list) or len(ids) > BATCH:
        raise Problem(
            422, f'The body must be {{"ids": [at most {BATCH} UUIDs]}}.', [{"column": "ids", "message": f"at most {BATCH} UUIDs"}]
        )
    found = [row_id.lower() for row_id in ids if isinstance(row_id, str) and UUID_TEXT.fullmatch(row_id)]
    if len(found) < len(ids):
        raise refused("ids", "must all be UUIDs")
    return list(dict.fromkeys(found))


def _filters(request: Request, known: list[str]) -> dict[str, list[str]]:
    """Reference columns that hold one of the ids named: ?patient_id=...&patient_id=..."""
    where: dict[str, list[str]] = {}
    for name in known:
        if name in request.query_params:
            try:
                where[name] = [str(UUID(value)) for value in request.query_params.getlist(name)]
            except ValueError as fault:
                raise Problem(400, f"{name} must be a UUID.", [{"column": name, "message": "must be a UUID"}]) from fault
    return where


def _raw(body: str, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that PostgreSQL wrote goes out as it is."""
    return Response(body, media_type="application/json", headers=dict[str, Any](headers or {}))
