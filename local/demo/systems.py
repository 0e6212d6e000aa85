"""The two systems as people use them: the OMS by its API, the Salesforce org as one of its users. And what one sees of omsync in between."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from local.stack.deploy import Aws, outputs
from local.stack.home import Home
from omsync.platform.http import TimeoutSession

type Row = dict[str, Any]

API = "/services/data/v67.0"
#: rows in a page of the OMS, ids in a query
PAGE, IDS = 1000, 150


class Refused(Exception):
    """A system said no, or could not be reached."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:300]}")
        self.status = status


def _answer(response: requests.Response) -> Any:
    if response.status_code >= 300:
        raise Refused(response.status_code, response.text)
    return response.json() if response.content else None


def _send(http: TimeoutSession, method: str, url: str, **more: Any) -> requests.Response:
    try:
        return http.request(method, url, **more)
    except requests.RequestException as fault:
        raise Refused(0, type(fault).__name__) from None


@dataclass
class Oms:
    """The OMS, as its own front ends use it. Not for several threads at once: give each its own."""

    url: str
    client: tuple[str, str]
    http: TimeoutSession = field(default_factory=TimeoutSession)

    @cached_property
    def _token(self) -> str:
        form = {"grant_type": "client_credentials"}
        return str(_answer(_send(self.http, "POST", f"{self.url}/oauth/token", data=form, auth=self.client))["access_token"])

    def call(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> requests.Response:
        """A call with a token; Refused if nobody answers."""
        told = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        return _send(self.http, method, self.url + path, headers=told, **more)

    def act(self, action: str, **request: object) -> dict[str, list[Row]]:
        """Perform a domain action; the rows it wrote, by table."""
        return dict(_answer(self.call("POST", f"/v1/actions/{action}", json=request))["rows"])

    def create(self, table: str, **values: object) -> Row:
        """A new row."""
        return dict(_answer(self.call("POST", f"/v1/{table}", json=values)))

    def get(self, table: str, row_id: str) -> Row:
        """A row as it is now."""
        return dict(_answer(self.call("GET", f"/v1/{table}/{row_id}")))

    def batch(self, table: str, ids: Sequence[str]) -> list[Row]:
        """Up to 500 rows."""
        return list(_answer(self.call("POST", f"/v1/{table}/batch-get", json={"ids": list(ids)}))["items"])

    def rows(self, table: str, **where: str) -> Iterator[Row]:
        """All rows of a table, page by page."""
        after: dict[str, str] = {}
        while True:
            page = _answer(self.call("GET", f"/v1/{table}", params={"limit": str(PAGE), **where, **after}))
            yield from page["items"]
            if not page["next"]:
                return
            after = {"after": page["next"]}

    def patch(self, table: str, row_id: str, **values: object) -> Row:
        """Change columns, as often as it takes to be the one on top."""
        while True:
            version = self.get(table, row_id)["version"]
            answer = self.call("PATCH", f"/v1/{table}/{row_id}", json=values, headers={"If-Match": f'"{version}"'})
            if answer.status_code != 412:
                return dict(_answer(answer))

    def waiting(self) -> int:
        """Events not delivered yet."""
        return int(_answer(self.call("GET", "/admin/delivery"))["pending"])


@dataclass
class Org:
    """The Salesforce org. Not for several threads at once: give each its own."""

    url: str
    ca: str
    http: TimeoutSession = field(init=False)
    _tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http = TimeoutSession(self.ca)

    def admin(self, method: str, path: str, body: object = None) -> Any:
        """The simulator's admin API."""
        more = {} if body is None else {"json": body}
        return _answer(_send(self.http, method, f"{self.url}/_admin/{path}", **more))

    def call(self, method: str, path: str, *, user: str = "admin", **more: Any) -> requests.Response:
        """A call of the REST API as one of the org's people."""
        if user not in self._tokens:
            self._tokens[user] = self.admin("POST", "login-as", {"user": user})["access_token"]
        return _send(self.http, method, f"{self.url}{API}{path}", headers={"Authorization": f"Bearer {self._tokens[user]}"}, **more)

    def query(self, soql: str) -> list[Row]:
        """All records of a query."""
        answer = _answer(self.call("GET", "/query", params={"q": soql}))
        found = list(answer["records"])
        while not answer["done"]:
            answer = _answer(self.call("GET", answer["nextRecordsUrl"].removeprefix(API)))
            found += answer["records"]
        return found

    def by_oms_id(self, sobject: str, ids: Sequence[str], fields: str = "Id") -> dict[str, Row]:
        """OMS id -> record, of those that are there."""
        found: dict[str, Row] = {}
        for start in range(0, len(ids), IDS):
            named = ", ".join(f"'{one}'" for one in ids[start : start + IDS])
            found |= {str(r["OMS_Id__c"]): r for r in self.query(f"SELECT OMS_Id__c, {fields} FROM {sobject} WHERE OMS_Id__c IN ({named})")}
        return found

    def create(self, sobject: str, *, user: str = "coordinator", **values: object) -> str:
        """A new record; its id."""
        return str(_answer(self.call("POST", f"/sobjects/{sobject}", user=user, json=values))["id"])

    def edit(self, sobject: str, record_id: str, *, user: str = "coordinator", **values: object) -> None:
        """Change fields."""
        _answer(self.call("PATCH", f"/sobjects/{sobject}/{record_id}", user=user, json=values))


@dataclass
class Systems:
    """A running stack: both systems, and omsync between them."""

    home: Path
    endpoints: Mapping[str, str]

    @classmethod
    def at(cls, home: Path) -> Systems:
        """The stack that is up in a directory."""
        return cls(home, Home(home).endpoints())

    def oms(self) -> Oms:
        """A client of the OMS, as its operator."""
        return Oms(self.endpoints["oms_api_url"], (self.endpoints["oms_operator_id"], self.endpoints["oms_operator_secret"]))

    def org(self) -> Org:
        """A client of the org."""
        return Org(self.endpoints["salesforce_url"], self.endpoints["salesforce_ca"])

    @cached_property
    def aws(self) -> Aws:
        return Aws(self.endpoints["aws_endpoint_url"])

    @cached_property
    def outputs(self) -> dict[str, str]:
        """What the deployed stack tells: names of queues and tables."""
        return outputs(self.aws)

    @cached_property
    def _sqs(self) -> Any:
        return self.aws.client("sqs")

    @cached_property
    def dynamodb(self) -> Any:
        return self.aws.client("dynamodb")

    def queues(self, ending: str = "Queue") -> dict[str, str]:
        """Name -> URL of the stack's queues, or with "Dlq" of its dead-letter queues."""
        return {name.removesuffix("Url"): url for name, url in self.outputs.items() if name.endswith(f"{ending}Url")}

    def depth(self, url: str) -> int:
        """Messages in a queue, those in flight and those that wait for their time included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def buried(self) -> int:
        """Messages in dead-letter queues."""
        return sum(self.depth(url) for url in self.queues("Dlq").values())

    def conflicts(self, record: str) -> list[Row]:
        """The conflict log's entries of a record, `table/id`."""
        answer = self.dynamodb.query(
            TableName=self.outputs["FailureTableName"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"conflict/{record}"}},
        )
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in answer["Items"]]

    def mailbox(self) -> list[Row]:
        """What the embedded SES sent, newest first."""
        return list(json.loads(TimeoutSession().get(f"{self.endpoints['mailbox_url']}/messages.json").text))
