"""The Salesforce client against canned answers: what is repeated, what is not, and what an error becomes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from requests.adapters import BaseAdapter

from omsync.mapping import load_mappings
from omsync.platform.errors import Permanent, Retryable, Stale
from omsync.platform.http import DEFAULT_TIMEOUT, TimeoutSession
from omsync.salesforce import bulk, collections, query
from omsync.salesforce.auth import Connection
from omsync.salesforce.client import ATTEMPTS, SalesforceClient
from omsync.salesforce.errors import EntityDeleted, NotFound, RequestLimit, translate
from omsync.salesforce.records import SalesforceRecords
from omsync.sync.ports import CreateOnly, DuplicateRecord, MissingParent, Write

ORG = "https://upscript.my.salesforce.example"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Org(BaseAdapter):
    """An org that answers what the test says, and remembers what it was asked."""

    answers: list[Answer | Exception]
    asked: list[requests.PreparedRequest] = field(default_factory=list)
    timeouts: list[object] = field(default_factory=list)
    tokens: int = 0
    bodies: list[bytes] = field(default_factory=list)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        self.timeouts.append(kwargs.get("timeout"))
        assert request.url is not None
        if request.url.endswith("/services/oauth2/token"):
            self.tokens += 1
            return self._respond(request, Answer(200, {"access_token": f"token-{self.tokens}"}))
        self.asked.append(request)
        self.bodies.append(request.body.read() if hasattr(request.body, "read") else request.body or b"")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return self._respond(request, answer)

    @staticmethod
    def _respond(request: requests.PreparedRequest, answer: Answer) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request, response.url = answer.status, request, request.url or ""
        response.headers.update(answer.headers)
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        response.raw = io.BytesIO(b"" if answer.body is None else text.encode())
        return response

    def close(self) -> None: ...


@pytest.fixture
def connect() -> Callable[..., tuple[SalesforceClient, Org]]:
    def make(*answers: Answer | Exception) -> tuple[SalesforceClient, Org]:
        org, session = Org(list(answers)), TimeoutSession()
        session.mount("https://", org)
        return SalesforceClient(Connection(ORG, "consumer", "sync@upscript.example", PEM), session=session, sleep=lambda _: None), org

    return make


EXPIRED = Answer(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
LIMIT = Answer(403, [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}])


def test_every_request_has_a_time_out(connect: Any) -> None:
    client, org = connect(Answer(body={}))
    client.get_json("limits")
    assert org.timeouts == [DEFAULT_TIMEOUT, DEFAULT_TIMEOUT]  # the log-in's, and the call's


def test_the_assertion_names_the_my_domain_and_expires_within_three_minutes(connect: Any) -> None:
    client, org = connect(Answer(body={}))
    seen: list[str] = []
    original = org.send

    def spy(request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        seen.append(str(request.body))
        return original(request, *args, **kwargs)

    org.send = spy
    client.get_json("limits")
    assertion = requests.utils.unquote(seen[0]).split("assertion=")[1]
    claims = jwt.decode(assertion, KEY.public_key(), algorithms=["RS256"], audience=ORG)
    assert claims["iss"] == "consumer"
    assert claims["sub"] == "sync@upscript.example"


def test_an_expired_session_is_renewed_once_and_the_headers_stay(connect: Any) -> None:
    client, org = connect(EXPIRED, Answer(201, {"id": "x"}))
    client.post_json("sobjects/Case", {}, repeatable=False, headers={"Sforce-Auto-Assign": "FALSE"})
    assert [request.headers["Authorization"] for request in org.asked] == ["Bearer token-1", "Bearer token-2"]
    assert [request.headers["Sforce-Auto-Assign"] for request in org.asked] == ["FALSE", "FALSE"]


def test_a_session_that_stays_expired_does_not_loop(connect: Any) -> None:
    client, org = connect(EXPIRED, EXPIRED)
    with pytest.raises(Retryable) as fault:
        client.send("POST", "sobjects/Case", repeatable=False)
    assert fault.value.code == "INVALID_SESSION_ID"
    assert len(org.asked) == 2


def test_a_stream_is_sent_whole_again_after_an_expired_session(connect: Any) -> None:
    client, org = connect(EXPIRED, Answer(201))
    bulk.upload(client, "750x", io.BytesIO(b"Name\nA\n"))
    assert org.bodies == [b"Name\nA\n", b"Name\nA\n"]


@pytest.mark.parametrize(("status", "code"), [(404, "NOT_FOUND"), (400, "INVALIDJOB")])
def test_a_job_that_is_gone_is_not_found(connect: Callable[..., tuple[SalesforceClient, Org]], status: int, code: str) -> None:
    client, _ = connect(Answer(status, [{"errorCode": code, "message": "InvalidJob : no such job"}]))
    with pytest.raises(NotFound):
        bulk.look(client, "750xx0000000001AAA")


def test_what_may_be_repeated_is_repeated_a_bounded_number_of_times(connect: Any) -> None:
    client, org = connect(*[Answer(503, "down")] * ATTEMPTS)
    with pytest.raises(Retryable):
        client.get_json("limits")
    assert len(org.asked) == ATTEMPTS


def test_what_may_not_be_repeated_is_sent_once(connect: Any) -> None:
    client, org = connect(requests.ConnectionError("reset"))
    with pytest.raises(Retryable) as fault:
        client.post_json("sobjects/Case", {"Subject": "secret"}, repeatable=False)
    assert len(org.asked) == 1
    assert "secret" not in str(fault.value)


def test_an_exhausted_budget_is_not_hammered(connect: Any) -> None:
    client, org = connect(LIMIT)
    with pytest.raises(RequestLimit):
        client.get_json("limits")
    assert len(org.asked) == 1


def test_the_budget_is_read_from_every_answer(connect: Any) -> None:
    client, _ = connect(Answer(body={}, headers={"Sforce-Limit-Info": "api-usage=123/100000"}))
    client.get_json("limits")
    assert client.usage is not None
    assert (client.usage.used, client.usage.left) == (123, 99_877)


def test_a_budget_told_long_ago_is_asked_again(connect: Any) -> None:
    """Or work that pauses for want of it, and calls nobody, would pause for ever."""
    limits = {"DailyApiRequests": {"Max": 100, "Remaining": 90}}
    client, _ = connect(Answer(body={}, headers={"Sforce-Limit-Info": "api-usage=99/100"}), Answer(body=limits))
    client.get_json("limits")
    assert client.recent_usage().left == 1
    assert client.recent_usage(seconds=0).left == 90


def test_simple_salesforce_s_own_methods_go_the_same_way(connect: Any) -> None:
    client, org = connect(EXPIRED, Answer(body={"records": [{"Id": "1"}], "done": True, "totalSize": 1}))
    assert client.query("SELECT Id FROM Account")["records"] == [{"Id": "1"}]
    assert org.asked[-1].url.startswith(f"{ORG}/services/data/v67.0/query/")


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "OMSYNC_STALE", Stale),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "A signed note cannot be changed", Permanent),
        ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access", Retryable),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "Rollup: execution of AfterInsert caused by: first error: UNABLE_TO_LOCK_ROW", Retryable),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "Rollup: execution of AfterInsert caused by: NullPointerException", Permanent),
        ("INVALID_FIELD", "Foreign key external ID: 7f not found for field OMS_Id__c in entity Account", MissingParent),
        ("INVALID_FIELD", "No such column 'X__c' on entity 'Account'", Permanent),
        ("DUPLICATE_VALUE", "duplicate value found: OMS_Id__c duplicates value on record with id: 001000000000001", DuplicateRecord),
        ("ENTITY_IS_DELETED", "entity is deleted", EntityDeleted),
        ("INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: OrderId", CreateOnly),
        ("STRING_TOO_LONG", "First Name: data value too large: Maximilian (max length=40)", Permanent),
    ],
)
def test_an_error_of_salesforce_becomes_one_of_ours(code: str, message: str, kind: type[Exception]) -> None:
    fault = translate(code, message, ["FirstName"])
    assert isinstance(fault, kind)
    assert "Maximilian" not in str(fault), "an error message may be logged and must not quote values"


def test_a_refused_duplicate_names_the_record_that_is_there() -> None:
    fault = translate("DUPLICATE_VALUE", "duplicate value found: OMS_Id__c duplicates value on record with id: 001000000000001AAA")
    assert isinstance(fault, DuplicateRecord)
    assert fault.existing == "001000000000001AAA"


def test_five_collections_travel_in_one_call_and_results_stand_in_request_order(connect: Any) -> None:
    def part(number: int) -> dict[str, Any]:
        return {
            "body": [{"id": f"id{number}", "success": True, "errors": [], "created": True}],
            "httpStatusCode": 200,
            "referenceId": f"b{number}",
        }

    client, org = connect(Answer(body={"compositeResponse": [part(n) for n in range(5)]}), Answer(body={"compositeResponse": [part(5)]}))
    batches = [collections.Batch("Payment__c", "create", [{"OMS_Id__c": str(n)}]) for n in range(6)]
    outcomes = collections.write(client, batches, repeatable=True)
    assert [row[0].id for row in outcomes] == [f"id{n}" for n in range(6)]
    sent = json.loads(org.bodies[0])
    assert sent["collateSubrequests"] is False
    assert len(sent["compositeRequest"]) == 5


def test_a_few_records_of_a_sixth_object_travel_singly_in_the_same_call(connect: Any) -> None:
    """Order stays: parents before children."""
    many = [[{"success": True, "id": f"m{batch}.{n}", "created": False, "errors": []} for n in range(200)] for batch in range(5)]
    missing = "Foreign key external ID: p not found for field OMS_Id__c in entity Account"
    singles = [
        {"body": {"id": "s0", "success": True, "errors": [], "created": True}, "httpStatusCode": 201, "referenceId": "b0_0"},
        {"body": [{"message": missing, "errorCode": "INVALID_FIELD", "fields": []}], "httpStatusCode": 400, "referenceId": "b0_1"},
    ]
    client, org = connect(Answer(body={"compositeResponse": [*singles, *({"body": part, "httpStatusCode": 200} for part in many)]}))
    few = collections.Batch("Refund__c", "upsert", [{"OMS_Id__c": "a/b", "Amount__c": 1}, {"OMS_Id__c": "c", "Amount__c": 2}], "OMS_Id__c")
    full = [collections.Batch("Payment__c", "upsert", [{"OMS_Id__c": str(n)} for n in range(200)], "OMS_Id__c") for _ in range(5)]
    first, *rest = collections.write(client, [few, *full], repeatable=True)
    assert (first[0].id, first[0].created) == ("s0", True)
    assert isinstance(first[1].error, MissingParent)
    assert [len(part) for part in rest] == [200] * 5
    asked = json.loads(org.bodies[0])["compositeRequest"]
    assert asked[0]["url"].endswith("/sobjects/Refund__c/OMS_Id__c/a%2Fb")
    assert asked[0]["body"] == {"Amount__c": 1}
    assert len(asked) == 7


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1], 1),
        ([200] * 5, 1),
        ([200, 200, 3, 17, 200, 200, 200], 1),
        ([200, 200, 3, 18, 200, 200, 200], 2),
        ([400 // 2] * 6, 2),
        ([10, 24, 32, 34, 73, 67, 53, 200, 120, 200, 180, 3], 2),
    ],
)
def test_batches_fit_into_as_few_calls_as_salesforce_allows(sizes: list[int], expected: int) -> None:
    batches = [
        collections.Batch(f"O{place}__c", "upsert", [{"OMS_Id__c": str(n)} for n in range(size)], "OMS_Id__c")
        for place, size in enumerate(sizes)
    ]
    groups = collections.calls(batches)
    assert len(groups) == expected
    assert [batch.sobject for group in groups for batch in group] == [batch.sobject for batch in batches]
    for group in groups:
        assert sum(not batch.singly for batch in group) <= 5
        assert sum(len(batch.records) if batch.singly else 1 for batch in group) <= 25


def test_one_refused_record_leaves_its_neighbours_alone(connect: Any) -> None:
    body = [
        {"id": "a", "success": True, "errors": [], "created": False},
        {"success": False, "errors": [{"statusCode": "STRING_TOO_LONG", "message": "too large", "fields": ["Name"]}]},
    ]
    client, _ = connect(Answer(body={"compositeResponse": [{"body": body, "httpStatusCode": 200}]}))
    [[good, bad]] = collections.write(client, [collections.Batch("Payment__c", "upsert", [{}, {}], "OMS_Id__c")], repeatable=True)
    assert (good.id, good.created, good.error) == ("a", False, None)
    assert isinstance(bad.error, Permanent)
    assert bad.error.field == "Name"


def test_a_subrequest_refused_as_a_whole_fails_each_of_its_records(connect: Any) -> None:
    refused = {"body": [{"errorCode": "INVALID_TYPE", "message": "no such object"}], "httpStatusCode": 400}
    client, _ = connect(Answer(body={"compositeResponse": [refused]}))
    [row] = collections.write(client, [collections.Batch("Nope__c", "upsert", [{}, {}], "OMS_Id__c")], repeatable=True)
    assert [type(outcome.error) for outcome in row] == [Permanent, Permanent]


def test_a_collection_of_201_is_refused_before_it_is_sent() -> None:
    with pytest.raises(Permanent):
        collections.Batch("Payment__c", "update", [{}] * 201)


def test_query_walks_all_pages(connect: Any) -> None:
    first = {"records": [{"Id": "1"}], "done": False, "nextRecordsUrl": "/services/data/v67.0/query/01g-2000"}
    client, _ = connect(Answer(body=first), Answer(body={"records": [{"Id": "2"}], "done": True}))
    assert [row["Id"] for row in query.query(client, "SELECT Id FROM Account")] == ["1", "2"]


@pytest.mark.parametrize(("value", "literal"), [("O'Brien", r"'O\'Brien'"), ("a\\b", r"'a\\b'"), ("a\nb", r"'a\nb'")])
def test_values_are_quoted_for_soql(value: str, literal: str) -> None:
    assert query.quote(value) == literal


def test_a_result_field_may_span_lines_and_be_as_long_as_salesforce_allows(connect: Any) -> None:
    text = "x" * 131_072
    client, _ = connect(Answer(body=f'"sf__Id","sf__Created","Body__c"\n"a01","true","one\ntwo"\n"a02","true","{text}"\n'))
    assert list(bulk.results(client, "750x", "successfulResults", "Body__c", "sf__Id")) == [("one\ntwo", "a01"), (text, "a02")]


@pytest.mark.parametrize("body", ["", '"sf__Id","sf__Error"\n', '"sf__Id"\n'], ids=["nothing", "no rows", "never uploaded"])
def test_a_result_set_may_be_empty(connect: Any, body: str) -> None:
    client, _ = connect(Answer(body=body))
    assert list(bulk.results(client, "750x", "failedResults", "sf__Id", "sf__Error")) == []


@pytest.mark.parametrize("body", ['"sf__Id","sf__Er"\n"a01","x"', '"sf__Id","sf__Error"\n"a01"'])
def test_a_result_set_that_was_cut_short_is_asked_for_again(connect: Any, body: str) -> None:
    client, _ = connect(Answer(body=body))
    with pytest.raises(Retryable):
        list(bulk.results(client, "750x", "failedResults", "sf__Id", "sf__Error"))


def test_the_last_page_of_a_query_job_has_no_locator(connect: Any) -> None:
    client, _ = connect(Answer(body='"Id"\n"1"\n', headers={"Sforce-Locator": "null", "Sforce-NumberOfRecords": "1"}))
    page = bulk.query_page(client, "750x")
    assert ([row["Id"] for row in page.rows], page.locator, page.count) == (["1"], None, 1)


def test_writes_of_any_objects_share_collections_and_parents_are_in_an_earlier_run(connect: Any) -> None:
    """Nobody names a record of their own run; no request has more than ten runs."""
    sent: list[list[tuple[str, str]]] = []

    def answer(request: Mapping[str, Any]) -> dict[str, Any]:
        parts = [part["body"]["records"] for part in request["compositeRequest"]]
        sent.extend([(record["attributes"]["type"], record.get("OMS_Id__c") or record["Id"]) for record in part] for part in parts)
        bodies = [[{"success": True, "id": "x", "errors": []} for _ in part] for part in parts]
        return {"compositeResponse": [{"body": body, "httpStatusCode": 200} for body in bodies]}

    client, _ = connect()
    client.post_json = lambda path, body, **_: answer(body)  # type: ignore[method-assign]
    records = SalesforceRecords(client, load_mappings())

    def new(sobject: str, name: str, **parents: str) -> Write:
        return Write(object=sobject, id=None, fields={f"{one}__r": {"OMS_Id__c": parent} for one, parent in parents.items()}, oms_id=name)

    writes = [
        new("EmailMessage", "mail", Order="reship"),
        new("Order", "reship", Parent="order", Patient="ada"),
        new("Order", "order", Patient="ada", Consultation="elsewhere"),
        Write(object="Order", id="801", fields={}),
        new("Communication__c", "call", Patient="ada"),
        new("EmailMessage", "hello", Patient="ada"),
        new("Account", "ada"),
        *[new("EmailMessage" if number % 2 else "Communication__c", f"more-{number}") for number in range(300)],
    ]
    assert records.write(writes) == ["x"] * len(writes)
    assert [len(part) for part in sent] == [200, 106, 1]
    place = {
        name: (number, len(list(groupby(sobject for sobject, _ in part[:at]))))
        for number, part in enumerate(sent)
        for at, (_, name) in enumerate(part)
    }
    assert place["ada"] < place["order"] < place["reship"] < place["mail"]
    assert all(len(list(groupby(sobject for sobject, _ in part))) <= 10 for part in sent)
