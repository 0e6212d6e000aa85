"""Ingest jobs: their JSON, states and results, CSV as Salesforce reads it, limits, and what a restart leaves of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.salesforce.bulk import ingest
from local.salesforce.bulk.csvfile import MAX_FIELD, Dialect
from local.salesforce.bulk.endpoints import MAX_UPLOAD
from tests.unit.salesforce_sim.bulk.conftest import BulkOrg, error_of

STATUS_KEYS = [
    "id", "operation", "object", "createdById", "createdDate", "systemModstamp", "state", "externalIdFieldName", "concurrencyMode",
    "contentType", "apiVersion", "jobType", "lineEnding", "columnDelimiter", "numberRecordsProcessed", "numberRecordsFailed", "retries",
    "totalProcessingTime", "apiActiveProcessingTime", "apexProcessingTime",
]  # fmt: skip
SHORT_KEYS = STATUS_KEYS[:11]


def test_a_job_runs_through_its_states_with_salesforces_keys(org: BulkOrg) -> None:
    created = org.call("POST", "/jobs/ingest", {"object": "product2", "operation": "upsert", "externalIdFieldName": "oms_id__c"})
    assert created.status == 200
    job = created.json()
    assert list(job) == [*SHORT_KEYS, "contentUrl", "lineEnding", "columnDelimiter"]
    assert (job["object"], job["externalIdFieldName"], job["state"], job["apiVersion"]) == ("Product2", "OMS_Id__c", "Open", 67.0)
    assert job["contentUrl"] == f"services/data/v67.0/jobs/ingest/{job['id']}/batches"
    path = f"/jobs/ingest/{job['id']}"
    assert org.call("GET", path).json()["state"] == "Open"
    org.upload(path, "OMS_Id__c,Name\nx,X\n")
    closed = org.close_job(path)
    assert list(closed.json()) == SHORT_KEYS
    assert closed.json()["state"] == "UploadComplete"
    done = org.wait(path)
    assert list(done) == STATUS_KEYS
    assert (done["state"], done["jobType"], done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (
        "JobComplete",
        "V2Ingest",
        1,
        0,
    )


def test_results_say_what_became_of_each_row(org: BulkOrg) -> None:
    org.ingest('OMS_Id__c,Name\na,"A, ""the first"""\n')
    path, job = org.ingest('OMS_Id__c,Name,IsActive\na,"A, ""the first""",true\nb,B,\nc,C,maybe\n')
    assert (job["state"], job["numberRecordsProcessed"], job["numberRecordsFailed"]) == ("JobComplete", 3, 1)
    raw = org.call("GET", f"{path}/successfulResults").body.decode()
    assert raw.startswith('"sf__Id","sf__Created",OMS_Id__c,Name,IsActive\n"01t')
    done = {row["OMS_Id__c"]: row for row in org.results(path, "successfulResults")}
    assert {key: row["sf__Created"] for key, row in done.items()} == {"a": "false", "b": "true"}
    assert done["a"]["Name"] == 'A, "the first"'
    (failed,) = org.results(path, "failedResults")
    assert failed == {
        "sf__Id": "",
        "sf__Error": "INVALID_FIELD:Failed to deserialize field at col 2. Due to, 'maybe' is not a valid value for the type xsd:boolean:IsActive --",
        "OMS_Id__c": "c",
        "Name": "C",
        "IsActive": "maybe",
    }
    assert org.call("GET", f"{path}/unprocessedrecords").body == b"OMS_Id__c,Name,IsActive\n"


def test_a_missing_required_field_is_worded_as_clients_assert(org: BulkOrg) -> None:
    path, _ = org.ingest("OMS_Id__c,ProductCode\nx,P\n")
    assert org.results(path, "failedResults")[0]["sf__Error"] == "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"


def test_an_empty_value_leaves_alone_and_na_clears(org: BulkOrg) -> None:
    org.ingest("OMS_Id__c,Name,ProductCode,Description\na,A,P,D\n")
    org.ingest("OMS_Id__c,Name,ProductCode,Description\na,,#N/A,\n")
    (row,) = org.records("SELECT Name, ProductCode, Description FROM Product2 WHERE OMS_Id__c = 'a'")
    assert (row["Name"], row["ProductCode"], row["Description"]) == ("A", None, "D")


