"""DML results as REST answers: which HTTP status an error code takes, and the two shapes errors have."""

from __future__ import annotations

from local.salesforce.dml_types import Error, Result
from local.salesforce.rest.http import ApiError, Response

_STATUS = {
    "NOT_FOUND": 404,
    "ENTITY_IS_DELETED": 404,
    "INSUFFICIENT_ACCESS_OR_READONLY": 403,
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": 403,
    "INSUFFICIENT_ACCESS": 403,
    "REQUEST_LIMIT_EXCEEDED": 403,
    "SERVER_UNAVAILABLE": 503,
    "UNKNOWN_EXCEPTION": 500,
}


def status_of(error: Error) -> int:
    """The HTTP status of a single record's failure."""
    return _STATUS.get(error.status_code, 400)


def single_error(error: Error) -> dict[str, object]:
    """As the single-record resources say it: `message`, `errorCode`, and `fields` where the error has the key."""
    body: dict[str, object] = {"message": error.message, "errorCode": error.status_code}
    if error.fields is not None:
        body["fields"] = list(error.fields)
    return body


def collection_error(error: Error) -> dict[str, object]:
    """As Collections, trees and upserts say it: `statusCode`, and `fields` always."""
    return {"statusCode": error.status_code, "message": error.message, "fields": list(error.fields or ())}


def refusal(result: Result) -> Response:
    """A single record's failed save."""
    errors = result.errors or [Error("UNKNOWN_EXCEPTION", "The record was not saved.")]
    return Response(status_of(errors[0]), [single_error(error) for error in errors])


def collection_result(result: Result, *, upsert: bool = False) -> dict[str, object]:
    """One item of a Collections answer. A failed item has no `id`; an upsert's always has `created`."""
    item: dict[str, object] = {"id": result.id} if result.success else {}
    item["success"] = result.success
    item["errors"] = [collection_error(error) for error in result.errors]
    if upsert:
        item["created"] = bool(result.created)
    return item


def raise_error(error: Error) -> ApiError:
    """The same as an exception, for reads."""
    return ApiError(status_of(error), error.status_code, error.message, error.fields)
