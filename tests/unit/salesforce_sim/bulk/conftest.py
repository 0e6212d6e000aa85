"""A whole simulated org, called through its routes without sockets."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.salesforce.app import build, close
from local.salesforce.rest.http import Headers, Request
from local.salesforce.server import Server
from local.salesforce.setup import write_session

METADATA = Path(__file__).parents[4] / "salesforce"
API = "/services/data/v67.0"
FINAL = ("JobComplete", "Failed", "Aborted")
DEADLINE_SECONDS = 30


class Answer:
    """An HTTP answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found

    @property
    def error(self) -> tuple[int, str, str]:
        """(status, errorCode, message) of an error answer."""
        first = json.loads(self.body)[0]
        return self.status, first["errorCode"], first["message"]

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.body.decode(), newline="")))


class BulkOrg:
    """An org and shorthands for its jobs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.server: Server = build(home, [METADATA])
        self.token = write_session(self.server.state.authority, home, "http://localhost")["access_token"]

    def close(self) -> None:
        close(self.server)

    def call(self, method: str, path: str, body: object = None, content_type: str = "application/json", api: str = API) -> Answer:
        path, _, query = path.partition("?")
        headers = Headers([("authorization", f"Bearer {self.token}"), ("content-type", content_type)])
        pairs = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        request = Request(method, api + path, pairs, headers, base="http://localhost")
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if path.endswith("/batches"):
            request.upload = io.BytesIO(data)
        else:
            request.body = data
        response = self.server.handle(request)
        encoded = response.encoded()
        return Answer(response.status, response.headers, encoded if isinstance(encoded, bytes) else b"".join(encoded))

    def create(self, operation: str = "upsert", object_name: str = "Product2", **settings: object) -> str:
        """An open job's path."""
        wish = {"object": object_name, "operation": operation, **settings}
        if operation == "upsert":
            wish.setdefault("externalIdFieldName", "OMS_Id__c")
        answer = self.call("POST", "/jobs/ingest", wish)
        assert answer.status == 200, answer.body
        return f"/jobs/ingest/{answer.json['id']}"

    def upload(self, path: str, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        answer = self.call("PUT", f"{path}/batches", data, "text/csv")
        assert (answer.status, answer.body) == (201, b"")

    def close_job(self, path: str) -> Answer:
        return self.call("PATCH", path, {"state": "UploadComplete"})

    def wait(self, path: str) -> dict[str, object]:
        """The job in its final state."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (job := self.call("GET", path).json)["state"] not in FINAL:
            assert time.monotonic() < deadline, f"{path} is still {job['state']}"
            time.sleep(0.005)
        return job

    def ingest(
        self, text: str, operation: str = "upsert", object_name: str = "Product2", **settings: object
    ) -> tuple[str, dict[str, object]]:
        """A whole job: its path and final state."""
        path = self.create(operation, object_name, **settings)
        self.upload(path, text)
        assert self.close_job(path).status == 200
        return path, self.wait(path)

    def results(self, path: str, which: str) -> list[dict[str, str]]:
        answer = self.call("GET", f"{path}/{which}")
        assert answer.status == 200, answer.body
        assert answer.headers["Content-Type"] == "text/csv"
        return answer.rows

    def query(self, soql: str, operation: str = "query", **settings: object) -> str:
        """A finished query job's path."""
        answer = self.call("POST", "/jobs/query", {"operation": operation, "query": soql, **settings})
        assert answer.status == 200, answer.body
        path = f"/jobs/query/{answer.json['id']}"
        assert self.wait(path)["state"] == "JobComplete"
        return path

    def records(self, soql: str) -> list[dict[str, object]]:
        """What a plain query finds."""
        state = self.server.state
        from local.salesforce.context import Context
        from local.salesforce.soql.executor import Executor, Locators

        return Executor(state.store, Locators()).query(soql, Context(user_id=""), API).records


@pytest.fixture
def org(tmp_path: Path) -> Iterator[BulkOrg]:
    made = BulkOrg(tmp_path)
    yield made
    made.close()
