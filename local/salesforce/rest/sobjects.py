"""Single records: describe, create, read, change, delete, upsert by external id, and the two change feeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from local.salesforce.dml_types import DELETED, Error, Json, Record, Result, Row, malformed_id, unknown_column
from local.salesforce.ids import MalformedId, looks_like_id, normalise
from local.salesforce.rest import describe
from local.salesforce.rest.conditional import etag, http_date, parse_stamp, precondition
from local.salesforce.rest.errors import raise_error, refusal
from local.salesforce.rest.http import ApiError, Request, Response, Route, not_found
from local.salesforce.rest.state import OrgState, Save, boolean
from local.salesforce.rest.values import moment, record, visible_fields
from local.salesforce.schema import FieldType, ObjectType
from local.salesforce.store import stamp

ROOT = "/services/data/{version}"
UPDATED_REACH = timedelta(days=30)
DELETED_REACH = timedelta(days=15)
MOST_IDS = 600_000


@dataclass
class SObjects:
    """Handlers under `/sobjects`."""

    state: OrgState
    loaded: datetime  # when the metadata was read: describe's Last-Modified

    def routes(self) -> list[Route]:
        one = f"{ROOT}/sobjects/{{object}}"
        table: list[tuple[str, str, Callable[[Request], Response]]] = [
            ("GET", f"{ROOT}/sobjects", self.list_objects),
            ("GET", one, self.basic),
            ("POST", one, self.create),
            ("GET", f"{one}/describe", self.describe),
            ("GET", f"{one}/describe/layouts", self.layouts),
            ("GET", f"{one}/describe/layouts/{{record_type}}", self.layouts),
            ("GET", f"{one}/updated", self.updated),
            ("GET", f"{one}/deleted", self.deleted),
            ("GET", f"{one}/{{id}}", self.get),
            ("PATCH", f"{one}/{{id}}", self.update),
            ("DELETE", f"{one}/{{id}}", self.delete),
            ("GET", f"{one}/{{field}}/{{value}}", self.get_by_key),
            ("PATCH", f"{one}/{{field}}/{{value}}", self.upsert),
            ("POST", f"{one}/Id", self.create),
            ("DELETE", f"{one}/{{field}}/{{value}}", self.delete_by_key),
        ]
        return [Route(method, pattern, handler) for method, pattern, handler in table]

    # -- describe ----------------------------------------------------------------------------------------------------

    def list_objects(self, request: Request) -> Response:
        permissions = self.state.permissions(request.user.user_id)
        return self._cacheable(request, lambda: describe.global_describe(self.state.org, permissions, request.root))

    def basic(self, request: Request) -> Response:
        obj = self._object(request)
        return Response(200, {"objectDescribe": describe.summary(obj, request.root), "recentItems": []})

    def describe(self, request: Request) -> Response:
        obj = self._object(request)
        permissions = self.state.permissions(request.user.user_id)
        return self._cacheable(request, lambda: describe.describe(self.state.org, obj, permissions, request.root, request.base))

    def layouts(self, request: Request) -> Response:
        return Response(200, describe.layouts(self._object(request), request.root))

    def _cacheable(self, request: Request, body: Callable[[], object]) -> Response:
        tag = etag(request.path.rstrip("/"), self.loaded, request.user.user_id)
        answer = precondition(request, tag, self.loaded)
        return answer or Response(200, body(), {"ETag": tag, "Last-Modified": http_date(self.loaded)})

    # -- one record --------------------------------------------------------------------------------------------------

    def _object(self, request: Request) -> ObjectType:
        return self.state.object(request.params["object"])

    def create(self, request: Request) -> Response:
        obj = self._object(request)
        result = self._save(request, obj, _fields(request), lambda o, r, c: self.state.store.insert(o.name, r, c), new=True)
        self.state.calls.note("create", 1)
        if not result.success:
            return refusal(result)
        location = f"{request.root}/sobjects/{obj.name}/{result.id}"
        return Response(201, {"id": result.id, "success": True, "errors": []}, {"Location": location})

    def _save(self, request: Request, obj: ObjectType, fields: Record, save: Save, *, new: bool = False) -> Result:
        return self.state.save(obj, [fields], self.state.context(request), save, new=new)[0]

    def get(self, request: Request) -> Response:
        obj = self._object(request)
        fields = self._chosen(request, obj)
        row = self._row(obj, request.params["id"])
        return self._shown(request, obj, row, fields)

    def _shown(self, request: Request, obj: ObjectType, row: Row, fields: list[FieldType]) -> Response:
        self.state.calls.note("get", 1)
        headers: dict[str, str] = {}
        changed = row.get("SystemModstamp")
        if isinstance(changed, str):
            modified = parse_stamp(changed)
            tag = etag(row["Id"], changed)
            if answer := precondition(request, tag, modified):
                return answer
            headers = {"ETag": tag, "Last-Modified": http_date(modified)}
        return Response(200, record(obj, row, request.root, fields), headers)

    def _chosen(self, request: Request, obj: ObjectType) -> list[FieldType]:
        """The fields named by `fields=`, or every one that the caller may see."""
        permissions = self.state.permissions(request.user.user_id)
        names = request.query.get("fields")
        if not names:
            return visible_fields(obj, permissions)
        return chosen_fields(obj, [name.strip() for name in names.split(",") if name.strip()], permissions.readable)

    def _row(self, obj: ObjectType, given: str) -> Row:
        """A live record by id, or 404/400 as Salesforce has it."""
        if not looks_like_id(given):
            raise not_found(f"Provided external ID field does not exist or is not accessible: {given}")
        try:
            record_id = normalise(given)
        except MalformedId:
            raise raise_error(malformed_id(given)) from None
        row = self.state.store.get(obj.name, record_id)
        if row is None:
            raise not_found()
        if row.get("IsDeleted"):
            raise raise_error(DELETED)
        return row

    def update(self, request: Request) -> Response:
        obj = self._object(request)
        if not looks_like_id(request.params["id"]):
            raise not_found(f"Provided external ID field does not exist or is not accessible: {request.params['id']}")
        fields = _fields(request)
        if "id" in {name.lower() for name in fields}:
            raise ApiError(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
        with self.state.store.write():
            if answer := self._unless_changed(request, obj, request.params["id"]):
                return answer
            changes = {**fields, "Id": request.params["id"]}
            result = self._save(request, obj, changes, lambda o, r, c: self.state.store.update(o.name, r, c))
        self.state.calls.note("update", 1)
        return Response(204) if result.success else refusal(result)

    def _unless_changed(self, request: Request, obj: ObjectType, given: str) -> Response | None:
        """412 where the record changed since the caller's `If-Unmodified-Since` or `If-Match`."""
        if not any(name in request.headers for name in ("if-match", "if-unmodified-since", "if-modified-since", "if-none-match")):
            return None
        row = self._row(obj, given)
        changed = str(row["SystemModstamp"])
        return precondition(request, etag(row["Id"], changed), parse_stamp(changed))

    def delete(self, request: Request) -> Response:
        obj = self._object(request)
        given = request.params["id"]
        if not looks_like_id(given):
            raise not_found(f"Provided external ID field does not exist or is not accessible: {given}")
        with self.state.store.write():
            if answer := self._unless_changed(request, obj, given):
                return answer
            result = self.state.store.delete(obj.name, [given], self.state.context(request))[0]
        self.state.calls.note("delete", 1)
        return Response(204) if result.success else refusal(result)

    # -- by external id ----------------------------------------------------------------------------------------------

    def _key(self, obj: ObjectType, name: str) -> FieldType:
        found = obj.field(name)
        if found is None or not found.upsert_key:
            raise not_found(f"Provided external ID field does not exist or is not accessible: {name}")
        return found

    def _matching(self, request: Request, obj: ObjectType) -> list[Row]:
        key = self._key(obj, request.params["field"])
        if key.name == "Id":
            return [self._row(obj, request.params["value"])]
        return self.state.store.find(obj.name, key.name, _key_value(key, request.params["value"]))

    def _several(self, request: Request, obj: ObjectType, ids: list[str]) -> Response:
        return Response(300, [f"{request.root}/sobjects/{obj.name}/{record_id}" for record_id in ids])

    def get_by_key(self, request: Request) -> Response:
        obj = self._object(request)
        rows = self._matching(request, obj)
        if not rows:
            raise not_found()
        if len(rows) > 1:
            return self._several(request, obj, [str(row["Id"]) for row in rows])
        return self._shown(request, obj, rows[0], self._chosen(request, obj))

    def upsert(self, request: Request) -> Response:
        obj = self._object(request)
        key = self._key(obj, request.params["field"])
        fields = _fields(request)
        if key.name.lower() in {name.lower() for name in fields}:
            raise ApiError(400, "INVALID_FIELD", f"The {key.name} field should not be specified in the sobject data.")
        value = request.params["value"]
        if boolean(request.query.get("updateOnly", "false"), "updateOnly") and not self._matching(request, obj):
            raise not_found()
        result = self._save(request, obj, {**fields, key.name: value}, lambda o, r, c: self.state.store.upsert(o.name, key.name, r, c))
        self.state.calls.note("upsert", 1)
        return self._upserted(request, obj, result)

    def _upserted(self, request: Request, obj: ObjectType, result: Result) -> Response:
        if result.matches:
            return self._several(request, obj, list(result.matches))
        if not result.success:
            return refusal(result)
        modern = float(request.version) >= 46
        if not result.created and not modern:
            return Response(204)
        body: dict[str, object] = {"id": result.id, "success": True, "errors": []}
        if modern:
            body["created"] = bool(result.created)
        if not result.created:
            return Response(200, body)
        return Response(201, body, {"Location": f"{request.root}/sobjects/{obj.name}/{result.id}"})

    def delete_by_key(self, request: Request) -> Response:
        obj = self._object(request)
        rows = self._matching(request, obj)
        if not rows:
            raise not_found()
        if len(rows) > 1:
            return self._several(request, obj, [str(row["Id"]) for row in rows])
        result = self.state.store.delete(obj.name, [str(rows[0]["Id"])], self.state.context(request))[0]
        self.state.calls.note("delete", 1)
        return Response(204) if result.success else refusal(result)

    # -- change feeds ------------------------------------------------------------------------------------------------

    def updated(self, request: Request) -> Response:
        obj = self._replicated(request)
        start, end = self._window(request, UPDATED_REACH)
        with self.state.store.read() as connection:
            rows = connection.execute(
                f'SELECT "Id" FROM "{obj.name}" WHERE "SystemModstamp" >= ? AND "SystemModstamp" < ? AND "IsDeleted" = 0 '
                'ORDER BY "SystemModstamp", "Id" LIMIT ?',
                (stamp(start), stamp(end), MOST_IDS + 1),
            ).fetchall()
        if len(rows) > MOST_IDS:
            raise ApiError(400, "EXCEEDED_ID_LIMIT", f"Too many records changed: more than {MOST_IDS}. Please shorten the time span.")
        return Response(200, {"ids": [row[0] for row in rows], "latestDateCovered": moment(stamp(end))})

    def deleted(self, request: Request) -> Response:
        obj = self._replicated(request)
        start, end = self._window(request, DELETED_REACH)
        rows = self.state.store.deleted_between(obj.name, stamp(start), stamp(end))
        if len(rows) > MOST_IDS:
            raise ApiError(400, "EXCEEDED_ID_LIMIT", f"Too many records deleted: more than {MOST_IDS}. Please shorten the time span.")
        earliest = (self.state.store.clock() - DELETED_REACH).replace(second=0, microsecond=0)
        return Response(
            200,
            {
                "deletedRecords": [{"id": record_id, "deletedDate": moment(at)} for record_id, at in rows],
                "earliestDateAvailable": moment(stamp(earliest)),
                "latestDateCovered": moment(stamp(end)),
            },
        )

    def _replicated(self, request: Request) -> ObjectType:
        obj = self._object(request)
        if not obj.replicateable or obj.field("SystemModstamp") is None or obj.event:
            raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"entity type {obj.name} does not support replication")
        return obj

    def _window(self, request: Request, reach: timedelta) -> tuple[datetime, datetime]:
        """[start, end) in whole minutes, within what the feed still knows."""
        now = self.state.store.clock()
        start, end = _moment(request, "start"), _moment(request, "end")
        if start < now - reach:
            raise ApiError(400, "INVALID_REPLICATION_DATE", f"startDate cannot be more than {reach.days} days ago")
        if end - start < timedelta(minutes=1):
            raise ApiError(400, "INVALID_REPLICATION_DATE", "endDate must be at least one minute greater than startDate")
        end = min(end, now)
        return start.replace(second=0, microsecond=0), max(end.replace(second=0, microsecond=0), start.replace(second=0, microsecond=0))


