"""sObject Collections, five to a Composite call: 1,000 records for one API request.

Sources: "sObject Collections" and "Composite" (REST API Developer Guide). A Collections request answers 200 with one result a record,
in the order sent; a Composite may hold 25 subrequests, of which five may be Collections or queries. The other twenty may be calls for
single records: small upserts go there, so that a handful of records of a sixth object costs no call of its own (`calls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from urllib.parse import quote

from omsync.platform.errors import Permanent
from omsync.salesforce.client import API_VERSION, SalesforceClient
from omsync.salesforce.errors import from_response, translate
from omsync.salesforce.query import Record
from omsync.sync.ports import RECORDS_PER_COLLECTION, Batch, Written

COLLECTIONS_PER_CALL = 5
#: subrequests of a call that are neither Collections nor queries: one record each
SINGLES_PER_CALL = 20
#: runs of one type in a Collections create or update
TYPES_PER_COLLECTION = 10
#: ids in one Collections retrieve (POST)
RETRIEVE_IDS = 2000


def subrequests(batch: Batch, reference: str) -> list[dict[str, object]]:
    """A batch as subrequests of a Composite: one, or one a record."""
    if not batch.singly:
        return [_subrequest(batch, reference)]
    return [_single(batch, record, f"{reference}_{number}") for number, record in enumerate(batch.records)]


def _single(batch: Batch, record: Mapping[str, object], reference: str) -> dict[str, object]:
    key = quote(str(record[str(batch.external_id)]), safe="")
    url = f"/services/data/v{API_VERSION}/sobjects/{batch.sobject}/{batch.external_id}/{key}"
    body = {name: value for name, value in record.items() if name not in (batch.external_id, "attributes")}
    request: dict[str, object] = {"method": "PATCH", "url": url, "referenceId": reference, "body": body}
    if batch.headers:
        request["httpHeaders"] = dict(batch.headers)
    return request


def _subrequest(batch: Batch, reference: str) -> dict[str, object]:
    base = f"/services/data/v{API_VERSION}/composite/sobjects"
    if batch.verb == "delete":
        ids = ",".join(str(record["Id"]) for record in batch.records)
        return {"method": "DELETE", "url": f"{base}?ids={ids}&allOrNone=false", "referenceId": reference}
    records = [{"attributes": {"type": batch.sobject}, **record} for record in batch.records]  # typed ones keep their own
    url = f"{base}/{batch.sobject}/{batch.external_id}" if batch.verb == "upsert" else base
    method = "POST" if batch.verb == "create" else "PATCH"
    request: dict[str, object] = {
        "method": method,
        "url": url,
        "referenceId": reference,
        "body": {"allOrNone": False, "records": records},
    }
    if batch.headers:
        request["httpHeaders"] = dict(batch.headers)
    return request


def typed(sobject: str, record: Mapping[str, object]) -> dict[str, object]:
    """A record that says its object itself."""
    return {**record, "attributes": {"type": sobject}}


def write(client: SalesforceClient, batches: Sequence[Batch], *, repeatable: bool) -> list[list[Written]]:
    """Send batches in order; outcomes stand as their records stood. See `exchanges`."""
    return [outcomes for answers in exchanges(client, batches, repeatable=repeatable) for outcomes in answers]


def exchanges(client: SalesforceClient, batches: Sequence[Batch], *, repeatable: bool) -> Iterator[list[list[Written]]]:
    """Send batches in order, as many as fit into a call; each call is made when its answers are asked for.

    `repeatable`: the caller knows that sending a batch twice does no harm (guarded upserts). Raises only what concerns a whole call.
    """
    for group in calls(batches):
        parts = [subrequests(batch, f"b{number}") for number, batch in enumerate(group)]
        body = {
            "allOrNone": False,
            "collateSubrequests": False,  # true is the default since v49, and would reorder parents behind children
            "compositeRequest": [part for subrequests in parts for part in subrequests],
        }
        answers = iter(client.post_json("composite", body, repeatable=repeatable)["compositeResponse"])
        yield [_answered(batch, list(islice(answers, len(subrequests)))) for batch, subrequests in zip(group, parts, strict=True)]


def _answered(batch: Batch, parts: Sequence[Mapping[str, object]]) -> list[Written]:
    return [_single_outcome(part) for part in parts] if batch.singly else _outcomes(batch, parts[0])


def calls(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Batches in order, grouped into as few calls as they fit in: what overflows five Collections a call goes singly, the smallest first."""
    small = sorted((batch for batch in batches if batch.verb == "upsert"), key=lambda batch: len(batch.records))
    collections, count = len(batches), -(-len(batches) // COLLECTIONS_PER_CALL)
    single: set[int] = set()
    for wanted in range(1, count):
        spare, chosen = wanted * SINGLES_PER_CALL, set[int]()
        for batch in small[: collections - wanted * COLLECTIONS_PER_CALL]:
            spare -= len(batch.records)
            chosen.add(id(batch))
        if spare >= 0 and collections - len(chosen) <= wanted * COLLECTIONS_PER_CALL:
            single = chosen
            break
    return list(_packed(replace(batch, singly=True) if id(batch) in single else batch for batch in batches))


def _packed(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    collections = singles = 0
    for batch in batches:
        more = (0, len(batch.records)) if batch.singly else (1, 0)
        if group and (collections + more[0] > COLLECTIONS_PER_CALL or singles + more[1] > SINGLES_PER_CALL):
            yield group
            group, collections, singles = [], 0, 0
        group.append(batch)
        collections, singles = collections + more[0], singles + more[1]
    if group:
        yield group


def chunked[T](items: Sequence[T], size: int = RECORDS_PER_COLLECTION) -> Iterator[Sequence[T]]:
    """Slices of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _outcomes(batch: Batch, part: Mapping[str, object]) -> list[Written]:
    body, status = part["body"], int(str(part["httpStatusCode"]))
    if status >= 300 or not isinstance(body, list):  # the subrequest failed as a whole: so did each of its records
        fault = from_response(status, body)
        return [Written(None, created=False, error=fault) for _ in batch.records]
    if len(body) != len(batch.records):
        raise Permanent(f"{len(batch.records)} records sent, {len(body)} results came back", code="salesforce.protocol")
    return [outcome(result, creates=batch.verb == "create") for result in body]


def _single_outcome(part: Mapping[str, object]) -> Written:
    """A subrequest for one record: 201 or 200 with the result, else the errors."""
    body, status = part["body"], int(str(part["httpStatusCode"]))
    if status >= 300 or not isinstance(body, Mapping):
        return Written(None, created=False, error=from_response(status, body))
    return outcome(body)


def outcome(result: Mapping[str, object], *, creates: bool = False) -> Written:
    """One result of a Collections call -> `Written`."""
    if result["success"]:
        return Written(str(result["id"]), created=bool(result.get("created", creates)))
    errors = result.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    fields = [str(name) for name in first.get("fields") or ()]
    return Written(None, created=False, error=translate(str(first.get("statusCode", "UNKNOWN")), str(first.get("message", "")), fields))


def retrieve(client: SalesforceClient, obj: str, ids: Sequence[str], fields: Sequence[str]) -> list[Record | None]:
    """Records by Salesforce id as they stand now, in the order of `ids`; None where there is none (deleted included)."""
    found: list[Record | None] = []
    for part in chunked(ids, RETRIEVE_IDS):
        found += client.post_json(f"composite/sobjects/{obj}", {"ids": list(part), "fields": list(fields)}, repeatable=True)
    return found
