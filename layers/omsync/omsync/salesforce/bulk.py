"""Bulk API 2.0, one step a call: create, upload, close, look, collect. Who polls, and how long, is the caller's decision.

simple-salesforce's bulk2 polls by itself, never renews its token and aborts a running job when its own wait is disturbed; a job here
is only an id that anybody can pick up again. Source: "Bulk API 2.0 and Bulk API Developer Guide".
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import IO, Any, Literal

import requests

from omsync.platform.errors import Permanent, Retryable
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.errors import NotFound

type Operation = Literal["insert", "update", "upsert", "delete", "hardDelete"]
type ResultKind = Literal["successfulResults", "failedResults", "unprocessedrecords"]

csv.field_size_limit(1 << 24)  # Long Text has 131,072 characters, which is just over the module's own limit

#: states in which nothing more will happen
TERMINAL = frozenset({"JobComplete", "Failed", "Aborted"})
#: seconds between two bytes of an upload or download of up to 100 MB
TRANSFER_TIMEOUT = (5.0, 300.0)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as Salesforce reports it."""

    id: str
    state: str
    processed: int = 0
    failed: int = 0
    error: str | None = None
    operation: str = ""
    created_by: str = ""
    created_at: datetime | None = None

    @property
    def done(self) -> bool:
        """No more progress will come."""
        return self.state in TERMINAL


def _job(body: dict[str, Any]) -> Job:
    return Job(
        id=str(body["id"]),
        state=str(body["state"]),
        processed=int(body.get("numberRecordsProcessed") or 0),
        failed=int(body.get("numberRecordsFailed") or 0),
        error=body.get("errorMessage"),
        operation=str(body.get("operation") or ""),
        created_by=str(body.get("createdById") or ""),
        created_at=datetime.fromisoformat(str(body["createdDate"]).replace("+0000", "+00:00")) if body.get("createdDate") else None,
    )


def create_ingest(client: SalesforceClient, obj: str, operation: Operation, *, external_id: str | None = None) -> Job:
    """Open an ingest job. Not repeated by itself: the caller saved its intent and adopts or abandons a job whose answer was lost."""
    body = {"object": obj, "operation": operation, "contentType": "CSV", "columnDelimiter": "COMMA", "lineEnding": "LF"}
    if external_id:
        body["externalIdFieldName"] = external_id
    return _job(client.post_json("jobs/ingest", body, repeatable=False))


def upload(client: SalesforceClient, job_id: str, data: IO[bytes] | bytes) -> None:
    """Upload the CSV (UTF-8, LF, header first, at most 100 MB raw). One upload a job; `data` is streamed."""
    headers = {"Content-Type": "text/csv; charset=UTF-8"}
    client.send("PUT", f"jobs/ingest/{job_id}/batches", repeatable=False, headers=headers, data=data, timeout=TRANSFER_TIMEOUT)


def close(client: SalesforceClient, job_id: str) -> Job:
    """Say that the upload is whole: Salesforce starts."""
    return _set_state(client, f"jobs/ingest/{job_id}", "UploadComplete")


def abort(client: SalesforceClient, job_id: str, *, query: bool = False) -> Job:
    """Stop a job; what was processed stays."""
    return _set_state(client, f"jobs/{'query' if query else 'ingest'}/{job_id}", "Aborted")


def _set_state(client: SalesforceClient, path: str, state: str) -> Job:
    return _job(client.send("PATCH", path, repeatable=True, json={"state": state}).json())


def look(client: SalesforceClient, job_id: str, *, query: bool = False) -> Job:
    """The job now. Raises `NotFound` if Salesforce has forgotten it: jobs are kept for seven days, and an admin may delete one sooner."""
    try:
        return _job(client.get_json(f"jobs/{'query' if query else 'ingest'}/{job_id}"))
    except Permanent as fault:
        if fault.code == "INVALIDJOB":  # the other word for an id that names no job
            raise NotFound("no such job", code=fault.code) from None
        raise


def open_jobs(client: SalesforceClient, obj: str) -> Iterator[Job]:
    """Ingest jobs of an object that are not done, for adopting one whose id was lost."""
    page: dict[str, Any] = client.get_json("jobs/ingest", params={"jobType": "V2Ingest"})
    while True:
        yield from (job for job in map(_job, (row for row in page["records"] if row.get("object") == obj)) if not job.done)
        if page.get("done", True):
            return
        page = client.get_json(page["nextRecordsUrl"])


def results(client: SalesforceClient, job_id: str, kind: ResultKind, *columns: str) -> Iterator[tuple[str, ...]]:
    """These columns (two or more) of one of the three result sets, streamed, in no promised order.

    There are `sf__Id` and `sf__Created`, or `sf__Error`, beside the columns that were sent.
    """
    response = client.send(
        "GET", f"jobs/ingest/{job_id}/{kind}/", repeatable=True, headers={"Accept": "text/csv"}, stream=True, timeout=TRANSFER_TIMEOUT
    )
    names, rows = _table(response)
    if set(columns) <= set(names):
        return map(itemgetter(*map(names.index, columns)), rows)
    if next(rows, None) is not None:  # of a job that was aborted before its upload nobody knows the columns, and there are no rows
        response.close()
        raise Retryable(f"results without {', '.join(columns)}", code="salesforce.bulk.cut_short")
    return iter(())


def create_query(client: SalesforceClient, soql: str, *, deleted: bool = False) -> Job:
    """Start a query job. Repeating it costs a job but changes nothing."""
    return _job(
        client.post_json(
            "jobs/query", {"operation": "queryAll" if deleted else "query", "query": soql, "lineEnding": "LF"}, repeatable=True
        )
    )


@dataclass(frozen=True, slots=True)
class QueryPage:
    """One page of a query job's results. `locator` is None on the last."""

    rows: Iterator[dict[str, str]]
    locator: str | None
    count: int


def query_page(client: SalesforceClient, job_id: str, *, locator: str | None = None, max_records: int = 50_000) -> QueryPage:
    """A page of results, streamed; read `rows` to the end before asking for the next."""
    params = {"maxRecords": str(max_records), **({"locator": locator} if locator else {})}
    response = client.send(
        "GET",
        f"jobs/query/{job_id}/results",
        repeatable=True,
        headers={"Accept": "text/csv"},
        params=params,
        stream=True,
        timeout=TRANSFER_TIMEOUT,
    )
    following = response.headers.get("Sforce-Locator", "null")
    count = int(response.headers.get("Sforce-NumberOfRecords", "0"))
    return QueryPage(_rows(response), None if following == "null" else following, count)


def _rows(response: requests.Response) -> Iterator[dict[str, str]]:
    names, rows = _table(response)
    return (dict(zip(names, row, strict=True)) for row in rows)


def _table(response: requests.Response) -> tuple[list[str], Iterator[list[str]]]:
    """(header, rows); the answer is closed with the last of them."""
    lines = csv.reader(_lines(response))
    names = next(lines, [])
    return names, _whole(response, lines, len(names))


def _whole(response: requests.Response, lines: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    with response:
        for row in lines:
            if len(row) == width:
                yield row
            elif row:  # an empty line is nothing
                raise Retryable(f"a line of results has {len(row)} of {width} columns", code="salesforce.bulk.cut_short")


def _lines(response: requests.Response) -> Iterator[str]:
    """The answer's text line by line, line ends kept: a quoted field may span lines."""
    response.raw.decode_content = True
    rest = b""
    for block in response.iter_content(1 << 16):
        rest += block
        *lines, rest = rest.split(b"\n")
        for line in lines:
            yield line.decode() + "\n"
    if rest:
        yield rest.decode()
