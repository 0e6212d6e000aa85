"""SOQL: quoting values, running queries page by page, and the feeds of changed and deleted records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote as percent

from omsync.salesforce.client import API_VERSION, SalesforceClient
from omsync.salesforce.errors import from_response
from omsync.sync.ports import DeletedPage

type Record = dict[str, object]


def quote(value: str) -> str:
    """A SOQL string literal. Source: "Quoted String Escape Sequences" (SOQL and SOSL Reference)."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def moment(value: datetime) -> str:
    """A SOQL dateTime literal in UTC with milliseconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def in_list(values: Iterable[str]) -> str:
    """`('a', 'b')` for an IN condition."""
    return "(" + ", ".join(quote(value) for value in values) + ")"


def query(client: SalesforceClient, soql: str, *, deleted: bool = False) -> Iterator[Record]:
    """All rows of a query, streamed page by page (2,000 rows a call). `deleted` also sees the recycle bin."""
    page = client.get_json("queryAll" if deleted else "query", params={"q": soql})
    while True:
        yield from page["records"]
        if page["done"]:
            return
        page = client.get_json(page["nextRecordsUrl"])


#: queries in one Composite call
QUERIES_PER_CALL = 5


def query_many(client: SalesforceClient, soqls: Sequence[str], *, deleted: bool = False) -> Iterator[list[Record]]:
    """All rows of each query, in order; five queries a call, and a call for each further page of 2,000 rows."""
    for start in range(0, len(soqls), QUERIES_PER_CALL):
        for page in _first_pages(client, soqls[start : start + QUERIES_PER_CALL], "queryAll" if deleted else "query"):
            rows = list(page["records"])
            while not page["done"]:
                page = client.get_json(page["nextRecordsUrl"])
                rows += page["records"]
            yield rows


def _first_pages(client: SalesforceClient, soqls: Sequence[str], resource: str) -> list[Any]:
    if len(soqls) == 1:
        return [client.get_json(resource, params={"q": soqls[0]})]
    body = {
        "allOrNone": False,
        "collateSubrequests": False,
        "compositeRequest": [
            {"method": "GET", "url": f"/services/data/v{API_VERSION}/{resource}?q={percent(soql, safe='')}", "referenceId": f"q{number}"}
            for number, soql in enumerate(soqls)
        ],
    }
    parts = client.post_json("composite", body, repeatable=True)["compositeResponse"]
    for part in parts:
        if part["httpStatusCode"] >= 300:
            raise from_response(part["httpStatusCode"], part["body"])
    return [part["body"] for part in parts]


#: values in one IN list: a query's text may have 100,000 characters and a GET's address about 16,000
IN_LIST_VALUES = 200


def ids_by_external_id(
    client: SalesforceClient, obj: str, external_id: str, values: Sequence[str], *, deleted: bool = False
) -> dict[str, str]:
    """`{external id: Salesforce id}` of those that exist."""
    parts = [in_list(values[start : start + IN_LIST_VALUES]) for start in range(0, len(values), IN_LIST_VALUES)]
    soqls = [f"SELECT Id, {external_id} FROM {obj} WHERE {external_id} IN {part}" for part in parts]  # noqa: S608 (the mapping's names)
    return {str(row[external_id]): str(row["Id"]) for rows in query_many(client, soqls, deleted=deleted) for row in rows}


def deleted_between(client: SalesforceClient, obj: str, start: datetime, end: datetime) -> DeletedPage:
    """`getDeleted`: reaches 15 days back; seconds are ignored by Salesforce, so callers overlap their windows."""
    body = client.get_json(
        f"sobjects/{obj}/deleted/", params={"start": start.astimezone(UTC).isoformat(), "end": end.astimezone(UTC).isoformat()}
    )
    covered = datetime.fromisoformat(str(body["latestDateCovered"]).replace("+0000", "+00:00"))
    return DeletedPage(tuple(str(row["id"]) for row in body["deletedRecords"]), covered)
