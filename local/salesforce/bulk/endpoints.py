"""HTTP routes of Bulk API 2.0: `jobs/ingest` and `jobs/query`."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import BinaryIO

from local.salesforce.bulk.ingest import Files, unprocessed
from local.salesforce.bulk.jobs import DELIMITERS, LINE_ENDINGS, Job, State
from local.salesforce.bulk.query import DEFAULT_RECORDS, BadLocator, ResultSet, row_of
from local.salesforce.bulk.service import BulkService
from local.salesforce.rest.http import ApiError, Request, Response, Route, not_found, parse_json, spooled
from local.salesforce.rest.state import OrgState
from local.salesforce.schema import ObjectType
from local.salesforce.soql.errors import SoqlError

MAX_UPLOAD = 100 << 20
MAX_MULTIPART = 100_000  # characters of a job that is created together with its data
OPERATIONS = frozenset({"insert", "update", "upsert", "delete", "hardDelete"})
_PAGE = 1_000
_CSV = {"Content-Type": "text/csv"}
_PAST = {State.JOB_COMPLETE: "Completed", State.FAILED: "Failed", State.ABORTED: "Aborted"}
_QUERY_STATES = {
    State.UPLOAD_COMPLETE: "UPLOAD_COMPLETE", State.IN_PROGRESS: "IN_PROGRESS", State.FAILED: "FAILED", State.ABORTED: "ABORTED",
}  # fmt: skip


def routes(state: OrgState) -> list[Route]:
    """The routes under `/services/data/vXX.X/jobs`. The org's workers stop with the state's other services."""
    service = BulkService(state)
    state.on_close.append(service.close)
    return [*IngestEndpoints(service).routes(), *QueryEndpoints(service).routes()]


class _Endpoints:
    """What ingest and query jobs have in common."""

    kind = ""

    def __init__(self, service: BulkService) -> None:
        self.service = service
        self.jobs = service.jobs

    def job(self, request: Request) -> Job:
        """The job that a path names, or 404."""
        job = self.jobs.get(self.kind, request.params["id"])
        if job is None:
            raise not_found()
        return job

    def status(self, request: Request) -> Response:
        return Response(200, self.job(request).status())

    def listed(self, request: Request) -> Response:
        """All jobs, newest first, a thousand a page."""
        after = _list_position(request.query.get("queryLocator"))
        found = self.jobs.page(self.kind, after, _PAGE + 1)
        body: dict[str, object] = {"done": len(found) <= _PAGE, "records": [job.listed() for job in found[:_PAGE]], "nextRecordsUrl": None}
        if len(found) > _PAGE:
            last = found[_PAGE - 1]
            body["nextRecordsUrl"] = f"{request.root}/jobs/{self.kind}?queryLocator={last.created}-{last.id}"
        return Response(200, body)

    def delete(self, request: Request) -> Response:
        job = self.job(request)
        if job.state in (State.OPEN, State.IN_PROGRESS):
            raise _state_error(f"Deleting {job.state} Job not allowed")
        self.service.remove(job)
        return Response(204)

    def _abort(self, job: Job) -> Response:
        if job.state.final:
            raise _state_error(f"Aborting already {_PAST[job.state]} Job not allowed")
        moved = self._move(job, State.ABORTED)
        self.service.abort(job)
        return Response(200, moved.short())

    def _move(self, job: Job, state: State) -> Job:
        """Change a job's state, unless it came to its end meanwhile; the job as it then is."""
        with self.jobs.store.write() as tx:
            current = self.jobs.get(self.kind, job.id)
            if current is None:
                raise not_found()
            if current.state.final:
                raise _state_error(f"Aborting already {_PAST[current.state]} Job not allowed")
            current.state = state
            self.jobs.save(tx, current)
        return current