def test_lookups_by_external_id_of_the_parent(org: BulkOrg) -> None:
    org.ingest("OMS_Id__c,Name\nnew,New\n")
    path, _ = org.ingest("OMS_Id__c,Name,Replaced_By__r.OMS_Id__c\nold,Old,new\nlost,Lost,nowhere\n")
    (row,) = org.records("SELECT Replaced_By__r.Name FROM Product2 WHERE OMS_Id__c = 'old'")
    assert row["Replaced_By__r"]["Name"] == "New"
    (failed,) = org.results(path, "failedResults")
    assert failed["sf__Error"].startswith("INVALID_FIELD:Foreign key external ID: nowhere not found for field OMS_Id__c in entity Product2")


def test_a_polymorphic_lookup_names_its_type(org: BulkOrg) -> None:
    org.ingest("OMS_Id__c,Name\nacc,Acme\n", object_name="Account")
    _, job = org.ingest("Subject,Account:What.OMS_Id__c\nCall,acc\n", "insert", "Task")
    assert job["numberRecordsFailed"] == 0
    (row,) = org.records("SELECT What.Name, What.Type FROM Task")
    assert row["What"]["Name"] == "Acme"


def test_insert_update_delete_and_hard_delete(org: BulkOrg) -> None:
    path, _ = org.ingest("Name\nA\nB\n", "insert")
    ids = {row["Name"]: row["sf__Id"] for row in org.results(path, "successfulResults")}
    path, job = org.ingest(f"Id,ProductCode\n{ids['A']},A2\n01t000000000000AAA,X\n", "update")
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (2, 1)
    assert {row["ProductCode"] for row in org.records("SELECT ProductCode FROM Product2")} == {"A2", None}
    path, job = org.ingest(f"Id\n{ids['A']}\n", "delete")
    assert org.results(path, "successfulResults") == [{"sf__Id": ids["A"], "sf__Created": "false", "Id": ids["A"]}]
    assert [row["Name"] for row in org.records("SELECT Name FROM Product2 WHERE IsDeleted = true ALL ROWS")] == ["A"]
    org.ingest(f"Id\n{ids['B']}\n", "hardDelete")
    assert {row["Name"] for row in org.records("SELECT Name FROM Product2 ALL ROWS")} == {"A"}


@pytest.mark.parametrize(("name", "sign"), [("TAB", "\t"), ("PIPE", "|"), ("SEMICOLON", ";"), ("CARET", "^"), ("BACKQUOTE", "`")])
def test_other_delimiters_and_crlf(org: BulkOrg, name: str, sign: str) -> None:
    path, job = org.ingest(f"OMS_Id__c{sign}Name\r\na{sign}A\r\n", columnDelimiter=name, lineEnding="CRLF")
    assert (job["state"], job["columnDelimiter"], job["lineEnding"]) == ("JobComplete", name, "CRLF")
    raw = org.call("GET", f"{path}/successfulResults").body.decode()
    assert raw.startswith(f'"sf__Id"{sign}"sf__Created"{sign}OMS_Id__c{sign}Name\r\n')
    assert raw.endswith(f'{sign}"a"{sign}"A"\r\n')


def test_results_keep_no_order_but_the_same_one_each_time(org: BulkOrg) -> None:
    path, _ = org.ingest("OMS_Id__c,Name\n" + "".join(f"{n:04d},N\n" for n in range(300)))
    first = [row["OMS_Id__c"] for row in org.results(path, "successfulResults")]
    assert sorted(first) == [f"{n:04d}" for n in range(300)]
    assert first != sorted(first)
    assert first == [row["OMS_Id__c"] for row in org.results(path, "successfulResults")]


@pytest.mark.parametrize("value", ["", "plain", 'a "quoted" word', '"', '""', "a,b;c", "two\nlines", "two\r\nlines", "é \U0001f600"])
@pytest.mark.parametrize("delimiter", [",", "|", "\t"])
def test_text_is_written_as_the_csv_module_writes_it(value: str, delimiter: str) -> None:
    dialect = Dialect(delimiter, "\r\n", "CRLF")
    rows = [["1", value, "end"], [value, value, value]]
    assert dialect.encode_text(rows) == dialect.encode(rows)
    assert dialect.encode_text([]) == b""


def test_a_key_twice_in_one_chunk_is_refused_whatever_its_case(org: BulkOrg) -> None:
    path, job = org.ingest("OMS_Id__c,Name\ntwice,A\nTWICE,B\n" + "".join(f"{n:04d},N\n" for n in range(70)))
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (72, 2)
    assert {row["OMS_Id__c"] for row in org.results(path, "failedResults")} == {"twice", "TWICE"}
    assert sorted(row["OMS_Id__c"] for row in org.results(path, "successfulResults")) == [f"{n:04d}" for n in range(70)]


