"""A whole simulated org with shorthands for its bulk jobs."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local.salesforce.schema import Org
from local.salesforce.schema_source import load_org
from local.salesforce.testing import DATA, Answer, TestOrg, open_org

METADATA = Path(__file__).parents[4] / "salesforce"
FINAL = ("JobComplete", "Failed", "Aborted")
DEADLINE_SECONDS = 30


@cache
def schema() -> Org:
    """The project's metadata, read once."""
    return load_org(METADATA)


def rows_of(answer: Answer) -> list[dict[str, str]]:
    """A CSV answer's rows by column."""
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def error_of(answer: Answer) -> tuple[int, str, str]:
    """(status, errorCode, message) of an error answer."""
    first = answer.json()[0]
    return answer.status, first["errorCode"], first["message"]


class BulkOrg:
    """An org and its jobs. Paths are below `/services/data/v67.0`, unless `version` says otherwise."""

    def __init__(self, home: Path) -> None:
        self._open = ExitStack()
        self.org: TestOrg = self._open.enter_context(open_org(home, [], org=schema()))
        self.state = self.org.server.state

    def close(self) -> None:
        self._open.close()

    def call(self, method: str, path: str, body: object = None, content_type: str = "application/json", version: str = "67.0") -> Answer:
        root = DATA.replace("67.0", version)
        content = body if isinstance(body, bytes) else None
        json_body = None if isinstance(body, bytes) else body
        return self.org.call(method, root + path, body=json_body, content=content, headers={"Content-Type": content_type})

    def create(self, operation: str = "upsert", object_name: str = "Product2", **settings: object) -> str:
        """An open job's path."""
        wish = {"object": object_name, "operation": operation, **settings}
        if operation == "upsert":
            wish.setdefault("externalIdFieldName", "OMS_Id__c")
        answer = self.call("POST", "/jobs/ingest", wish)
        assert answer.status == 200, answer.body
        return f"/jobs/ingest/{answer.json()['id']}"

    def upload(self, path: str, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        answer = self.call("PUT", f"{path}/batches", data, "text/csv")
        assert (answer.status, answer.body) == (201, b"")

    def close_job(self, path: str) -> Answer:
        return self.call("PATCH", path, {"state": "UploadComplete"})

    def wait(self, path: str) -> dict[str, Any]:
        """The job in its final state."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (job := self.call("GET", path).json())["state"] not in FINAL:
            assert time.monotonic() < deadline, f"{path} is still {job['state']}"
            time.sleep(0.005)
        return dict(job)

    def ingest(self, text: str, operation: str = "upsert", object_name: str = "Product2", **settings: object) -> tuple[str, dict[str, Any]]:
        """A whole job: its path and final state."""
        path = self.create(operation, object_name, **settings)
        self.upload(path, text)
        assert self.close_job(path).status == 200
        return path, self.wait(path)

    def results(self, path: str, which: str) -> list[dict[str, str]]:
        answer = self.call("GET", f"{path}/{which}")
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] == "text/csv"
        return rows_of(answer)

    def query(self, soql: str, operation: str = "query", **settings: object) -> str:
        """A finished query job's path."""
        answer = self.call("POST", "/jobs/query", {"operation": operation, "query": soql, **settings})
        assert answer.status == 200, answer.body
        path = f"/jobs/query/{answer.json()['id']}"
        assert self.wait(path)["state"] == "JobComplete"
        return path

    def records(self, soql: str) -> list[dict[str, Any]]:
        """What a plain query finds."""
        answer = self.org.get("query", params={"q": soql})
        assert answer.status == 200, answer.body
        return list(answer.json()["records"])


@pytest.fixture
def org(tmp_path: Path) -> Iterator[BulkOrg]:
    made = BulkOrg(tmp_path)
    yield made
    made.close()
