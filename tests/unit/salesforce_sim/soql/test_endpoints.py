"""The query resources over HTTP: pages, options, explain, columns, errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.salesforce.schema_source import load_org
from local.salesforce.testing import TestOrg, open_org

METADATA = Path(__file__).parents[4] / "salesforce"


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestOrg]:
    with open_org(tmp_path_factory.mktemp("org"), [], org=load_org(METADATA)) as opened:
        records = [{"attributes": {"type": "Product2"}, "Name": f"P{n:03d}"} for n in range(450)]
        for start in range(0, 450, 200):
            assert opened.post("composite/sobjects", {"records": records[start : start + 200]}).status == 200
        yield opened


def test_pages_are_as_large_as_asked(org: TestOrg) -> None:
    headers = {"Sforce-Query-Options": "batchSize=200"}
    first = org.get("query/", params={"q": "SELECT Name FROM Product2 ORDER BY Name"}, headers=headers).json()
    assert (first["totalSize"], first["done"], len(first["records"])) == (450, False, 200)
    second = org.get(first["nextRecordsUrl"]).json()
    third = org.get(second["nextRecordsUrl"]).json()
    assert (third["totalSize"], third["done"], "nextRecordsUrl" in third) == (450, True, False)
    names = [record["Name"] for page in (first, second, third) for record in page["records"]]
    assert names == [f"P{n:03d}" for n in range(450)]


def test_a_batch_size_is_brought_within_its_bounds(org: TestOrg) -> None:
    answer = org.get("query", params={"q": "SELECT Name FROM Product2"}, headers={"Sforce-Query-Options": "batchSize=1"})
    assert len(answer.json()["records"]) == 200


def test_a_locator_belongs_to_its_user(org: TestOrg) -> None:
    headers = {"Sforce-Query-Options": "batchSize=200"}
    first = org.get("query", params={"q": "SELECT Name FROM Product2"}, headers=headers).json()
    answer = org.get(first["nextRecordsUrl"], token=org.login_as("integration"))
    assert (answer.status, answer.json()) == (400, [{"message": "invalid query locator", "errorCode": "INVALID_QUERY_LOCATOR"}])


def test_errors_have_code_and_message_alone(org: TestOrg) -> None:
    answer = org.get("query", params={"q": "SELEKT"})
    assert (answer.status, answer.json()) == (400, [{"message": "unexpected token: SELEKT", "errorCode": "MALFORMED_QUERY"}])
    assert org.get("query").json()[0]["errorCode"] == "MALFORMED_QUERY"


def test_explain_says_whether_an_index_leads(org: TestOrg) -> None:
    soql = "SELECT Id FROM Product2 WHERE OMS_Id__c = 'x'"
    body = org.get("query", params={"explain": soql}).json()
    assert (body["sourceQuery"], body["plans"][0]["leadingOperationType"], body["plans"][0]["cardinality"]) == (soql, "Index", 450)
    body = org.get("query", params={"explain": "SELECT Id FROM Product2 WHERE Family = 'x'"}).json()
    assert body["plans"][0]["leadingOperationType"] == "TableScan"


def test_columns_describe_a_query(org: TestOrg) -> None:
    def columns(soql: str) -> dict[str, object]:
        return dict(org.get("query", params={"q": soql, "columns": "true"}).json())

    body = columns("SELECT Id, IsActive, Replaced_By__r.Name, (SELECT Id FROM PricebookEntries) FROM Product2")
    assert (body["entityName"], body["keyPrefix"], body["idSelected"], body["groupBy"]) == ("Product2", "01t", True, False)
    found = {c["columnName"]: c for c in body["columnMetadata"]}  # type: ignore[attr-defined]
    assert list(found) == ["Id", "IsActive", "Replaced_By__r.Name", "PricebookEntries"]
    assert (found["Id"]["apexType"], found["IsActive"]["booleanType"]) == ("Id", True)
    assert [c["columnName"] for c in found["PricebookEntries"]["joinColumns"]] == ["Id"]
    body = columns("SELECT Family, COUNT(Id) FROM Product2 GROUP BY Family")
    assert [(c["displayName"], c["aggregate"]) for c in body["columnMetadata"]] == [("Family", False), ("COUNT(Id)", True)]  # type: ignore[attr-defined]


def test_a_person_queries_what_their_permissions_show(org: TestOrg) -> None:
    token = org.login_as("coordinator")
    assert org.get("query", params={"q": "SELECT Id, Name FROM User"}, token=token).status == 200
    hidden = org.get("query", params={"q": "SELECT Sync_Stamps__c FROM Account"}, token=token)
    assert (hidden.status, hidden.json()[0]["errorCode"]) == (400, "INVALID_FIELD")
    assert "No such column 'Sync_Stamps__c' on entity 'Account'" in hidden.json()[0]["message"]
