"""sObject Collections, five to a Composite call: 1,000 records for one API request.

Sources: "sObject Collections" and "Composite" (REST API Developer Guide). A Collections request answers 200 with one result a record,
in the order sent; a Composite may hold 25 subrequests, of which five may be Collections or queries. The other twenty may be calls for
single records: small upserts go there, so that a handful of records of a sixth object costs no call of its own (`calls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal
from urllib.parse import quote

from omsync.platform.errors import OmsyncError, Permanent
from omsync.salesforce.client import API_VERSION, SalesforceClient
from omsync.salesforce.errors import from_response, translate
from omsync.salesforce.query import Record

RECORDS_PER_COLLECTION = 200
COLLECTIONS_PER_CALL = 5
#: subrequests of a call that are neither Collections nor queries: one record each
SINGLES_PER_CALL = 20
#: runs of one type in a Collections create or update
TYPES_PER_COLLECTION = 10
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
    """At most 200 records for one verb, as JSON-ready field maps; a delete's hold only `Id`.

    They are of one object, except that those of a create or update may say their own (`typed`), in at most ten runs. Runs are saved one
    after the other, so a record may name one of an earlier run by its external id. `singly`: each record is a subrequest of its own.
    """

    sobject: str
    verb: Verb
    records: Sequence[Mapping[str, object]]
    external_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    singly: bool = False

    def __post_init__(self) -> None:
        if len(self.records) > RECORDS_PER_COLLECTION:
            raise Permanent(f"a collection holds {RECORDS_PER_COLLECTION} records, not {len(self.records)}", code="omsync.batch")
        if (self.verb == "upsert") != (self.external_id is not None):
            raise Permanent("an upsert, and only an upsert, names its external id", code="omsync.batch")

    def subrequests(self, reference: str) -> list[dict[str, object]]:
        """This batch as subrequests of a Composite: one, or one a record."""
        if not self.singly:
            return [self._subrequest(reference)]
        return [self._single(record, f"{reference}_{number}") for number, record in enumerate(self.records)]

    def _single(self, record: Mapping[str, object], reference: str) -> dict[str, object]:
        key = quote(str(record[str(self.external_id)]), safe="")
        url = f"/services/data/v{API_VERSION}/sobjects/{self.sobject}/{self.external_id}/{key}"
        body = {name: value for name, value in record.items() if name not in (self.external_id, "attributes")}
        request: dict[str, object] = {"method": "PATCH", "url": url, "referenceId": reference, "body": body}
        if self.headers:
            request["httpHeaders"] = dict(self.headers)
        return request

    def _subrequest(self, reference: str) -> dict[str, object]:
        base = f"/services/data/v{API_VERSION}/composite/sobjects"
        if self.verb == "delete":
            ids = ",".join(str(record["Id"]) for record in self.records)
            return {"method": "DELETE", "url": f"{base}?ids={ids}&allOrNone=false", "referenceId": reference}
        records = [{"attributes": {"type": self.sobject}, **record} for record in self.records]  # typed ones keep their own
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


def typed(sobject: str, record: Mapping[str, object]) -> dict[str, object]:
    """A record that says its object itself."""
    return {**record, "attributes": {"type": sobject}}


def write(client: SalesforceClient, batches: Sequence[Batch], *, repeatable: bool) -> list[list[Outcome]]:
    """Send batches in order; outcomes stand as their records stood. See `exchanges`."""
    return [outcomes for answers in exchanges(client, batches, repeatable=repeatable) for outcomes in answers]


def exchanges(client: SalesforceClient, batches: Sequence[Batch], *, repeatable: bool) -> Iterator[list[list[Outcome]]]:
    """Send batches in order, as many as fit into a call; each call is made when its answers are asked for.

    `repeatable`: the caller knows that sending a batch twice does no harm (guarded upserts). Raises only what concerns a whole call.
    """
    for group in calls(batches):
        parts = [batch.subrequests(f"b{number}") for number, batch in enumerate(group)]
        body = {
            "allOrNone": False,
            "collateSubrequests": False,  # true is the default since v49, and would reorder parents behind children
            "compositeRequest": [part for subrequests in parts for part in subrequests],
        }
        answers = iter(client.post_json("composite", body, repeatable=repeatable)["compositeResponse"])
        yield [_answered(batch, list(islice(answers, len(subrequests)))) for batch, subrequests in zip(group, parts, strict=True)]


def _answered(batch: Batch, parts: Sequence[Mapping[str, object]]) -> list[Outcome]:
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


def _outcomes(batch: Batch, part: Mapping[str, object]) -> list[Outcome]:
    body, status = part["body"], int(str(part["httpStatusCode"]))
    if status >= 300 or not isinstance(body, list):  # the subrequest failed as a whole: so did each of its records
        fault = from_response(status, body)
        return [Outcome(None, created=False, error=fault) for _ in batch.records]
    if len(body) != len(batch.records):
        raise Permanent(f"{len(batch.records)} records sent, {len(body)} results came back", code="salesforce.protocol")
    return [outcome(result, creates=batch.verb == "create") for result in body]


def _single_outcome(part: Mapping[str, object]) -> Outcome:
    """A subrequest for one record: 201 or 200 with the result, else the errors."""
    body, status = part["body"], int(str(part["httpStatusCode"]))
    if status >= 300 or not isinstance(body, Mapping):
        return Outcome(None, created=False, error=from_response(status, body))
    return outcome(body)


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
