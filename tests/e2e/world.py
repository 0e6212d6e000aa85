"""Both systems as people use them: the OMS by its API, the Salesforce org as one of its users; and waiting until one side shows what the other did."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import requests

from omsync.mapping import load_mappings
from omsync.oms.signature import sign
from omsync.platform.http import TimeoutSession
from tests.e2e import compare
from tests.polling import until

if TYPE_CHECKING:
    from tests.e2e.conftest import Stack

type Row = dict[str, Any]

API = "/services/data/v67.0"
QUEUES = ("Mirror", "Sync", "Isolation")


class Refused(Exception):
    """A system said no."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:600]}")
        self.status, self.body = status, body


def _checked(response: requests.Response) -> requests.Response:
    if response.status_code >= 300:
        raise Refused(response.status_code, response.text)
    return response


@dataclass
class Oms:
    """The OMS, as its own front ends use it."""

    url: str
    client: tuple[str, str]
    http: TimeoutSession = field(default_factory=TimeoutSession)
    patience: float = 30  # seconds for which a read that fails is tried again

    @cached_property
    def _token(self) -> str:
        form = {"grant_type": "client_credentials"}
        return str(_checked(self.http.post(f"{self.url}/oauth/token", data=form, auth=self.client)).json()["access_token"])

    def call(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> requests.Response:
        told = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        reading = method == "GET" or path.endswith("/batch-get")  # people reload a page that failed
        deadline = time.monotonic() + self.patience
        while True:
            answer = self.http.request(method, self.url + path, headers=told, **more)
            if not reading or answer.status_code != 503 or time.monotonic() >= deadline:
                return answer
            time.sleep(0.1)

    def act(self, action: str, **request: object) -> dict[str, list[Row]]:
        """Perform a domain action; the rows it wrote, by table."""
        return dict(_checked(self.call("POST", f"/v1/actions/{action}", json=request)).json()["rows"])

    def get(self, table: str, row_id: str) -> Row | None:
        answer = self.call("GET", f"/v1/{table}/{row_id}")
        return None if answer.status_code == 404 else dict(_checked(answer).json())

    def rows(self, table: str, **where: str) -> list[Row]:
        return list(_checked(self.call("GET", f"/v1/{table}", params={"limit": "500", **where})).json()["items"])

    def create(self, table: str, **values: object) -> Row:
        return dict(_checked(self.call("POST", f"/v1/{table}", json=values)).json())

    def patch(self, table: str, row_id: str, **values: object) -> Row:
        """Change columns, as often as it takes to be the one on top."""
        while True:
            row = self.get(table, row_id)
            assert row is not None
            answer = self.call("PATCH", f"/v1/{table}/{row_id}", json=values, headers={"If-Match": f'"{row["version"]}"'})
            if answer.status_code != 412:
                return dict(_checked(answer).json())

    def pushes(self, *, paused: bool) -> None:
        _checked(self.call("PUT", "/admin/delivery/paused", json={"paused": paused}))

    def lose_pushes(self) -> int:
        return int(_checked(self.call("DELETE", "/admin/delivery/pending")).json()["dropped"])

    def delivery(self) -> dict[str, Any]:
        return dict(_checked(self.call("GET", "/admin/delivery")).json())

    @contextmanager
    def fault(self, **fault: object) -> Iterator[None]:
        """A fault, for as long as the block lasts."""
        _checked(self.call("PUT", "/admin/faults", json=fault))
        try:
            yield
        finally:
            _checked(self.call("PUT", "/admin/faults", json={"mode": "none"}))


@dataclass
class Org:
    """The Salesforce org."""

    url: str
    ca: str
    http: TimeoutSession = field(init=False)
    _tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http = TimeoutSession(self.ca)

    def admin(self, method: str, path: str, body: object = None) -> Any:
        """The simulator's admin API."""
        return _checked(self.http.request(method, f"{self.url}/_admin/{path}", **({} if body is None else {"json": body}))).json()

    def call(self, method: str, path: str, *, user: str = "admin", **more: Any) -> requests.Response:
        if user not in self._tokens:
            self._tokens[user] = self.admin("POST", "login-as", {"user": user})["access_token"]
        return self.http.request(method, f"{self.url}{API}{path}", headers={"Authorization": f"Bearer {self._tokens[user]}"}, **more)

    def query(self, soql: str, *, deleted: bool = False) -> list[Row]:
        answer = _checked(self.call("GET", "/queryAll" if deleted else "/query", params={"q": soql})).json()
        found = list(answer["records"])
        while not answer["done"]:
            answer = _checked(self.call("GET", answer["nextRecordsUrl"].removeprefix(API))).json()
            found += answer["records"]
        return found

    def find(self, sobject: str, oms_id: str, fields: str = "Id", *, deleted: bool = False) -> Row | None:
        """The live record of an OMS id (with `deleted`, one in the recycle bin too)."""
        found = self.query(f"SELECT {fields}, IsDeleted FROM {sobject} WHERE OMS_Id__c = '{oms_id}'", deleted=deleted)
        return min(found, key=lambda record: bool(record["IsDeleted"]), default=None)

    def get(self, sobject: str, record_id: str, fields: str) -> Row:
        return self.query(f"SELECT {fields} FROM {sobject} WHERE Id = '{record_id}'", deleted=True)[0]

    def create(self, sobject: str, *, user: str = "coordinator", **values: object) -> str:
        return str(_checked(self.call("POST", f"/sobjects/{sobject}", user=user, json=values)).json()["id"])

    def edit(self, sobject: str, record_id: str, *, user: str = "coordinator", **values: object) -> None:
        _checked(self.call("PATCH", f"/sobjects/{sobject}/{record_id}", user=user, json=values))

    def delete(self, sobject: str, record_id: str, *, user: str = "admin") -> None:
        _checked(self.call("DELETE", f"/sobjects/{sobject}/{record_id}", user=user))

    def record_type(self, sobject: str, name: str) -> str:
        return str(self.query(f"SELECT Id FROM RecordType WHERE SobjectType = '{sobject}' AND DeveloperName = '{name}'")[0]["Id"])

    def soap(self, body: str, *, user: str = "admin") -> str:
        """A call of the SOAP API, which alone undeletes and merges; the answer's XML."""
        self.call("GET", "/limits", user=user)
        envelope = (
            '<?xml version="1.0" encoding="utf-8"?>'
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com">'
            f"<s:Header><SessionHeader><sessionId>{self._tokens[user]}</sessionId></SessionHeader></s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )
        answer = _checked(
            self.http.post(
                f"{self.url}/services/Soap/u/67.0", data=envelope.encode(), headers={"Content-Type": "text/xml", "SOAPAction": '""'}
            )
        )
        assert "<success>true</success>" in answer.text, answer.text
        return answer.text

    def undelete(self, record_id: str, *, user: str = "admin") -> None:
        self.soap(f"<undelete><ids>{record_id}</ids></undelete>", user=user)

    def merge(self, winner: str, loser: str, *, user: str = "admin") -> None:
        self.soap(
            f"<merge><request><masterRecord><type>Account</type><Id>{winner}</Id></masterRecord>"
            f"<recordToMergeIds>{loser}</recordToMergeIds></request></merge>",
            user=user,
        )

    def cases(self, record: str) -> list[Row]:
        """Our own Cases about a record, `table/id`, or a cause that holds this text."""
        return self.query(
            "SELECT Id, Subject, Description, Status, IsClosed, Integration_Field__c, Integration_Count__c FROM Case "
            f"WHERE Integration_Record__c = '{record}' AND RecordType.DeveloperName = 'Integration'"
        )

    @contextmanager
    def fault(self, kind: str, **more: object) -> Iterator[None]:
        """A fault, for as long as the block lasts."""
        number = self.admin("POST", "faults", {"kind": kind, **more})["id"]
        try:
            yield
        finally:
            self.admin("DELETE", f"faults?id={number}")


@dataclass
class World:
    """Both systems, and omsync between them."""

    stack: Stack

    @cached_property
    def oms(self) -> Oms:
        told = self.stack.endpoints
        return Oms(told["oms_api_url"], (told["oms_operator_id"], told["oms_operator_secret"]))

    @cached_property
    def org(self) -> Org:
        return Org(self.stack.endpoints["salesforce_url"], self.stack.endpoints["salesforce_ca"])

    def certify(self, run: int) -> None:
        """Say that the migration's runs up to this one are done. Running functions notice within five minutes."""
        item = {"pk": {"S": "cursor/migration/certified_run"}, "position": {"S": str(run)}}
        self.stack.aws.client("dynamodb").put_item(TableName=self.stack.outputs["StateTableName"], Item=item)

    # ------------------------------------------------------------------------------------------------------- shorthands
    def patient(self, **more: object) -> Row:
        """A patient of the OMS, who has a name of their own."""
        name = f"T{uuid.uuid4().hex[:10]}"
        request = {"first_name": "Ada", "last_name": name, "email": f"{name.lower()}@example.com", **more}
        return self.oms.act("register-patient", **request)["patients"][0]

    def account(self, patient: Mapping[str, Any], *, seconds: float = 30) -> str:
        """The Salesforce id of a patient's account, once it is there."""
        found = until(lambda: self.org.find("Account", patient["id"]), seconds=seconds)
        assert found is not None
        return str(found["Id"])

    def field(self, sobject: str, record_id: str, name: str) -> Any:
        return self.org.get(sobject, record_id, name)[name]

    def shows(self, sobject: str, record_id: str, name: str, value: object, *, seconds: float = 30) -> None:
        """Wait until Salesforce shows a value."""
        until(lambda: self.field(sobject, record_id, name), lambda found: found == value, seconds=seconds)

    def holds(self, table: str, row_id: str, column: str, value: object, *, seconds: float = 30) -> Row:
        """Wait until the OMS holds a value."""

        def look() -> Row | None:
            return self.oms.get(table, row_id)

        row = until(look, lambda found: found is not None and found[column] == value, seconds=seconds)
        assert row is not None
        return row

    # ------------------------------------------------------------------------------------------------------- comparison
    def differences(self, rows: Mapping[str, Sequence[str]]) -> dict[str, dict[str, compare.Difference]]:
        """`table/id` -> field -> (wanted, found), of these ids of each table. Rows that are not sent by rule are no difference."""
        found: dict[str, dict[str, compare.Difference]] = {}
        for table, ids in rows.items():
            for start in range(0, len(ids), 100):
                found |= self._differences(table, ids[start : start + 100])
        return found

    def _differences(self, table: str, ids: Sequence[str]) -> dict[str, dict[str, compare.Difference]]:
        answer = _checked(self.oms.call("POST", f"/v1/{table}/batch-get", json={"ids": list(ids)})).json()
        records = [record for row in answer["items"] for record in compare.wanted(table, row)]
        found: dict[str, dict[str, compare.Difference]] = {}
        for sobject in {record.object for record in records}:
            mine = [record for record in records if record.object == sobject]
            named = ", ".join(f"'{record.external_id}'" for record in mine)
            held = self.org.query(f"SELECT {compare.select(mine[0])} FROM {sobject} WHERE OMS_Id__c IN ({named})")
            for record in mine:
                differing = compare.differences(table, record, compare.pick(held, record.external_id))
                if differing:
                    found[f"{table}/{record.external_id} {sobject}"] = differing
        return found

    def agrees(self, rows: Mapping[str, Sequence[str]], *, seconds: float = 30) -> None:
        """Wait until both systems hold the same, in every mapped value."""
        until(lambda: self.differences(rows), lambda found: not found, seconds=seconds, every=0.3)

    def rows_of(self, patient_id: str) -> dict[str, list[str]]:
        """table -> ids of everything that hangs on a patient, himself included."""
        found: dict[str, list[str]] = {"patients": [patient_id]}
        for mapping in load_mappings():
            if "patient_id" in mapping.columns and mapping.mode in ("mirrored", "shared"):
                found[mapping.table] = [row["id"] for row in self.oms.rows(mapping.table, patient_id=patient_id)]
        orders = found["orders"]
        for table in ("order_items", "order_status_history", "refunds"):
            found[table] = [row["id"] for order in orders for row in self.oms.rows(table, order_id=order)]
        found["shipment_events"] = [row["id"] for one in found["shipments"] for row in self.oms.rows("shipment_events", shipment_id=one)]
        return found

    # ------------------------------------------------------------------------------------------------------------ queues
    def depth(self, queue: str) -> int:
        """Messages in a queue, those in flight and those that wait for their time included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        url = self.stack.outputs[f"{queue}Url"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    @cached_property
    def _sqs(self) -> Any:
        return self.stack.aws.client("sqs")

    def send(self, queue: str, message: Row) -> None:
        """Put a message into a queue, past the doors."""
        self._sqs.send_message(QueueUrl=self.stack.outputs[f"{queue}QueueUrl"], MessageBody=json.dumps(message))

    @contextmanager
    def visibility(self, seconds: int) -> Iterator[None]:
        """What a worker holds becomes visible again so soon; a parameter of the deployment."""
        urls = [self.stack.outputs[f"{queue}QueueUrl"] for queue in QUEUES]
        name = "VisibilityTimeout"
        before = {url: self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name] for url in urls}
        for url in urls:
            self._sqs.set_queue_attributes(QueueUrl=url, Attributes={name: str(seconds)})
        try:
            yield
        finally:
            for url in urls:
                self._sqs.set_queue_attributes(QueueUrl=url, Attributes={name: before[url]})

    def buried(self) -> dict[str, int]:
        """Messages in the dead-letter queues of the sync."""
        return {name: depth for name in QUEUES if (depth := self.depth(f"{name}Dlq"))}

    def quiet(self, *, seconds: float = 60) -> None:
        """Wait until nothing is on its way: no event in the OMS, no message in a queue."""

        def waiting() -> dict[str, int]:
            found = {name: self.depth(f"{name}Queue") for name in QUEUES} | {"oms": int(self.oms.delivery()["pending"])}
            return {name: number for name, number in found.items() if number}

        until(waiting, lambda found: not found, seconds=seconds, every=0.3)

    def exhume(self, queue: str) -> list[Row]:
        """Take everything out of a dead-letter queue."""
        url, found = self.stack.outputs[f"{queue}DlqUrl"], []
        while messages := self._sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", []):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def failures(self, record: str) -> list[Row]:
        """The failure table's rows of a record."""
        pages = self.stack.aws.client("dynamodb").get_paginator("scan").paginate(TableName=self.stack.outputs["FailureTableName"])
        items = [{name: next(iter(value.values())) for name, value in item.items()} for page in pages for item in page["Items"]]
        return [item for item in items if item.get("record") == record]

    def conflicts(self, row_id: str, table: str = "patients") -> list[Row]:
        """The log of decided conflicts about a record."""
        key = {":key": {"S": f"conflict/{table}/{row_id}"}}
        answer = self.stack.aws.client("dynamodb").query(
            TableName=self.stack.outputs["FailureTableName"], KeyConditionExpression="pk = :key", ExpressionAttributeValues=key
        )
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in answer["Items"]]

    def invoke(self, function: str) -> Any:
        """Run one of our scheduled functions now; what it answers."""
        functions = self.stack.aws.client("lambda")
        pages = functions.get_paginator("list_functions").paginate()
        name = next(one["FunctionName"] for page in pages for one in page["Functions"] if f"-{function}Function-" in one["FunctionName"])
        answer = functions.invoke(FunctionName=name, Payload=b"{}")
        body = json.loads(answer["Payload"].read() or b"null")
        assert "FunctionError" not in answer, body
        return body

    def door(self, events: Sequence[Mapping[str, object]]) -> requests.Response:
        """Send events to the OMS's door, as the OMS does."""
        body = json.dumps(list(events)).encode()
        secret = json.loads((self.stack.home / "oms" / "oms-delivery.json").read_text())["webhook_secret"]
        identity, now = str(uuid.uuid4()), int(time.time())
        headers = {
            "Content-Type": "application/cloudevents-batch+json",
            "webhook-id": identity,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(secret, identity, now, body),
        }
        return _checked(self.stack.call("POST", "/oms/events", "oms", headers=headers, data=body))

    def outbox(self, wanted: Callable[[Row], bool], *, after: str | None = None) -> list[Row]:
        """The OMS's own record of its events."""
        found: list[Row] = []
        while True:
            params = {"limit": "500", **({"after": after} if after else {})}
            page = _checked(self.oms.call("GET", "/v1/outbox", params=params)).json()
            found += [event for event in page["events"] if wanted(event)]
            if not page["more"]:
                return found
            after = page["next"]
