"""Every recorded pair of an endpoint the simulator claims, replayed. Bulk API pairs: test_bulk_cases.py."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from salesforce_sim_harness import CASES, VERSION, Case, Comparison, by_url, case, claimed, clear, of_endpoint, own_fields, put, put_shown

from local.salesforce.dml_types import Stored
from local.salesforce.ids import make_id
from local.salesforce.testing import DATA, TestOrg

ADMIN = "admin@omsync.example"


def replay(org: TestOrg, one: Case, **changes: Any) -> None:
    """Send the pair's request and compare."""
    Comparison(one).check(one.send(org, **changes))


# -- queries -----------------------------------------------------------------------------------------------------------

NOT_PLAIN = ("cci-001-query", "amp-query-unknown-object", "restforce-query-aggregate", "amp-query-leads-page")


#: what the WHERE implies of records whose answer doesn't show it
ALSO: dict[str, dict[str, Stored]] = {"cci-004-query": {"SobjectType": "Account"}, "cci-068-query": {"AccountNumber": "420"}}


@pytest.mark.parametrize("one", of_endpoint("query", without=NOT_PLAIN))
def test_query(org: TestOrg, one: Case) -> None:
    records = one.body["records"]
    put_shown(org, records, ALSO.get(one.id, {}))
    changes: dict[str, Any] = {}
    if one.tier == "captured-body":  # the request is a unit test's stand-in: ask for what the answer shows
        fields = ", ".join(name for name in records[0] if name != "attributes")
        changes["params"] = {"q": f"SELECT {fields} FROM {records[0]['attributes']['type']}"}
    answer = one.send(org, **changes)
    ours = answer.json()
    if isinstance(ours, dict):  # no order was asked for
        records.sort(key=by_url)
        ours["records"].sort(key=by_url)
        answer.body = json.dumps(ours).encode()
    Comparison(one).check(answer)


def test_query_count_of_a_field(org: TestOrg) -> None:
    one = case("cci-001-query")
    for number in range(one.body["records"][0]["expr0"]):
        org.create("Account", Name=f"Account {number}")
    replay(org, one)


def test_query_aggregate_without_alias(org: TestOrg) -> None:
    one = case("restforce-query-aggregate")
    first = 0
    for record in one.body["records"]:
        count = int(record["expr0"])
        put(org, "Opportunity", *({"Id": make_id("006", first + n), "CampaignId": record["CampaignId"]} for n in range(count)))
        first += count
    soql = "SELECT CampaignId, COUNT(Id) FROM Opportunity GROUP BY CampaignId ORDER BY CampaignId NULLS LAST"
    answer = one.send(org, params={"q": soql})
    one.body["records"].sort(key=lambda record: (record["CampaignId"] is None, record["CampaignId"]))
    Comparison(one).check(answer)


def test_query_unknown_object(org: TestOrg) -> None:
    replay(org, case("amp-query-unknown-object"))


def test_query_leads(org: TestOrg) -> None:
    one = case("amp-query-leads-page")
    put_shown(org, one.body["records"])
    answer = one.send(org, params={"q": "SELECT Address, City, CleanStatus, FirstName FROM Lead ORDER BY Id"})
    one.body["records"].sort(key=by_url)
    Comparison(one).check(answer)


def test_query_next_page(org: TestOrg) -> None:
    one = case("sffx-query-with-next-records-url-2")
    total = one.body["totalSize"]
    put(org, "random__c", *({"Id": f"a07Om000000{n:05d}AAA"[:18], "RANDOM_1__c": None, "RANDOM_2__c": None} for n in range(total)))
    first = org.get("/services/data/v53.0/query", params={"q": "SELECT RANDOM_1__c, RANDOM_2__c FROM random__c"}).json()
    assert first["nextRecordsUrl"].endswith("-2000")
    answer = one.send(org, path=first["nextRecordsUrl"])
    Comparison(one).check(answer)


# -- single records ----------------------------------------------------------------------------------------------------

BODIES: dict[str, Any] = {
    "amp-create-ok": {"Name": "Acme"},
    "issue-duplicate-value": {"LastName": "Twin", "B2C_Customer_ID__c": "1"},
}


@pytest.mark.parametrize("one", of_endpoint("sobject_create"))
def test_create(org: TestOrg, one: Case) -> None:
    if one.id == "issue-duplicate-value":
        put(org, "Contact", {"Id": "0035400000hDwBhAAK", "LastName": "Twin", "B2C_Customer_ID__c": "1"})
    replay(org, one, **({"body": BODIES[one.id]} if one.id in BODIES else {}))


@pytest.mark.parametrize("one", of_endpoint("sobject_update"))
def test_update(org: TestOrg, one: Case) -> None:
    record_id = one.path.rpartition("/")[2]
    if one.id == "amp-update-readonly-field":
        account = org.create("Account", Name="Acme")
        replay(org, one, path=one.path.replace("ID", account), method="POST", body={"MasterRecordId": account})
        return
    body = dict(one.request["body"])
    if "OwnerId" in body:
        put(org, "User", {"Id": "005M0000007whduIAA", "Username": "owner@omsync.example", "LastName": "Owner", "IsActive": 1})
    put(org, one.path.split("/")[5], {"Id": record_id, "Name": "a"})
    replay(org, one, body=body)


