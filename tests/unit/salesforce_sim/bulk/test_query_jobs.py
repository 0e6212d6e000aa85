"""Query jobs: their JSON and states, sets of results by locator, and what the Bulk API leaves out of SOQL."""

from __future__ import annotations

import pytest

from local.salesforce.bulk import query
from tests.unit.salesforce_sim.bulk.conftest import BulkOrg, error_of, rows_of


@pytest.fixture
def filled(org: BulkOrg) -> BulkOrg:
    """Twenty-five products, p00 to p24."""
    org.ingest("OMS_Id__c,Name,IsActive,Description\n" + "".join(f'p{n:02d},N{n},true,"a\n""{n}"""\n' for n in range(25)))
    return org


def pages(org: BulkOrg, path: str, size: int) -> list[list[dict[str, str]]]:
    found = []
    locator = ""
    while locator != "null":
        answer = org.call("GET", f"{path}/results?maxRecords={size}" + (f"&locator={locator}" if locator else ""))
        assert answer.status == 200, answer.body
        assert int(answer.headers["sforce-numberofrecords"]) == len(rows_of(answer))
        locator = answer.headers["sforce-locator"]
        found.append(rows_of(answer))
    return found


def test_a_job_runs_through_its_states_with_salesforces_keys(org: BulkOrg) -> None:
    answer = org.call("POST", "/jobs/query", {"operation": "query", "query": "SELECT Id FROM Product2", "lineEnding": "LF"})
    keys = [
        "id",
        "operation",
        "object",
        "createdById",
        "createdDate",
        "systemModstamp",
        "state",
        "concurrencyMode",
        "contentType",
        "apiVersion",
    ]
    assert list(answer.json()) == [*keys, "lineEnding", "columnDelimiter"]
    assert (answer.json()["state"], answer.json()["object"]) == ("UploadComplete", "Product2")
    path = f"/jobs/query/{answer.json()['id']}"
    done = org.wait(path)
    assert (done["state"], done["jobType"], done["numberRecordsProcessed"]) == ("JobComplete", "V2Query", 0)
    results = org.call("GET", f"{path}/results")
    assert (results.body, results.headers["sforce-locator"], results.headers["sforce-numberofrecords"]) == (b'"Id"\n', "null", "0")
    assert results.headers["content-type"] == "text/csv"
    assert org.call("GET", "/jobs/query").json()["records"][0]["id"] == answer.json()["id"]


def test_results_are_quoted_and_in_the_querys_order(filled: BulkOrg) -> None:
    path = filled.query("SELECT OMS_Id__c, IsActive, Description, CreatedBy.Name, ProductCode FROM Product2 WHERE OMS_Id__c = 'p03'")
    body = filled.call("GET", f"{path}/results").body.decode()
    assert body == '"OMS_Id__c","IsActive","Description","CreatedBy.Name","ProductCode"\n"p03","true","a\n""3""","Ada Admin",""\n'