# Files that are refused whole ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("OMS_Id__c,Nope__c\na,b\n", "InvalidBatch : Field name not found : Nope__c"),
        ("OMS_Id__c,Nope__r.OMS_Id__c\na,b\n", "InvalidBatch : Field name not found : Nope__r.OMS_Id__c"),
        ("Name\nA\n", "InvalidBatch : Field name not found : OMS_Id__c"),
        ("OMS_Id__c,Name,name\na,A,B\n", "InvalidBatch : Field name duplicated : name"),
        ("OMS_Id__c,Name\r\na,A\r\n", "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF"),
        ("OMS_Id__c,Name\n", "InvalidBatch : Records not found"),
        ("", "InvalidBatch : Records not found"),
        ("\ufeff\"OMS_Id__c\",Name\na,A\n",
         "InvalidBatch : Failed to parse CSV. Found unescaped quote. A value with quote should be within a quote"),
        ('OMS_Id__c,Name\na,"A"x\n', "InvalidBatch : Failed to parse CSV. Found unescaped quote. A value with quote should be within a quote"),
        ("OMS_Id__c,Name\na,A,more\n", "InvalidBatch : Number of fields in record exceeds number of fields in header"),
        ("OMS_Id__c,Name\na," + "x" * (MAX_FIELD + 1) + "\n", f"InvalidBatch : Field size exceeds the limit of {MAX_FIELD} characters : Name"),
    ],
)  # fmt: skip
def test_a_bad_file_fails_its_job(org: BulkOrg, text: str, error: str) -> None:
    path, job = org.ingest(text)
    assert (job["state"], job["errorMessage"], job["numberRecordsProcessed"]) == ("Failed", error, 0)
    assert org.results(path, "successfulResults") == []
    lines = text.split("\n", 1)
    if "Field size" in error or "Field name" in error:
        assert len(org.results(path, "unprocessedrecords")) == 1
    assert org.call("GET", f"{path}/unprocessedrecords").body.decode().startswith(lines[0].rstrip("\r"))


def test_a_file_that_is_not_utf8_fails_its_job(org: BulkOrg) -> None:
    path = org.create()
    org.upload(path, b"OMS_Id__c,Name\na,\xff\n")
    org.close_job(path)
    assert org.wait(path)["errorMessage"] == "InvalidBatch : Failed to parse CSV. The file is not encoded in UTF-8"


def test_an_upload_beyond_the_limit_is_refused(org: BulkOrg, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_UPLOAD == 100 << 20
    monkeypatch.setattr("local.salesforce.bulk.endpoints.MAX_UPLOAD", 20)
    answer = org.call("PUT", f"{org.create()}/batches", b"OMS_Id__c,Name\nabcdefgh,A\n", "text/csv")
    assert error_of(answer)[:2] == (413, "REQUEST_ENTITY_TOO_LARGE")


# Requests that are refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"object": "Nope", "operation": "insert"}, "INVALIDJOB"),
        ({"object": "Product2", "operation": "explode"}, "INVALIDJOB"),
        ({"object": "Product2"}, "INVALIDJOB"),
        ({"object": "Product2", "operation": 5}, "INVALIDJOB"),
        ({"object": "Product2", "operation": "upsert"}, "INVALIDJOB"),
        ({"object": "Product2", "operation": "upsert", "externalIdFieldName": "Description"}, "INVALIDJOB"),
        ({"object": "Product2", "operation": "insert", "columnDelimiter": "DOT"}, "INVALIDJOB"),
        ({"object": "Product2", "operation": "insert", "lineEnding": "CR"}, "INVALIDJOB"),
        ({"object": "Product2", "operation": "insert", "contentType": "JSON"}, "INVALIDJOB"),
        ({"object": "RecordType", "operation": "insert"}, "INVALIDENTITY"),
    ],
)
def test_a_job_that_cannot_be_is_not_created(org: BulkOrg, wish: dict[str, object], code: str) -> None:
    status, found, message = error_of(org.call("POST", "/jobs/ingest", wish))
    assert (status, found) == (400, code)
    assert message


