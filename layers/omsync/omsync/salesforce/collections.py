"""sObject Collections, five to a Composite call: 1,000 records for one API request.

Sources: "sObject Collections" and "Composite" (REST API Developer Guide). A Collections request answers 200 with one result a record,
in the order sent; a Composite may hold 25 subrequests, of which five may be Collections or queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from omsync.platform.errors import OmsyncError, Permanent
from omsync.salesforce.client import API_VERSION, SalesforceClient
from omsync.salesforce.errors import from_response, translate
from omsync.salesforce.query import Record

RECORDS_PER_COLLECTION = 200
COLLECTIONS_PER_CALL = 5
#: ids in one Collections retrieve (POST)
RETRIEVE_IDS = 2000

type Verb = Literal["upsert", "update", "create", "delete"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record. `error` is None on success; `created` tells an insert from an update."""

    id: str | None
    created: bool
    error: OmsyncError | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """At most 200 records of one object for one verb. Records are JSON-ready field maps without `attributes`; a delete's hold only `Id`."""

    sobject: str
    verb: Verb
    records: Sequence[Mapping[str, object]]
    external_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.records) > RECORDS_PER_COLLECTION:
            raise Permanent(f"a collection holds {RECORDS_PER_COLLECTION} records, not {len(self.records)}", code="omsync.batch")
        if (self.verb == "upsert") != (self.external_id is not None):
            raise Permanent("an upsert, and only an upsert, names its external id", code="omsync.batch")

    def subrequest(self, reference: str) -> dict[str, object]:
        """This batch as one subrequest of a Composite."""
        base = f"/services/data/v{API_VERSION}/composite/sobjects"
        if self.verb == "delete":
            ids = ",".join(str(record["Id"]) for record in self.records)
            return {"method": "DELETE", "url": f"{base}?ids={ids}&allOrNone=false", "referenceId": reference}
        records = [{"attributes": {"type": self.sobject}, **record} for record in self.records]
        url = f"{base}/{self.sobject}/{self.external_id}" if self.verb == "upsert" else base
        method = "POST" if self.verb == "create" else "PATCH"
        request: dict[str, object] = {
            "method": method,
            "url": url,
            "referenceId": reference,
            "body": {"allOrNone": False, "records": records},
        }
        if self.headers:
            request["httpHeaders"] = dict(self.headers)
        return request


def write(client: SalesforceClient, batches: Iterable[Batch], *, repeatable: bool) -> list[list[Outcome]]:
    """Send batches, five a call, in order; outcomes stand as their records stood.

    `repeatable`: the caller knows that sending a batch twice does no harm (guarded upserts). Raises only what concerns a whole call.
    """
    outcomes: list[list[Outcome]] = []
    for group in _grouped(batches):
        body = {
            "allOrNone": False,
            "collateSubrequests": False,  # true is the default since v49, and would reorder parents behind children
            "compositeRequest": [batch.subrequest(f"b{number}") for number, batch in enumerate(group)],
        }
        answer = client.post_json("composite", body, repeatable=repeatable)
        outcomes += [_outcomes(batch, part) for batch, part in zip(group, answer["compositeResponse"], strict=True)]
    return outcomes


def chunked[T](items: Sequence[T], size: int = RECORDS_PER_COLLECTION) -> Iterator[Sequence[T]]:
    """Slices of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _grouped(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == COLLECTIONS_PER_CALL:
            yield group
            group = []
    if group:
        yield group


def _outcomes(batch: Batch, part: Mapping[str, object]) -> list[Outcome]:
    body, status = part["body"], int(str(part["httpStatusCode"]))
    if status >= 300 or not isinstance(body, list):  # the subrequest failed as a whole: so did each of its records
        fault = from_response(status, body)
        return [Outcome(None, created=False, error=fault) for _ in batch.records]
    if len(body) != len(batch.records):
        raise Permanent(f"{len(batch.records)} records sent, {len(body)} results came back", code="salesforce.protocol")
    return [outcome(result, creates=batch.verb == "create") for result in body]


def outcome(result: Mapping[str, object], *, creates: bool = False) -> Outcome:
    """One result of a Collections call -> `Outcome`."""
    if result["success"]:
        return Outcome(str(result["id"]), created=bool(result.get("created", creates)))
    errors = result.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    fields = [str(name) for name in first.get("fields") or ()]
    return Outcome(None, created=False, error=translate(str(first.get("statusCode", "UNKNOWN")), str(first.get("message", "")), fields))


def retrieve(client: SalesforceClient, obj: str, ids: Sequence[str], fields: Sequence[str]) -> list[Record | None]:
    """Records by Salesforce id as they stand now, in the order of `ids`; None where there is none (deleted included)."""
    found: list[Record | None] = []
    for part in chunked(ids, RETRIEVE_IDS):
        found += client.post_json(f"composite/sobjects/{obj}", {"ids": list(part), "fields": list(fields)}, repeatable=True)
    return found
