"""Every refusal is `application/problem+json` (RFC 9457): type, title, status, detail, errors.

    {"type": "about:blank", "title": "Unprocessable Content", "status": 422, "detail": "...",
     "errors": [{"column": "phone_e164", "message": "..."}]}

400 = the request cannot be read, 422 = it was read and is refused for good, 503 = come again. Messages never hold values.
"""

from __future__ import annotations

import http
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from psycopg import errors as sqlstates
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


@dataclass
class Problem(Exception):
    """A refusal on its way to the caller. `errors` name columns (or fields) and say what is wrong with each.

    A final one stays true for the same request: it is kept under its Idempotency-Key.
    """

    status: int
    detail: str
    errors: Sequence[Mapping[str, object]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    final: bool = True

    def body(self) -> str:
        title = http.HTTPStatus(self.status).phrase
        content = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, "errors": list(self.errors)}
        return json.dumps(content)  # ASCII: a caller's odd characters can't break the answer

    def response(self) -> Response:
        return Response(self.body(), self.status, media_type=MEDIA_TYPE, headers=dict(self.headers))


def refused(column: str, message: str) -> Problem:
    """422 for one column."""
    return Problem(422, f"{column}: {message}", [{"column": column, "message": message}])


#: psycopg error class -> message; the column is named by the database where it can be
CONSTRAINTS: Mapping[type[psycopg.Error], str] = {
    sqlstates.NotNullViolation: "is required",
    sqlstates.UniqueViolation: "is already taken by another row",
    sqlstates.NumericValueOutOfRange: "is out of range",
    sqlstates.StringDataRightTruncation: "is too long",
}


def from_database(error: psycopg.Error) -> Problem | None:
    """The problem a database error means, or None if it is a fault of ours.

    Constraint violations and bad data are 422; a lost or overloaded database is 503. PostgreSQL's own messages are used only
    where our triggers wrote them: others may quote values.
    """
    if isinstance(error, psycopg.OperationalError):  # lost, shutting down, pool exhausted, statement or lock time-out
        return Problem(503, "The database is not available now.", headers={"Retry-After": "1"})
    if isinstance(error, sqlstates.InsufficientPrivilege):
        return Problem(422, error.diag.message_primary or "Not allowed.")
    column = error.diag.column_name or _column_of(error.diag.constraint_name, error.diag.table_name)
    if isinstance(error, sqlstates.CheckViolation) and error.diag.column_name:  # raised by a trigger of ours
        return refused(column, error.diag.message_primary or "is refused")
    if isinstance(error, sqlstates.CheckViolation):
        return refused(column, "has a value that is not allowed")
    if isinstance(error, sqlstates.ForeignKeyViolation):  # it may exist later
        problem = refused(column, "names a row that does not exist")
        problem.final = False
        return problem
    for kind, message in CONSTRAINTS.items():
        if isinstance(error, kind):
            return refused(column, message)
    if isinstance(error, psycopg.DataError):
        return refused(column, "cannot be stored as its type")
    return None


def _column_of(constraint: str | None, table: str | None) -> str:
    """PostgreSQL names a constraint `table_column_kind`; the schema keeps to that where several columns are involved."""
    if not constraint:
        return "row"
    name = constraint.removeprefix(f"{table}_")
    for kind in ("_check", "_fkey", "_key"):
        name = name.removesuffix(kind)
    return name


def install(app: FastAPI) -> None:
    """Make every error of the application a problem."""

    @app.exception_handler(Problem)
    def on_problem(_: Request, problem: Problem) -> Response:
        return problem.response()

    @app.exception_handler(HTTPException)
    def on_http(_: Request, error: HTTPException) -> Response:
        return Problem(error.status_code, str(error.detail), headers=error.headers or {}).response()

    @app.exception_handler(RequestValidationError)
    def on_validation(_: Request, error: RequestValidationError) -> Response:
        faults = error.errors()
        readable = all(fault["loc"][0] == "body" and fault["type"] != "json_invalid" for fault in faults)
        errors = [{"column": ".".join(str(part) for part in fault["loc"][1:]), "message": fault["msg"]} for fault in faults]
        return Problem(422 if readable else 400, "The request does not fit the schema.", errors).response()

    @app.exception_handler(psycopg.Error)
    def on_database(_: Request, error: psycopg.Error) -> Response:
        return (from_database(error) or Problem(500, f"Database error {error.sqlstate}.")).response()

    @app.exception_handler(Exception)
    def on_fault(_: Request, error: Exception) -> Response:
        return Problem(500, f"Unexpected {type(error).__name__}.").response()