class IngestEndpoints(_Endpoints):
    """`jobs/ingest`."""

    kind = "ingest"

    def routes(self) -> list[Route]:
        base = "/services/data/{version}/jobs/ingest"
        return [
            Route("POST", base, self.create),
            Route("GET", base, self.listed),
            Route("GET", f"{base}/{{id}}", self.status),
            Route("PATCH", f"{base}/{{id}}", self.change),
            Route("DELETE", f"{base}/{{id}}", self.delete),
            Route("PUT", f"{base}/{{id}}/batches", self.upload, spool=True),
            Route("GET", f"{base}/{{id}}/successfulResults", self._results(lambda files: files.success, "sf__Created")),
            Route("GET", f"{base}/{{id}}/failedResults", self._results(lambda files: files.failed, "sf__Error")),
            Route("GET", f"{base}/{{id}}/unprocessedrecords", self.unprocessed),
        ]

    def create(self, request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        if content_type.lower().startswith("multipart/form-data"):
            return self._create_with_data(request, content_type)
        job = self._new(request, request.object())
        return Response(200, job.created_answer())

    def _create_with_data(self, request: Request, content_type: str) -> Response:
        """A multipart body: the job, then its data; the job is closed at once."""
        if len(request.body) > MAX_MULTIPART:
            raise _job_error(f"The multipart request is larger than {MAX_MULTIPART} characters: create the job, then upload its data")
        parts = _parts(content_type, request.body)
        if "job" not in parts or "content" not in parts:
            raise _job_error("A multipart request needs the parts 'job' and 'content'")
        settings = parse_json(parts["job"])
        if not isinstance(settings, dict):
            raise _job_error("Unable to parse Job")
        job = self._new(request, settings)
        self._store(job, io.BytesIO(parts["content"]))
        return Response(200, self._close(job).short())

    def _new(self, request: Request, settings: dict[str, object]) -> Job:
        operation = _text(settings, "operation")
        if operation not in OPERATIONS:
            raise _job_error(f"Unknown operation: {operation}" if operation else "operation is required")
        obj = self._object(request, settings, operation)
        if _text(settings, "contentType", "CSV") != "CSV":
            raise _job_error(f"Unsupported content type: {settings['contentType']}")
        delimiter, line_ending = _csv_settings(settings)
        external_id = self._external_id(obj, settings) if operation == "upsert" else None
        with self.jobs.store.write() as tx:
            job = self.jobs.new(tx, "ingest", operation, obj.name, request.user.user_id, request.version)
            job.delimiter, job.line_ending, job.external_id = delimiter, line_ending, external_id
            job.assignment_rule = _text(settings, "assignmentRuleId") or None
            self.jobs.save(tx, job)
        return job

    def _object(self, request: Request, settings: dict[str, object], operation: str) -> ObjectType:
        name = _text(settings, "object")
        obj = self.service.state.org.object(name)
        if obj is None:
            raise _job_error(f"Unable to find object: {name}")
        possible = {"insert": obj.createable, "update": obj.updateable, "upsert": obj.createable and obj.updateable}
        if not possible.get(operation, obj.deletable) and not obj.event:
            raise ApiError(400, "INVALIDENTITY", f"Entity '{obj.name}' is not supported by the Bulk API.")
        if obj.event:
            raise ApiError(400, "INVALIDENTITY", f"Entity '{obj.name}' is not supported by the Bulk API.")
        permissions = self.service.state.permissions(request.user.user_id)
        if operation == "hardDelete" and not (permissions.everything or "BulkApiHardDelete" in permissions.user):
            text = "hardDelete operation requires special user profile permission, please contact your system administrator"
            raise ApiError(400, "FEATURENOTENABLED", text)
        return obj

    @staticmethod
    def _external_id(obj: ObjectType, settings: dict[str, object]) -> str:
        name = _text(settings, "externalIdFieldName")
        if not name:
            raise _job_error("External ID was blank for upsert operation")
        field = obj.field(name)
        if field is None or not field.upsert_key:
            text = f"Field name provided, {name} does not match an External ID, Salesforce Id, or indexed field for {obj.name}"
            raise _job_error(text)
        return field.name

    def upload(self, request: Request) -> Response:
        job = self.job(request)
        if job.state is not State.OPEN:
            raise _state_error(f"Uploading data to a Job in state {job.state} not allowed")
        if job.uploaded:
            text = (
                f"Found multiple contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' the current Job then create a new Job "
                "and make sure you only do 'PUT' once on a given Job."
            )
            raise _state_error(text)
        if not request.headers.get("content-type", "text/csv").lower().startswith("text/csv"):
            raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "Content type must be text/csv")
        self._store(job, request.upload or io.BytesIO(request.body))
        return Response(201)

    def _store(self, job: Job, data: BinaryIO) -> None:
        size = data.seek(0, io.SEEK_END)
        data.seek(0)
        if size > MAX_UPLOAD:
            raise ApiError(
                413, "REQUEST_ENTITY_TOO_LARGE", f"The data of a job can't exceed {MAX_UPLOAD >> 20} MB: split it into several jobs"
            )
        with self.service.new_files(job).upload.open("wb") as file:
            shutil.copyfileobj(data, file, 1 << 20)
        with self.jobs.store.write() as tx:
            job.uploaded = True
            self.jobs.save(tx, job)

    def change(self, request: Request) -> Response:
        """Close or abort."""
        job = self.job(request)
        state = request.object().get("state")
        if state == State.ABORTED:
            return self._abort(job)
        if state != State.UPLOAD_COMPLETE:
            raise _state_error(f"Changing the state of a Job to {state} not allowed")
        if job.state.final:
            raise _state_error(f"Closing already {_PAST[job.state]} Job not allowed")
        if job.state is not State.OPEN:
            raise _state_error("Closing already Closed Job not allowed")
        return Response(200, self._close(job).short())

    def _close(self, job: Job) -> Job:
        closed = self._move(job, State.UPLOAD_COMPLETE)
        self.service.wake("ingest")
        return closed

    def _results(self, path_of: Callable[[Files], Path], column: str) -> Callable[[Request], Response]:
        def handler(request: Request) -> Response:
            job = self._finished(request)
            path = path_of(self.service.files(job))
            if not path.exists():
                delimiter = DELIMITERS[job.delimiter]
                return Response(200, f'"sf__Id"{delimiter}"{column}"{LINE_ENDINGS[job.line_ending]}', dict(_CSV))
            return Response(200, spooled(path), dict(_CSV))

        return handler

    def unprocessed(self, request: Request) -> Response:
        job = self._finished(request)
        return Response(200, _unless_empty(unprocessed(job, self.service.files(job))), dict(_CSV))

    def _finished(self, request: Request) -> Job:
        job = self.job(request)
        if not job.state.final:
            raise _state_error(f"Results of a Job in state {job.state} are not available")
        return job