@pytest.mark.parametrize("one", of_endpoint("sobject_delete"))
def test_delete(org: TestOrg, one: Case) -> None:
    record_id = one.path.rpartition("/")[2]
    put(org, one.path.split("/")[5], {"Id": record_id, "Name": "a", "IsDeleted": int("already-deleted" in one.id)})
    replay(org, one)


@pytest.mark.parametrize("one", of_endpoint("sobject_get"))
def test_get(org: TestOrg, one: Case) -> None:
    if one.status == 200:
        obj = org.server.state.org.objects[one.body["attributes"]["type"]]
        row = {name: value for name, value in one.body.items() if name in obj.columns}
        stamped = {name: str(row[name])[:-5] + "Z" for name in row if obj.fields[name].kind == "DateTime" and row[name]}
        address = {part[0].upper() + part[1:]: value for part, value in one.body["Address"].items()}
        clear(org, obj.name)
        put(org, obj.name, row | stamped | address)
    replay(org, one)


@pytest.mark.parametrize("one", of_endpoint("sobject_upsert"))
def test_upsert(org: TestOrg, one: Case) -> None:
    obj, key, value = one.path.split("/")[5:8]
    name = "Name"
    if one.status in {200, 204}:
        put(org, obj, {"Id": "a06Om0000000001AAA" if obj == "UpsertTable__c" else "001Om0000000009AAA", name: "x", key: value})
    if one.status == 300:
        put(org, obj, *({"Id": f"001Om000000000{n}AAA", name: "x", key: value} for n in (1, 2)))
    replay(org, one)


@pytest.mark.parametrize("one", of_endpoint("sobject_updated", "sobject_deleted"))
def test_change_feeds(org: TestOrg, one: Case) -> None:
    shown = one.body.get("ids") or [item["id"] for item in one.body["deletedRecords"]]
    now = org.server.state.store.clock()
    ids = [org.create("Whizbang", Name=f"w{number}") for number in range(len(shown))]
    if one.endpoint == "sobject_deleted":
        for record_id in ids:
            org.delete(f"sobjects/Whizbang/{record_id}")
    org.server.state.store.clock = lambda: now + timedelta(minutes=3)
    span = {"start": (now - timedelta(minutes=5)).isoformat(), "end": (now + timedelta(minutes=3)).isoformat()}
    replay(org, one, params=span)


# -- describe and the roots --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", of_endpoint("describe"))
def test_describe(org: TestOrg, one: Case) -> None:
    answer = one.send(org)
    ours = answer.json()
    if isinstance(ours, dict):  # by name, as far as both orgs have a field or a relationship
        recorded = {f["name"]: f for f in one.body["fields"]}
        both = own_fields(ours["name"]) & set(recorded)
        one.body["fields"] = {name: recorded[name] for name in recorded if name in both}
        ours["fields"] = {f["name"]: f for f in ours["fields"] if f["name"] in both}
        for whole in (one.body, ours):
            whole["childRelationships"] = {f"{c['childSObject']}.{c['field']}": c for c in whole["childRelationships"]}
        both = set(one.body["childRelationships"]) & set(ours["childRelationships"])
        for whole in (one.body, ours):
            whole["childRelationships"] = {name: c for name, c in whole["childRelationships"].items() if name in both}
        answer.body = json.dumps(ours).encode()
    Comparison(one).check(answer)


def test_versions(org: TestOrg) -> None:
    one = case("restforce-versions")
    answer = one.send(org, token="")
    known = {entry["version"]: entry for entry in answer.json()}
    assert known["20.0"] == one.body[0]
    assert answer.headers["content-type"] == one.response["headers"]["Content-Type"]


def test_resources(org: TestOrg) -> None:
    one = case("camel-getRestResources")
    answer = one.send(org)
    assert answer.status == one.status
    ours = answer.json()
    assert {name: ours.get(name) for name in one.body} == one.body


@pytest.mark.parametrize("one", of_endpoint("limits_recordCount"))
def test_record_count(org: TestOrg, one: Case) -> None:
    replay(org, one)


def test_exhausted_limit(org: TestOrg) -> None:
    org.admin("POST", "limits", {"maximum": 1, "used": 1})
    replay(org, case("issue-request-limit-403"))


def test_expired_session(org: TestOrg) -> None:
    answer = case("restforce-session-expired").send(org, token="00D!expired")
    Comparison(case("restforce-session-expired")).check(answer)
    assert answer.headers["www-authenticate"] == "Token"
    assert "sforce-limit-info" not in answer.headers


def test_malformed_search(org: TestOrg) -> None:
    replay(org, case("restforce-search-malformed"))