def test_a_job_takes_one_upload_while_it_is_open(org: BulkOrg) -> None:
    path = org.create()
    org.upload(path, "OMS_Id__c,Name\na,A\n")
    status, code, message = error_of(org.call("PUT", f"{path}/batches", b"x", "text/csv"))
    assert (status, code) == (400, "INVALIDJOBSTATE")
    assert message.startswith("Found multiple contents for job")
    org.close_job(path)
    org.wait(path)
    assert error_of(org.call("PUT", f"{path}/batches", b"x", "text/csv"))[1] == "INVALIDJOBSTATE"
    assert error_of(org.close_job(path)) == (400, "INVALIDJOBSTATE", "Closing already Completed Job not allowed")
    assert error_of(org.call("PATCH", path, {"state": "Aborted"})) == (400, "INVALIDJOBSTATE", "Aborting already Completed Job not allowed")
    assert error_of(org.call("PATCH", path, {"state": "Open"}))[1] == "INVALIDJOBSTATE"


def test_an_aborted_job_leaves_its_rows_unprocessed(org: BulkOrg) -> None:
    path = org.create()
    org.upload(path, "OMS_Id__c,Name\na,A\nb,B\n")
    answer = org.call("PATCH", path, {"state": "Aborted"})
    assert (answer.status, answer.json()["state"], list(answer.json())) == (200, "Aborted", SHORT_KEYS)
    assert [row["OMS_Id__c"] for row in org.results(path, "unprocessedrecords")] == ["a", "b"]
    assert org.results(path, "successfulResults") == []
    assert org.records("SELECT Id FROM Product2") == []


def test_results_are_there_only_at_the_end(org: BulkOrg) -> None:
    assert error_of(org.call("GET", f"{org.create()}/failedResults"))[:2] == (400, "INVALIDJOBSTATE")


def test_jobs_are_listed_newest_first_and_deleted_when_they_are_over(org: BulkOrg) -> None:
    first, second = org.create(), org.create()
    assert error_of(org.call("DELETE", first))[:2] == (400, "INVALIDJOBSTATE")
    listed = org.call("GET", "/jobs/ingest").json()
    assert (listed["done"], listed["nextRecordsUrl"]) == (True, None)
    assert [f"/jobs/ingest/{job['id']}" for job in listed["records"]] == [second, first]
    org.call("PATCH", first, {"state": "Aborted"})
    assert org.call("DELETE", first).status == 204
    assert error_of(org.call("GET", first)) == (404, "NOT_FOUND", "The requested resource does not exist")


def test_a_job_can_be_found_by_its_short_id_and_not_by_a_strange_one(org: BulkOrg) -> None:
    path = org.create()
    assert org.call("GET", path[:-3]).json()["id"] == path.rsplit("/", 1)[1]
    assert org.call("GET", "/jobs/ingest/nothing").status == 404


def test_a_multipart_request_creates_a_job_with_its_data(org: BulkOrg) -> None:
    body = (
        b'--B\r\nContent-Type: application/json\r\nContent-Disposition: form-data; name="job"\r\n\r\n'
        b'{"object":"Product2","operation":"upsert","externalIdFieldName":"OMS_Id__c","contentType":"CSV","lineEnding":"LF"}\r\n'
        b'--B\r\nContent-Type: text/csv\r\nContent-Disposition: form-data; name="content"; filename="content"\r\n\r\n'
        b'OMS_Id__c,Name\nm,"M\n1"\n\r\n--B--\r\n'
    )
    answer = org.call("POST", "/jobs/ingest", body, "multipart/form-data; boundary=B")
    assert (answer.status, answer.json()["state"]) == (200, "UploadComplete")
    assert org.wait(f"/jobs/ingest/{answer.json()['id']}")["numberRecordsProcessed"] == 1
    assert org.records("SELECT Name FROM Product2 WHERE OMS_Id__c = 'm'")[0]["Name"] == "M\n1"
    for broken in (b"", b"--B--", b'--B\r\nContent-Disposition: form-data; name="job"\r\n\r\n[]\r\n--B--\r\n'):
        assert org.call("POST", "/jobs/ingest", broken, "multipart/form-data; boundary=B").status == 400


# Limits and restarts ------------------------------------------------------------------------------------------------


def test_batches_beyond_the_daily_allocation_are_in_no_result(org: BulkOrg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "BATCH", 10)
    monkeypatch.setattr(ingest, "CHUNK", 5)
    org.state.limits.set("DailyBulkApiBatches", maximum=2)
    path, job = org.ingest("OMS_Id__c,Name\n" + "".join(f"{n},N\n" for n in range(35)))
    assert (job["state"], job["errorMessage"]) == ("Failed", "ExceededQuota : ApiBatchItems Limit exceeded.")
    assert job["numberRecordsProcessed"] == 20
    assert len(org.results(path, "successfulResults")) == 20
    assert org.results(path, "unprocessedrecords") == []


