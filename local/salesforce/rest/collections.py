"""sObject Collections: up to 200 records a call, a result per record in request order, HTTP 200 whatever their fate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local.salesforce.context import Context
from local.salesforce.dml_types import ROLLED_BACK, Json, Record, Result, malformed_id
from local.salesforce.ids import MalformedId, normalise
from local.salesforce.rest.errors import collection_result, raise_error
from local.salesforce.rest.http import ApiError, Request, Response, Route, not_found
from local.salesforce.rest.sobjects import chosen_fields
from local.salesforce.rest.state import INVALID_TYPE, OrgState, Save, boolean
from local.salesforce.rest.values import record
from local.salesforce.schema import ObjectType

ROOT = "/services/data/{version}/composite/sobjects"
MOST_RECORDS = 200
MOST_READ = 2_000
MOST_CHUNKS = 10


class _Undo(Exception):
    """Leaves the transaction of an all-or-none call, with what there is to answer."""

    def __init__(self, results: list[Result]) -> None:
        super().__init__("rolled back")
        self.results = results


@dataclass
class Collections:
    """Handlers under `/composite/sobjects`."""

    state: OrgState

    def routes(self) -> list[Route]:
        return [
            Route("POST", ROOT, self.create),
            Route("PATCH", ROOT, self.update),
            Route("DELETE", ROOT, self.delete),
            Route("PATCH", f"{ROOT}/{{object}}/{{field}}", self.upsert),
            Route("GET", f"{ROOT}/{{object}}", self.retrieve),
            Route("POST", f"{ROOT}/{{object}}", self.retrieve),
        ]

    # -- writes ------------------------------------------------------------------------------------------------------

    def create(self, request: Request) -> Response:
        def insert(obj: ObjectType, records: Sequence[Record], context: Context) -> list[Result]:
            return self.state.store.insert(obj.name, records, context)

        return self._write(request, "collections.create", insert)

    def update(self, request: Request) -> Response:
        def update(obj: ObjectType, records: Sequence[Record], context: Context) -> list[Result]:
            return self.state.store.update(obj.name, records, context)

        return self._write(request, "collections.update", update)

    def upsert(self, request: Request) -> Response:
        target = self.state.object(request.params["object"])
        key = target.field(request.params["field"])
        if key is None or not key.upsert_key:
            raise not_found(f"Provided external ID field does not exist or is not accessible: {request.params['field']}")

        def upsert(obj: ObjectType, records: Sequence[Record], context: Context) -> list[Result]:
            if obj is not target:
                raise ApiError(400, "INVALID_INPUT", f"All records must be of the type in the path: {target.name}, not {obj.name}")
            return self.state.store.upsert(obj.name, key.name, records, context)

        return self._write(request, "collections.upsert", upsert, upsert=True)

    def _write(self, request: Request, kind: str, save: Save, *, upsert: bool = False) -> Response:
        body = request.object()
        all_or_none = boolean(body.get("allOrNone", False), "allOrNone")
        chunks = self._chunks(body.get("records"))
        count = sum(len(records) for _, records in chunks)
        self.state.calls.note(kind, count)
        context = self.state.context(request, all_or_none=all_or_none)
        new = kind == "collections.create"
        results = self._save_all(chunks, lambda obj, records, context: self.state.save(obj, records, context, save, new=new), context)
        return Response(200, [collection_result(result, upsert=upsert) for result in results])

    def _save_all(self, chunks: list[tuple[ObjectType, list[Record]]], save: Save, context: Context) -> list[Result]:
        """Save run after run; all-or-none undoes every run when one record of any fails."""
        try:
            with self.state.store.write():
                results = [result for obj, records in chunks for result in save(obj, records, context)]
                if context.all_or_none and not all(result.success for result in results):
                    raise _Undo(results)
                return results
        except _Undo as undo:
            return [Result.failed(ROLLED_BACK, created=False) if result.success else result for result in undo.results]

    def _chunks(self, records: object) -> list[tuple[ObjectType, list[Record]]]:
        """Runs of records of one type, in order."""
        if not isinstance(records, list):
            raise ApiError(400, "JSON_PARSER_ERROR", "The records field is required and must be an array at [line:1, column:1]")
        _within(len(records))
        chunks: list[tuple[ObjectType, list[Record]]] = []
        for item in records:
            obj, fields = self._typed(item)
            if not chunks or chunks[-1][0] is not obj:
                chunks.append((obj, []))
            chunks[-1][1].append(fields)
        if len(chunks) > MOST_CHUNKS:
            message = "Cannot have more than 10 chunks in a single operation. Please rearrange the data to reduce chunking."
            raise ApiError(400, "LIMIT_EXCEEDED", message)
        return chunks

    def _typed(self, item: Json) -> tuple[ObjectType, Record]:
        attributes = item.get("attributes") if isinstance(item, dict) else None
        name = attributes.get("type") if isinstance(attributes, dict) else None
        if not isinstance(item, dict) or not isinstance(name, str):
            raise ApiError(400, "JSON_PARSER_ERROR", "Missing entityType information. at [line:1, column:1]")
        obj = self.state.org.object(name)
        if obj is None:
            raise ApiError(400, "INVALID_TYPE", INVALID_TYPE.format(name))
        return obj, {key: value for key, value in item.items() if key != "attributes"}

    def delete(self, request: Request) -> Response:
        ids = [part.strip() for part in request.query.get("ids", "").split(",") if part.strip()]
        if not ids:
            raise ApiError(400, "MISSING_ARGUMENT", "Missing required parameter: ids")
        _within(len(ids))
        all_or_none = boolean(request.query.get("allOrNone", "false"), "allOrNone")
        self.state.calls.note("collections.delete", len(ids))
        context = self.state.context(request, all_or_none=all_or_none)
        try:
            with self.state.store.write():
                results = self._delete_runs(ids, context)
                if all_or_none and not all(result.success for result in results):
                    raise _Undo(results)
        except _Undo as undo:
            results = [Result.failed(ROLLED_BACK) if result.success else result for result in undo.results]
        return Response(200, [collection_result(result) for result in results])

    def _delete_runs(self, ids: list[str], context: Context) -> list[Result]:
        """Ids of one object go together; the answer keeps the order of the request."""
        results: dict[int, Result] = {}
        runs: dict[str, list[int]] = {}
        for index, given in enumerate(ids):
            obj = self.state.org.object_of_id(given)
            if obj is None:
                results[index] = Result.failed(malformed_id(given))
            else:
                runs.setdefault(obj.name, []).append(index)
        for name, indexes in runs.items():
            outcome = self.state.store.delete(name, [ids[index] for index in indexes], context)
            results.update(zip(indexes, outcome, strict=True))
        return [results[index] for index in range(len(ids))]

    # -- reads -------------------------------------------------------------------------------------------------------

    def retrieve(self, request: Request) -> Response:
        """Records by id, in the order asked; null for one that is not there (or deleted)."""
        obj = self.state.object(request.params["object"])
        ids, names = _asked(request)
        if len(ids) > MOST_READ:
            raise ApiError(
                400, "EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {MOST_READ} records in one transaction"
            )
        permissions = self.state.permissions(request.user.user_id)
        fields = chosen_fields(obj, names, permissions.readable)
        self.state.calls.note("collections.retrieve", len(ids))
        normal = [_normal(given) for given in ids]
        with self.state.store.read() as connection:
            rows = self.state.store.rows_where(connection, obj.name, "Id", normal)
        found = (rows.get(record_id) for record_id in normal)
        return Response(200, [None if row is None or row.get("IsDeleted") else record(obj, row, request.root, fields) for row in found])


def _asked(request: Request) -> tuple[list[str], list[str]]:
    """The ids and field names of a retrieve, from the query string or the body."""
    if request.method == "POST":
        body = request.object()
        ids, names = body.get("ids"), body.get("fields")
    else:
        ids, names = _listed(request.query.get("ids")), _listed(request.query.get("fields"))
    if not isinstance(ids, list) or not isinstance(names, list) or not ids or not names:
        missing = "fields" if ids else "ids"
        raise ApiError(400, "MISSING_ARGUMENT", f"Missing required parameter: {missing}")
    if not all(isinstance(item, str) for item in (*ids, *names)):
        raise ApiError(400, "JSON_PARSER_ERROR", "ids and fields must be arrays of strings at [line:1, column:1]")
    return ids, names


def _listed(value: str | None) -> list[str]:
    return [part.strip() for part in (value or "").split(",") if part.strip()]


def _normal(given: str) -> str:
    try:
        return normalise(given)
    except MalformedId:
        raise raise_error(malformed_id(given)) from None


def _within(count: int) -> None:
    if count > MOST_RECORDS:
        message = f"record limit reached. cannot submit more than {MOST_RECORDS} records in one transaction"
        raise ApiError(400, "EXCEEDED_ID_LIMIT", message)