@pytest.mark.parametrize("size", [1, 7, 10, 24, 25, 1000])
def test_sets_of_results_hold_every_row_once(filled: BulkOrg, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(query, "BLOCK", 10)
    path = filled.query("SELECT OMS_Id__c, Description FROM Product2 ORDER BY OMS_Id__c")
    found = pages(filled, path, size)
    assert [row["OMS_Id__c"] for page in found for row in page] == [f"p{n:02d}" for n in range(25)]
    assert all(len(page) == size for page in found[:-1])
    assert found[-1][-1]["Description"] == 'a\n"24"'
    assert pages(filled, path, size) == found


def test_query_all_sees_deleted_rows(filled: BulkOrg) -> None:
    (row,) = filled.records("SELECT Id FROM Product2 WHERE OMS_Id__c = 'p00'")
    filled.ingest(f"Id\n{row['Id']}\n", "delete")
    assert len(pages(filled, filled.query("SELECT Id FROM Product2"), 100)[0]) == 24
    assert len(pages(filled, filled.query("SELECT Id, IsDeleted FROM Product2", "queryAll"), 100)[0]) == 25


def test_delimiter_and_line_ending_are_the_jobs(filled: BulkOrg) -> None:
    path = filled.query("SELECT OMS_Id__c, Name FROM Product2 WHERE OMS_Id__c = 'p01'", columnDelimiter="PIPE", lineEnding="CRLF")
    assert filled.call("GET", f"{path}/results").body == b'"OMS_Id__c"|"Name"\r\n"p01"|"N1"\r\n'


@pytest.mark.parametrize(
    ("soql", "code", "text"),
    [
        ("SELECT Nope FROM Product2", "INVALID_FIELD", "No such column 'Nope' on entity 'Product2'"),
        ("SELECT Id FROM Nope", "INVALID_TYPE", "sObject type 'Nope' is not supported"),
        ("SELEKT", "MALFORMED_QUERY", "unexpected token: SELEKT"),
        ("", "API_ERROR", "query is required"),
        ("SELECT BillingAddress FROM Account", "API_ERROR", "Selecting compound data not supported in Bulk Query"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "API_ERROR", "Aggregate Relationships not supported in Bulk Query"),
        ("SELECT COUNT(Id) FROM Account", "API_ERROR", "not supported in Bulk Query"),
        ("SELECT Id FROM Account LIMIT 5 OFFSET 1", "API_ERROR", "OFFSET clause not supported in Bulk Query"),
        ("SELECT FIELDS(ALL) FROM Account LIMIT 5", "MALFORMED_QUERY", "not supported with an unbounded set of fields"),
    ],
)
def test_what_the_bulk_api_cannot_query_is_refused_at_once(org: BulkOrg, soql: str, code: str, text: str) -> None:
    status, found, message = error_of(org.call("POST", "/jobs/query", {"operation": "query", "query": soql}))
    assert (status, found) == (400, code)
    assert text in message


def test_fields_standard_leaves_addresses_out(org: BulkOrg) -> None:
    path = org.query("SELECT FIELDS(STANDARD) FROM Account")
    header = org.call("GET", f"{path}/results").body.decode()
    assert '"BillingCity"' in header
    assert '"BillingAddress"' not in header


def test_results_wait_for_the_jobs_end(org: BulkOrg) -> None:
    state = org.state
    state.on_close[0]()  # the workers stop: the job stays where it is
    answer = org.call("POST", "/jobs/query", {"operation": "query", "query": "SELECT Id FROM Product2"})
    path = f"/jobs/query/{answer.json()['id']}"
    message = (
        "can only download query results of successfully completed bulk job with status: JOB_COMPLETE. Current status: UPLOAD_COMPLETE"
    )
    assert error_of(org.call("GET", f"{path}/results")) == (412, "JOB_NOT_COMPLETE", message)
    aborted = org.call("PATCH", path, {"state": "Aborted"})
    assert (aborted.status, aborted.json()["state"]) == (200, "Aborted")
    assert error_of(org.call("PATCH", path, {"state": "Aborted"})) == (400, "INVALIDJOBSTATE", "Aborting already Aborted Job not allowed")
    assert error_of(org.call("PATCH", path, {"state": "Open"}))[1] == "INVALIDJOBSTATE"
    assert org.call("DELETE", path).status == 204
    assert org.call("GET", path).status == 404


def test_results_are_read_with_the_jobs_version(filled: BulkOrg) -> None:
    path = filled.query("SELECT Id FROM Product2")
    assert filled.call("GET", f"{path}/results", version="66.0").status == 409


@pytest.mark.parametrize(
    "query_string", ["locator=nonsense", "locator=!!", "maxRecords=0", "maxRecords=-1", "maxRecords=x", "locator=MDpYOjE"]
)
def test_a_strange_set_is_refused(filled: BulkOrg, query_string: str) -> None:
    path = filled.query("SELECT Id FROM Product2")
    assert filled.call("GET", f"{path}/results?{query_string}").status == 400


def test_a_doubled_slash_is_not_found(filled: BulkOrg) -> None:
    path = filled.query("SELECT Id FROM Product2")
    assert filled.call("GET", f"{path.replace('query/', 'query//')}/results").status == 404
