"""SOQL: quoting values, running queries page by page, and the feeds of changed and deleted records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from omsync.salesforce.client import SalesforceClient

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


#: values in one IN list: a query's text may have 100,000 characters and a GET's address about 16,000
IN_LIST_VALUES = 200


def ids_by_external_id(
    client: SalesforceClient, obj: str, external_id: str, values: Sequence[str], *, deleted: bool = False
) -> dict[str, str]:
    """`{external id: Salesforce id}` of those that exist."""
    found: dict[str, str] = {}
    for start in range(0, len(values), IN_LIST_VALUES):
        part = in_list(values[start : start + IN_LIST_VALUES])
        soql = f"SELECT Id, {external_id} FROM {obj} WHERE {external_id} IN {part}"  # noqa: S608 (names are the mapping's, values quoted)
        for row in query(client, soql, deleted=deleted):
            found[str(row[external_id])] = str(row["Id"])
    return found


@dataclass(frozen=True, slots=True)
class DeletedPage:
    """Ids deleted in a window; `covered` is where the next window starts."""

    ids: tuple[str, ...]
    covered: datetime


def deleted_between(client: SalesforceClient, obj: str, start: datetime, end: datetime) -> DeletedPage:
    """`getDeleted`: reaches 15 days back; seconds are ignored by Salesforce, so callers overlap their windows."""
    body = client.get_json(
        f"sobjects/{obj}/deleted/", params={"start": start.astimezone(UTC).isoformat(), "end": end.astimezone(UTC).isoformat()}
    )
    covered = datetime.fromisoformat(str(body["latestDateCovered"]).replace("+0000", "+00:00"))
    return DeletedPage(tuple(str(row["id"]) for row in body["deletedRecords"]), covered)