def test_locked_rows_fail_alone(org: BulkOrg) -> None:
    org.state.faults.add({"kind": "lock", "pattern": "Product2", "times": 1})
    path, job = org.ingest("OMS_Id__c,Name\na,A\nb,B\n")
    assert (job["state"], job["numberRecordsFailed"]) == ("JobComplete", 1)
    assert org.results(path, "failedResults")[0]["sf__Error"].startswith("UNABLE_TO_LOCK_ROW:")
    assert len(org.results(path, "successfulResults")) == 1


def test_a_chunk_that_breaks_leaves_results_that_add_up(org: BulkOrg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "CHUNK", 10)
    saved = ingest.Ingest._sorted

    def breaking(self: ingest.Ingest, rows: list[list[str]], *rest: object) -> object:
        if rows[0][0] == "20":
            with self.files.success.open("ab") as file:
                file.write(b"never committed")
            raise RuntimeError("something nobody thought of")
        return saved(self, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest.Ingest, "_sorted", breaking)
    path, job = org.ingest("OMS_Id__c,Name\n" + "".join(f"{n},N\n" for n in range(35)))
    assert (job["state"], job["numberRecordsProcessed"]) == ("Failed", 20)
    assert sorted(int(row["OMS_Id__c"]) for row in org.results(path, "successfulResults")) == list(range(20))
    assert [int(row["OMS_Id__c"]) for row in org.results(path, "unprocessedrecords")] == list(range(20, 35))
    assert len(org.records("SELECT Id FROM Product2")) == 20
    assert org.ingest("OMS_Id__c,Name\nnext,N\n")[1]["state"] == "JobComplete"


def test_a_restart_resumes_a_job_with_no_row_lost_or_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies after a chunk was filed but before it was committed, the worst moment there is."""
    monkeypatch.setattr(ingest, "CHUNK", 10)
    org = BulkOrg(tmp_path)
    saved = ingest.Ingest._sorted
    chunks = 0

    class Died(BaseException):
        """The process's end, from the worker's point of view."""

    def dying(self: ingest.Ingest, *args: object) -> object:
        nonlocal chunks
        chunks += 1
        answer = saved(self, *args)  # type: ignore[arg-type]
        if chunks == 3:
            with self.files.success.open("ab") as file:
                file.write(b'"half a row')
            raise Died
        return answer

    monkeypatch.setattr(ingest.Ingest, "_sorted", dying)
    monkeypatch.setattr("threading.excepthook", lambda args: None)
    path = org.create("insert")
    org.upload(path, "Name\n" + "".join(f"n{n:02d}\n" for n in range(45)))
    org.close_job(path)
    thread = org.state.on_close  # the worker's thread ends by itself
    assert thread
    _until(lambda: chunks == 3)
    assert org.call("GET", path).json()["numberRecordsProcessed"] == 20
    org.close()
    again = BulkOrg(tmp_path)
    try:
        job = again.wait(path)
        assert (job["state"], job["numberRecordsProcessed"]) == ("JobComplete", 45)
        names = [f"n{n:02d}" for n in range(45)]
        assert sorted(row["Name"] for row in again.results(path, "successfulResults")) == names
        assert sorted(str(row["Name"]) for row in again.records("SELECT Name FROM Product2")) == names
    finally:
        again.close()


def _until(true: object) -> None:
    import time

    deadline = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_old_jobs_are_forgotten(tmp_path: Path) -> None:
    org = BulkOrg(tmp_path)
    path, _ = org.ingest("OMS_Id__c,Name\na,A\n")
    with org.state.store.write() as tx:
        tx.connection.execute("UPDATE _bulk_jobs SET created_at = '2020-01-01T00:00:00.000Z'")
    org.close()
    again = BulkOrg(tmp_path)
    try:
        assert again.call("GET", path).status == 404
        assert not list((tmp_path / "bulk").iterdir())
    finally:
        again.close()


def test_a_job_made_with_another_version_says_so(org: BulkOrg) -> None:
    answer = org.call("POST", "/jobs/ingest", {"object": "Product2", "operation": "insert"}, version="60.0")
    assert answer.json()["apiVersion"] == 60.0
    assert str(answer.json()["contentUrl"]).startswith("services/data/v60.0/")