def chosen_fields(obj: ObjectType, names: list[str], readable: Callable[[ObjectType, FieldType], bool]) -> list[FieldType]:
    """The named fields in the order asked, each once; an unknown or hidden one is INVALID_FIELD."""
    chosen: dict[str, FieldType] = {}
    for name in names:
        found = obj.field(name)
        if found is None or not readable(obj, found):
            raise raise_error(unknown_column(obj.name, name))
        chosen[found.name] = found
    return list(chosen.values())


def _key_value(key: FieldType, value: str) -> str | float:
    """A key out of a path: numbers compare as numbers."""
    if not key.is_number:
        return value.strip()
    try:
        return float(value)
    except ValueError:
        raise ApiError(400, "INVALID_FIELD", f"{key.name}: value not of required type: {value}") from None


def _fields(request: Request) -> dict[str, Json]:
    """A record's fields from the body, without its `attributes`."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in {"application/json", "text/json", ""} and not request.subrequest:
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", f"Content-Type '{kind}' is not supported. Use application/json.")
    fields: dict[str, Json] = {name: value for name, value in request.object().items() if name != "attributes"}  # type: ignore[misc]
    return fields


def _moment(request: Request, name: str) -> datetime:
    """A moment out of the query string; an unescaped `+` of the offset arrives as a blank."""
    value = request.query.get(name, "")
    if not value:
        raise ApiError(400, "MISSING_ARGUMENT", f"Missing required parameter: {name}")
    text = value.strip().replace(" ", "+")
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise raise_error(Error("INVALID_FIELD", f"{name}: invalid date: {value}", None)) from None