# -- OAuth -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", of_endpoint("oauth_token"))
def test_oauth(org: TestOrg, one: Case, rsa_pair: tuple[str, str]) -> None:
    private, public = rsa_pair
    allowed = [] if one.id == "issue-jwt-not-approved" else [ADMIN]
    org.admin("POST", "keys", {"client_id": "CK", "public_key": public, "users": allowed})
    claims = {"iss": "CK", "sub": ADMIN, "aud": "https://login.salesforce.com", "exp": int(time.time()) + 180}
    if one.id == "issue-jwt-bad-audience":
        claims["aud"] = "https://elsewhere.example"
    assertion = jwt.encode(claims, private, algorithm="RS256")
    if one.id == "issue-jwt-invalid-assertion":
        assertion = assertion[:-8] + "AAAAAAAA"
    form = str(one.request["body"]).replace("<JWT>", assertion).replace(":", "%3A")
    if one.id == "restforce-oauth-success":  # shown for the password flow, which an org of today refuses
        org.admin("POST", "keys", {"client_id": "CC", "client_secret": "s", "run_as": ADMIN})
        form = "grant_type=client_credentials&client_id=CC&client_secret=s"
    replay(org, one, content=form.encode(), token="", headers={"Content-Type": "application/x-www-form-urlencoded"})


# -- Collections -------------------------------------------------------------------------------------------------------

COLLECTIONS: dict[str, Any] = {
    "amp-collections-create-allornone-partial": [{"FirstName": "No name"}, {"LastName": "Fine"}],
    "amp-collections-update-allornone-partial": [
        {"Id": "003ak00000luKU1AAM", "LastName": "Fine"},
        {"Id": "003ak00000luKU2AAM", "unknownField_LastName": "x"},
    ],
}


@pytest.mark.parametrize("one", of_endpoint("collections_create", "collections_update"))
def test_collections(org: TestOrg, one: Case) -> None:
    changes: dict[str, Any] = {}
    if one.id in COLLECTIONS:
        records = [{"attributes": {"type": "Contact"}, **record} for record in COLLECTIONS[one.id]]
        changes["body"] = {"allOrNone": True, "records": records}
    for record in (changes.get("body") or one.request["body"])["records"]:
        kind = record["attributes"]["type"]
        if record.get("Id"):
            put(org, kind, {"Id": record["Id"], "Name": "x", "LastName": "x"})
        if record.get("AccountId"):
            put(org, "Account", {"Id": record["AccountId"], "Name": "x"})
    if "DUPLICATES_DETECTED" in json.dumps(one.body):
        org.admin("POST", "faults", {"kind": "duplicate", "pattern": "^Account$"})
    replay(org, one, **changes)


@pytest.mark.parametrize("one", of_endpoint("collections_upsert"))
def test_collections_upsert(org: TestOrg, one: Case) -> None:
    kind, key = one.path.split("/")[6:8]
    for record, result in zip(one.request["body"]["records"], one.body, strict=True):
        if not result["created"]:
            put(org, kind, {"Id": result["id"], "LastName": "x", key: result["id"] if key == "Id" else record[key]})
    replay(org, one)


# -- Composite ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", of_endpoint("composite"))
def test_composite(org: TestOrg, one: Case) -> None:
    changes: dict[str, Any] = {}
    if one.id == "cci-145-composite":
        put(org, "Account", {"Id": one.body["compositeResponse"][0]["body"]["records"][0]["Id"], "Name": "Smith Corp."})
    if one.id == "cci-151-composite":
        for number in range(one.body["compositeResponse"][0]["body"]["totalSize"]):
            org.create("Account", Name=f"Account {number}")
    if one.id == "cci-153-composite":  # the recorded body is cut wrongly: `]}` too early
        changes["content"] = one.request["body"].replace("]}, {", ", {").encode()
        changes["headers"] = {"Content-Type": "application/json"}
    replay(org, one, **changes)


@pytest.mark.parametrize("one", of_endpoint("composite_graph"))
def test_graph(org: TestOrg, one: Case) -> None:
    body = one.request["body"]
    if one.id == "sffx-composite-graph-single-delete":
        put(org, "Movie__c", {"Id": body["graphs"][0]["compositeRequest"][0]["url"].rpartition("/")[2], "Name": "x"})
    if one.id == "applink-composite-graph-multiple-errors":  # sharing is not simulated: the contact fails for want of a name
        body["graphs"][0]["compositeRequest"][1]["body"] = {}
    replay(org, one, body=body)


def test_version_of_hidden_recordings_is_one_the_org_speaks(org: TestOrg) -> None:
    assert org.get(DATA.replace("v67.0", VERSION)).status == 200


def test_every_pair_of_a_claimed_endpoint_is_replayed() -> None:
    """A pair is replayed by its endpoint's test, or by one that names it."""
    if not CASES.is_dir():
        pytest.skip(f"no recorded cases: {CASES} is missing")
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    endpoints = {word for found in re.findall(r"of_endpoint\(([^)]*)\)", tests) for word in re.findall(r'"(\w+)"', found)}
    missing = [one.id for one in claimed() if one.endpoint not in endpoints and f'"{one.id}"' not in tests]
    assert missing == []
