"""The recorded pairs of the Bulk API 2.0, replayed on jobs that really ran (or, for a moment within a run, were put into it)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from salesforce_sim_harness import Case, Comparison, case, of_endpoint, put

from local.salesforce.bulk.jobs import Job, JobTable, State
from local.salesforce.testing import Answer, TestOrg

DEADLINE_SECONDS = 30
CSV = {"Content-Type": "text/csv"}
OPPORTUNITY = {"Name": "x", "StageName": "Prospecting", "CloseDate": "2026-01-01"}


def version_of(one: Case) -> str:
    return one.path.split("/")[3]


def create(org: TestOrg, one: Case, kind: str = "ingest", **wish: object) -> str:
    """A new job's path, of the pair's API version."""
    base = f"/services/data/{version_of(one)}/jobs/{kind}"
    answer = org.post(base, wish)
    assert answer.status == 200, answer.text
    return f"{base}/{answer.json()['id']}"


def run(org: TestOrg, path: str, csv: str) -> None:
    """Upload, close, wait."""
    assert org.call("PUT", f"{path}/batches", content=csv.encode(), headers=CSV).status == 201
    assert org.patch(path, {"state": "UploadComplete"}).status == 200
    wait(org, path)


def wait(org: TestOrg, path: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while org.get(path).json()["state"] not in ("JobComplete", "Failed", "Aborted"):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def adjust(org: TestOrg, path: str, change: Callable[[Job], None]) -> None:
    """Put a job into a moment of its run."""
    table = JobTable(org.server.state.store)
    job = table.get(path.split("/")[5], path.rsplit("/", 1)[1])
    assert job is not None
    change(job)
    with table.store.write() as tx:
        table.save(tx, job)


def compare(one: Case, answer: Answer) -> None:
    """Times in milliseconds are the machine's own."""
    if isinstance(one.body, dict):
        ours = answer.json()
        for name in ("totalProcessingTime", "apiActiveProcessingTime", "apexProcessingTime"):
            if name in one.body:
                assert isinstance(ours.get(name), int)
                ours[name] = one.body[name]
        answer.body = json.dumps(ours).encode()
    Comparison(one).check(answer)


# -- ingest --------------------------------------------------------------------------------------------------------------


def test_create(org: TestOrg) -> None:
    one = case("amp-bulk2-ingest-create-delete")
    compare(one, one.send(org))


def test_close(org: TestOrg) -> None:
    one = case("amp-bulk2-ingest-close-delete")
    path = create(org, one, object="Opportunity", operation="delete")
    compare(one, one.send(org, path=path))


def test_status_in_progress(org: TestOrg) -> None:
    one = case("amp-bulk2-ingest-status-inprogress")
    path = create(org, one, object="Opportunity", operation="upsert", externalIdFieldName="external_id__c")

    def halfway(job: Job) -> None:
        job.state = State.IN_PROGRESS
        job.progress.processed = one.body["numberRecordsProcessed"]

    adjust(org, path, halfway)
    compare(one, one.send(org, path=path))


@pytest.mark.parametrize("name", ["amp-bulk2-ingest-status-success", "applink-get-info-7508z00000lSXvxQAG"])
def test_status_of_a_complete_job(org: TestOrg, name: str) -> None:
    one = case(name)
    key = {"externalIdFieldName": "external_id__c"} if one.body["operation"] == "upsert" else {}
    if one.body["apiVersion"] not in (56.0, 60.0):  # read with another version than the job was made with
        one.request["path"] = one.path.replace(version_of(one), f"v{float(one.body['apiVersion'])}")
    path = create(org, one, object=one.body["object"], operation=one.body["operation"], **key)
    columns = ["Name", *(["external_id__c", "StageName", "CloseDate"] if key else [])]
    rows = [
        ",".join([f"n{n}", *([f"e{n}", "Prospecting", "2026-01-01"] if key else [])]) for n in range(one.body["numberRecordsProcessed"])
    ]
    run(org, path, "\n".join([",".join(columns), *rows]) + "\n")
    compare(one, one.send(org, path=path))


def test_failed_results(org: TestOrg) -> None:
    one = case("amp-bulk2-ingest-failedResults")
    header, row = one.body.split("\n")
    sent = header.replace('"sf__Id","sf__Error",', "")
    values = row.split(",", 1)[1].split('CloseDate --",')[1]
    path = create(org, one, object="Opportunity", operation="insert")
    run(org, path, f"{sent}\n{values}\n")
    answer = one.send(org, path=f"{path}/failedResults")
    assert answer.text == one.body + "\n"
    assert answer.status == one.status
    assert answer.headers["content-type"] == one.response["headers"]["Content-Type"]


def test_a_failed_row(org: TestOrg) -> None:
    one = case("doc-bulk2-failed-row")
    path = create(org, one, object="Account", operation="insert")
    run(org, path, "AccountNumber\n1\n")
    answer = one.send(org, path=f"{path}/failedResults")
    assert answer.status == one.status
    assert answer.text.split("\n")[1].startswith(one.body.split("\n")[1].removesuffix("..."))


def test_abort_of_a_complete_job(org: TestOrg) -> None:
    one = case("applink-bulk-api-ingest-abort-return-invalidjob")
    path = create(org, one, object="Account", operation="insert")
    run(org, path, "Name\nx\n")
    compare(one, one.send(org, path=path, body={"state": "Aborted"}))


# -- query ---------------------------------------------------------------------------------------------------------------


def users(org: TestOrg, one: Case) -> str:
    """A finished query job over the pair's users."""
    rows = [line.strip('"').split('","') for line in one.body.strip().split("\n")[1:]]
    put(org, "User", *({"Id": record_id, "Name": name, "Title": "shown"} for record_id, name in rows))
    path = create(org, one, "query", operation="query", query="SELECT Id, Name FROM User WHERE Title = 'shown'")
    wait(org, path)
    return path


def test_results(org: TestOrg) -> None:
    one = case("doc-bulk2-query-results")
    answer = one.send(org, path=f"{users(org, one)}/results")
    assert answer.status == one.status
    assert sorted(answer.text.split("\n")) == sorted(one.body.split("\n"))
    assert answer.headers["sforce-numberofrecords"] == "3"
    assert answer.headers["sforce-locator"] == "null"
    first = one.send(org, path=f"{users(org, one)}/results", params={"maxRecords": "2"})
    assert first.headers["sforce-locator"] not in ("null", "")


def test_results_before_the_end(org: TestOrg) -> None:
    one = case("doc-bulk2-query-results-not-complete-412")
    path = create(org, one, "query", operation="query", query="SELECT Id FROM User")
    wait(org, path)

    def running(job: Job) -> None:
        job.state = State.IN_PROGRESS

    adjust(org, path, running)
    compare(one, one.send(org, path=f"{path}/results"))


def test_a_locator_is_opaque_base64(org: TestOrg) -> None:
    one = case("issue-bulk2-query-locator")
    path = create(org, one, "query", operation="query", query="SELECT Id FROM User")
    wait(org, path)
    answer = one.send(org, path=f"{path}/results", params={"maxRecords": "1"})
    assert answer.status == one.status
    assert answer.headers["sforce-locator"].isalnum()
    assert "=" not in answer.headers["sforce-locator"]


def test_a_doubled_slash(org: TestOrg) -> None:
    one = case("issue-bulk2-double-slash-404")
    assert one.send(org).status == one.status


@pytest.mark.parametrize("one", of_endpoint("bulk2_ingest", "bulk2_query"))
def test_every_bulk_pair_is_replayed_above(one: Case) -> None:
    assert f'"{one.id}"' in Path(__file__).read_text()