class QueryEndpoints(_Endpoints):
    """`jobs/query`."""

    kind = "query"

    def routes(self) -> list[Route]:
        base = "/services/data/{version}/jobs/query"
        return [
            Route("POST", base, self.create),
            Route("GET", base, self.listed),
            Route("GET", f"{base}/{{id}}", self.status),
            Route("PATCH", f"{base}/{{id}}", self.change),
            Route("DELETE", f"{base}/{{id}}", self.delete),
            Route("GET", f"{base}/{{id}}/results", self.results),
        ]

    def create(self, request: Request) -> Response:
        settings = request.object()
        operation = _text(settings, "operation", "query")
        if operation not in ("query", "queryAll"):
            raise _job_error(f"Unknown operation: {operation}")
        soql = _text(settings, "query")
        if not soql:
            raise ApiError(400, "API_ERROR", "query is required")
        delimiter, line_ending = _csv_settings(settings)
        try:
            object_name = self.service.executor.check_bulk(soql, self.service.state.context(request))
        except SoqlError as error:
            raise ApiError(400, error.code, error.message) from error
        with self.jobs.store.write() as tx:
            job = self.jobs.new(tx, "query", operation, object_name, request.user.user_id, request.version)
            job.delimiter, job.line_ending, job.query, job.state = delimiter, line_ending, soql, State.UPLOAD_COMPLETE
            self.jobs.save(tx, job)
        self.service.wake("query")
        return Response(200, job.created_answer())

    def change(self, request: Request) -> Response:
        job = self.job(request)
        state = request.object().get("state")
        if state != State.ABORTED:
            raise _state_error(f"Changing the state of a Job to {state} not allowed")
        return self._abort(job)

    def results(self, request: Request) -> Response:
        job = self.job(request)
        if job.state is not State.JOB_COMPLETE:
            text = (
                "can only download query results of successfully completed bulk job with status: JOB_COMPLETE. "
                f"Current status: {_QUERY_STATES[job.state]}"
            )
            raise ApiError(412, "JOB_NOT_COMPLETE", text)
        if float(request.version) != float(job.version):
            raise ApiError(
                409, "API_ERROR", f"The results of this job must be read with API version {job.version}, with which it was created"
            )
        wanted = _max_records(request)
        try:
            start = row_of(job, request.query["locator"]) if request.query.get("locator") else 0
        except BadLocator:
            raise ApiError(400, "INVALID_LOCATOR", "The locator is not one of this job's") from None
        count = min(wanted, job.progress.processed - start)
        found = ResultSet(job, self.service.files(job), start, count)
        headers = _CSV | {"Sforce-NumberOfRecords": str(count), "Sforce-Locator": found.locator}
        return Response(200, found.content(), headers)


# Helpers ------------------------------------------------------------------------------------------------------------


def _job_error(message: str) -> ApiError:
    return ApiError(400, "INVALIDJOB", f"InvalidJob : {message}")


def _state_error(message: str) -> ApiError:
    return ApiError(400, "INVALIDJOBSTATE", message)


def _text(settings: dict[str, object], name: str, default: str = "") -> str:
    value = settings.get(name, default)
    if value is None:
        return default
    if not isinstance(value, str):
        raise _job_error(f"Unable to parse Job: {name} must be a string")
    return value


def _csv_settings(settings: dict[str, object]) -> tuple[str, str]:
    delimiter = _text(settings, "columnDelimiter", "COMMA")
    if delimiter not in DELIMITERS:
        raise _job_error(f"Unsupported columnDelimiter: {delimiter}; use one of {', '.join(DELIMITERS)}")
    line_ending = _text(settings, "lineEnding", "LF")
    if line_ending not in LINE_ENDINGS:
        raise _job_error(f"Unsupported lineEnding: {line_ending}; use LF or CRLF")
    return delimiter, line_ending


def _max_records(request: Request) -> int:
    value = request.query.get("maxRecords", "")
    if not value:
        return DEFAULT_RECORDS
    if not re.fullmatch(r"\d{1,9}", value) or int(value) == 0:
        raise ApiError(400, "API_ERROR", f"maxRecords must be a positive number, not {value}")
    return int(value)


def _list_position(locator: str | None) -> tuple[str, str] | None:
    if not locator:
        return None
    created, dash, job_id = locator.rpartition("-")
    if not dash:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return created, job_id


def _parts(content_type: str, body: bytes) -> dict[str, bytes]:
    """The named parts of a multipart/form-data body."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n" + body)
    found: dict[str, bytes] = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            found[name] = payload
    return found


def _unless_empty(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces; none become one empty piece, so that there is an answer to stream."""
    first = next(pieces, b"")
    yield first
    yield from pieces
