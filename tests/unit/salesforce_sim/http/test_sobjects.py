"""Single records over HTTP, in Salesforce's words."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from local.salesforce.testing import DATA
from local.salesforce.testing import TestOrg as Org

MISSING = [{"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}]
DELETED = [{"message": "entity is deleted", "errorCode": "ENTITY_IS_DELETED", "fields": []}]


def test_a_created_record_is_answered_with_its_location_and_can_be_read(org: Org) -> None:
    created = org.post("sobjects/Account", {"Name": "Acme", "NumberOfEmployees": 12, "AnnualRevenue": 5})
    record_id = created.json()["id"]
    assert created.status == 201
    assert created.json() == {"id": record_id, "success": True, "errors": []}
    assert created.headers["location"] == f"{DATA}/sobjects/Account/{record_id}"
    read = org.get(f"sobjects/account/{record_id}", params={"fields": "name,NumberOfEmployees,AnnualRevenue,BillingAddress"})
    assert read.json() == {
        "attributes": {"type": "Account", "url": f"{DATA}/sobjects/Account/{record_id}"},
        "Name": "Acme",
        "NumberOfEmployees": 12,
        "AnnualRevenue": 5.0,
        "BillingAddress": None,
    }


def test_the_whole_record_has_every_field_of_describe_and_its_moments_in_salesforces_form(org: Org) -> None:
    record = org.get(f"sobjects/Account/{org.create('Account', Name='Acme', BillingCity='Ulm')}").json()
    described = {field["name"] for field in org.get("sobjects/Account/describe").json()["fields"]}
    assert set(record) == described | {"attributes"}
    assert record["CreatedDate"].endswith("+0000")
    assert record["BillingAddress"]["city"] == "Ulm"
    assert record["IsDeleted"] is False


def test_update_answers_204_without_content_type(org: Org) -> None:
    record_id = org.create("Account", Name="Acme")
    answer = org.patch(f"sobjects/Account/{record_id}", {"Name": "Z"})
    assert (answer.status, answer.body) == (204, b"")
    assert "content-type" not in answer.headers
    assert org.get(f"sobjects/Account/{record_id}").json()["Name"] == "Z"


def test_a_post_may_ask_for_patch(org: Org) -> None:
    record_id = org.create("Account", Name="Acme")
    answer = org.post(f"sobjects/Account/{record_id}?_HttpMethod=PATCH", {"Name": "Z"})
    assert answer.status == 204
    assert org.get(f"sobjects/Account/{record_id}").json()["Name"] == "Z"


def test_deleting_twice_is_refused(org: Org) -> None:
    record_id = org.create("Account", Name="Acme")
    assert org.delete(f"sobjects/Account/{record_id}").status == 204
    again = org.delete(f"sobjects/Account/{record_id}")
    assert (again.status, again.json()) == (404, DELETED)
    assert org.get(f"sobjects/Account/{record_id}").json() == DELETED


@pytest.mark.parametrize(
    "path", ["sobjects/Nope", "sobjects/Nope/describe", "nope", "/services/data/v99.0/sobjects", "/services/data/vX/limits"]
)
def test_what_does_not_exist_is_404(org: Org, path: str) -> None:
    answer = org.get(path)
    assert (answer.status, answer.json()) == (404, MISSING)


@pytest.mark.parametrize("path", ["/services/data//v67.0/limits", f"{DATA}//limits", f"{DATA}/limits//"])
def test_a_doubled_slash_is_404(org: Org, path: str) -> None:
    assert org.get(path).status == 404


@pytest.mark.parametrize("path", ["limits/", "sobjects/", "SOBJECTS/ACCOUNT/describe/", "Limits"])
def test_trailing_slashes_and_any_case_of_nouns_are_accepted(org: Org, path: str) -> None:
    assert org.get(path).status == 200


def test_a_wrong_checksum_is_a_malformed_id(org: Org) -> None:
    record_id = org.create("Account", Name="Acme")
    wrong = record_id[:-1] + ("B" if record_id[-1] == "A" else "A")
    expected = [{"message": f"Record ID: id value of incorrect type: {wrong}", "errorCode": "MALFORMED_ID", "fields": ["Id"]}]
    answer = org.patch(f"sobjects/Account/{wrong}", {"Name": "x"})
    assert (answer.status, answer.json()) == (400, expected)


def test_an_unknown_field_wins_over_a_bad_id_and_has_no_fields_key(org: Org) -> None:
    answer = org.patch("sobjects/Account/001Om0000000002XXX", {"Nope__c": 1})
    assert answer.json() == [{"message": "No such column 'Nope__c' on sobject of type Account", "errorCode": "INVALID_FIELD"}]


def test_the_method_that_a_resource_lacks_is_405_with_what_it_has(org: Org) -> None:
    answer = org.call("PUT", "sobjects/Account")
    assert answer.status == 405
    assert answer.json()[0]["errorCode"] == "METHOD_NOT_ALLOWED"
    assert "GET" in answer.json()[0]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"Name": NaN}', b"\xff", b"[1]", b'"text"', b"[" * 200_000])
def test_a_body_that_is_no_json_object_is_a_parser_error(org: Org, body: bytes) -> None:
    answer = org.call("POST", "sobjects/Account", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR")


def test_a_compressed_body_and_a_chunked_one_are_read(org: Org) -> None:
    packed = gzip.compress(json.dumps({"Name": "Packed"}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert org.call("POST", "sobjects/Account", content=packed, headers=headers).status == 201
    pieces = iter([b'{"Na', b'me": "Chunked"}'])
    assert org.call("POST", "sobjects/Account", content=pieces, headers={"Content-Type": "application/json"}).status == 201


def test_a_large_answer_is_compressed_for_who_takes_it(org: Org) -> None:
    assert org.get("sobjects/Account/describe", headers={"Accept-Encoding": "gzip, deflate"}).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in org.get("sobjects/Account/describe").headers


# -- upsert by external id ---------------------------------------------------------------------------------------------


def test_upsert_creates_then_updates_and_says_which(org: Org) -> None:
    created = org.patch("sobjects/Account/OMS_Id__c/p-1", {"Name": "Pill"})
    assert created.status == 201
    assert created.json() == {"id": created.json()["id"], "success": True, "errors": [], "created": True}
    assert created.headers["location"].endswith(created.json()["id"])
    updated = org.patch("sobjects/Account/OMS_Id__c/p-1", {"Name": "Pills"})
    assert (updated.status, updated.json()) == (200, created.json() | {"created": False})
    assert org.get("sobjects/Account/OMS_Id__c/p-1").json()["Name"] == "Pills"


def test_before_version_46_an_upsert_says_less(org: Org) -> None:
    path = "/services/data/v45.0/sobjects/Account/OMS_Id__c/p-1"
    created = org.patch(path, {"Name": "Pill"})
    assert (created.status, set(created.json())) == (201, {"id", "success", "errors"})
    updated = org.patch(path, {"Name": "Pills"})
    assert (updated.status, updated.body) == (204, b"")


def test_several_records_with_one_key_are_answered_with_300_and_their_addresses(org: Org) -> None:
    ids = {org.create("Contact", LastName=name, Email="twin@example.com") for name in ("A", "B")}
    answer = org.patch("sobjects/Contact/Email/twin@example.com", {"LastName": "C"})
    assert answer.status == 300
    assert set(answer.json()) == {f"{DATA}/sobjects/Contact/{record_id}" for record_id in ids}


def test_an_external_id_may_hold_anything_a_path_can_escape(org: Org) -> None:
    assert org.patch("sobjects/Account/OMS_Id__c/a%2Fb%20c%3F", {"Name": "Odd"}).status == 201
    assert org.get("sobjects/Account/OMS_Id__c/a%2Fb%20c%3F").json()["OMS_Id__c"] == "a/b c?"


def test_update_only_creates_nothing(org: Org) -> None:
    assert org.patch("sobjects/Account/OMS_Id__c/p-9?updateOnly=true", {"Name": "Pill"}).json() == MISSING


def test_the_key_may_not_stand_in_the_body(org: Org) -> None:
    answer = org.patch("sobjects/Account/OMS_Id__c/p-1", {"Name": "Pill", "oms_id__c": "p-1"})
    message = "The OMS_Id__c field should not be specified in the sobject data."
    assert answer.json() == [{"message": message, "errorCode": "INVALID_FIELD"}]


def test_a_field_that_is_no_external_id_is_not_there(org: Org) -> None:
    answer = org.patch("sobjects/Account/Site/x", {"Name": "x"})
    message = "Provided external ID field does not exist or is not accessible: Site"
    assert (answer.status, answer.json()) == (404, [{"message": message, "errorCode": "NOT_FOUND"}])


# -- conditional requests ----------------------------------------------------------------------------------------------


def test_an_unchanged_record_is_not_sent_again(org: Org) -> None:
    path = f"sobjects/Account/{org.create('Account', Name='Acme')}"
    first = org.get(path)
    assert org.get(path, headers={"If-None-Match": first.headers["etag"]}).status == 304
    since = org.get(path, headers={"If-Modified-Since": first.headers["last-modified"]})
    assert (since.status, since.body, since.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (
        org.get(
            "sobjects/Account/describe", headers={"If-Modified-Since": org.get("sobjects/Account/describe").headers["last-modified"]}
        ).status
        == 304
    )


def test_a_record_changed_since_is_not_overwritten(org: Org) -> None:
    path = f"sobjects/Account/{org.create('Account', Name='Acme')}"
    before = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    assert org.patch(path, {"Name": "Lost"}, headers={"If-Unmodified-Since": before}).status == 412
    assert org.get(path).json()["Name"] == "Acme"
    after = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert org.patch(path, {"Name": "Kept"}, headers={"If-Unmodified-Since": after}).status == 204


# -- change feeds ------------------------------------------------------------------------------------------------------


def window(minutes: int = 5) -> dict[str, str]:
    now = datetime.now(UTC)
    return {"start": (now - timedelta(minutes=minutes)).isoformat(), "end": (now + timedelta(minutes=1)).isoformat()}


def test_updated_and_deleted_name_records_once_their_minute_is_over(org: Org) -> None:
    kept, gone = org.create("Account", Name="Kept"), org.create("Account", Name="Gone")
    org.delete(f"sobjects/Account/{gone}")
    org.server.state.store.clock = lambda: datetime.now(UTC) + timedelta(minutes=2)
    span = {"start": (datetime.now(UTC) - timedelta(minutes=5)).isoformat(), "end": (datetime.now(UTC) + timedelta(minutes=2)).isoformat()}
    updated, deleted = org.get("sobjects/Account/updated/", params=span).json(), org.get("sobjects/Account/deleted/", params=span).json()
    assert kept in updated["ids"]
    assert gone not in updated["ids"]
    assert [item["id"] for item in deleted["deletedRecords"]] == [gone]
    assert set(deleted) == {"deletedRecords", "earliestDateAvailable", "latestDateCovered"}
    assert deleted["latestDateCovered"].endswith(":00.000+0000")


@pytest.mark.parametrize(
    ("span", "code"),
    [
        ({}, "MISSING_ARGUMENT"),
        ({"start": "yesterday", "end": "today"}, "INVALID_FIELD"),
        ({"start": "2001-01-01T00:00:00Z", "end": "2001-01-02T00:00:00Z"}, "INVALID_REPLICATION_DATE"),
    ],
)
def test_a_window_that_cannot_be_served_is_refused(org: Org, span: dict[str, str], code: str) -> None:
    answer = org.get("sobjects/Account/deleted", params=span)
    assert (answer.status, answer.json()[0]["errorCode"]) == (400, code)


def test_record_counts_and_resources(org: Org) -> None:
    org.create("Account", Name="Acme")
    assert org.get("limits/recordCount?sObjects=Account,Nope").json() == {"sObjects": [{"count": 2, "name": "Account"}]}
    resources = org.get("/services/data/v67.0").json()
    assert resources["query"] == "/services/data/v67.0/query"
    assert "/id/" in resources["identity"]
    assert org.get("/services/data", token="").json()[-1] == {"label": "Summer '26", "url": "/services/data/v67.0", "version": "67.0"}
