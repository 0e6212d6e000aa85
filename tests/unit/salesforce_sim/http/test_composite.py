"""Collections, Composite, batch, tree and graph."""

from __future__ import annotations

import pytest

from local.salesforce.testing import DATA
from local.salesforce.testing import TestOrg as Org

ROLLED_BACK = "ALL_OR_NONE_OPERATION_ROLLED_BACK"


def account(name: str | None, **fields: object) -> dict[str, object]:
    return {"attributes": {"type": "Account"}, "Name": name, **fields}


def sub(reference: str, method: str, url: str, body: object = None, **more: object) -> dict[str, object]:
    return {"referenceId": reference, "method": method, "url": f"{DATA}/{url}", **({"body": body} if body is not None else {}), **more}


def names(org: Org) -> set[str]:
    return {record["Name"] for record in org.get("query?q=SELECT Name FROM Account").json()["records"]} - {"Upscript Medical Group"}


# -- Collections -------------------------------------------------------------------------------------------------------


def test_one_bad_record_does_not_stop_its_neighbours(org: Org) -> None:
    answer = org.post("composite/sobjects", {"records": [account("A"), account(None), account("C")]})
    assert answer.status == 200
    assert [item["success"] for item in answer.json()] == [True, False, True]
    failed = answer.json()[1]
    assert "id" not in failed
    assert failed["errors"] == [
        {"statusCode": "REQUIRED_FIELD_MISSING", "message": "Required fields are missing: [Name]", "fields": ["Name"]}
    ]
    assert names(org) == {"A", "C"}


def test_all_or_none_undoes_records_of_every_type(org: Org) -> None:
    contact = {"attributes": {"type": "Contact"}}
    answer = org.post("composite/sobjects", {"allOrNone": True, "records": [account("A"), {**contact, "LastName": "B"}, contact]})
    assert answer.status == 200
    assert [item["errors"][0]["statusCode"] for item in answer.json()] == [ROLLED_BACK, ROLLED_BACK, "REQUIRED_FIELD_MISSING"]
    assert names(org) == set()
    assert org.get("query?q=SELECT count() FROM Contact").json()["totalSize"] == 0


def test_upserts_say_what_they_created_even_when_they_fail(org: Org) -> None:
    records = [account("A", OMS_Id__c="1"), account(None, OMS_Id__c="2")]
    first = org.patch("composite/sobjects/Account/OMS_Id__c", {"records": records}).json()
    assert [(item["success"], item["created"]) for item in first] == [(True, True), (False, False)]
    again = org.patch("composite/sobjects/Account/OMS_Id__c", {"records": records[:1]}).json()
    assert again == [{"id": first[0]["id"], "success": True, "errors": [], "created": False}]


def test_retrieve_keeps_the_order_asked_and_answers_null_for_what_is_gone(org: Org) -> None:
    a, b, c = (org.create("Account", Name=name) for name in "abc")
    org.delete(f"sobjects/Account/{b}")
    posted = org.post("composite/sobjects/Account", {"ids": [c, b, a], "fields": ["Name"]}).json()
    assert [item and item["Name"] for item in posted] == ["c", None, "a"]
    assert org.get(f"composite/sobjects/Account?ids={c},{b},{a}&fields=Name").json() == posted


def test_delete_answers_for_each_id(org: Org) -> None:
    a, b = org.create("Account", Name="a"), org.create("Contact", LastName="b")
    results = org.delete(f"composite/sobjects?ids={a},{b},{a}").json()
    assert [(item["success"], *(error["statusCode"] for error in item["errors"])) for item in results][:2] == [(True,), (True,)]
    assert org.delete(f"composite/sobjects?ids={a}&allOrNone=true").json()[0]["errors"][0]["statusCode"] == "ENTITY_IS_DELETED"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"records": [account("x")] * 201}, "EXCEEDED_ID_LIMIT"),
        ({"records": [{"Name": "x"}]}, "JSON_PARSER_ERROR"),
        ({"records": [{"attributes": {"type": "Nope"}}]}, "INVALID_TYPE"),
        ({"records": {}}, "JSON_PARSER_ERROR"),
        ({}, "JSON_PARSER_ERROR"),
        ({"allOrNone": "maybe", "records": []}, "JSON_PARSER_ERROR"),
        ({"records": [{"attributes": {"type": t}} for t in ("Account", "Contact") * 6]}, "LIMIT_EXCEEDED"),
    ],
)
def test_a_collection_that_cannot_be_read_is_refused_as_a_whole(org: Org, body: object, code: str) -> None:
    answer = org.post("composite/sobjects", body)
    assert (answer.status, answer.json()[0]["errorCode"]) == (400, code)


# -- Composite ---------------------------------------------------------------------------------------------------------


def test_a_subrequest_uses_what_an_earlier_one_answered(org: Org) -> None:
    body = {
        "collateSubrequests": False,
        "compositeRequest": [
            sub("a", "POST", "sobjects/Account", {"Name": "Acme"}),
            sub("c", "POST", "sobjects/Contact", {"LastName": "Doe @{a.id}", "AccountId": "@{a.id}"}),
            sub("q", "GET", "query?q=SELECT Id, (SELECT LastName FROM Contacts) FROM Account WHERE Id = '@{a.id}'"),
            sub("g", "GET", "sobjects/Contact/@{q.records[0].Contacts.records[0].attributes.url}"),
        ],
    }
    parts = org.post("composite", body).json()["compositeResponse"]
    assert [part["httpStatusCode"] for part in parts][:3] == [201, 201, 200]
    assert parts[0]["httpHeaders"]["Location"].endswith(parts[0]["body"]["id"])
    assert parts[2]["body"]["records"][0]["Contacts"]["records"][0]["LastName"] == f"Doe {parts[0]['body']['id']}"


def test_without_all_or_none_the_others_stay(org: Org) -> None:
    requests = [sub("a", "POST", "sobjects/Account", {"Name": "A"}), sub("b", "POST", "sobjects/Account", {}), sub("c", "GET", "nope")]
    parts = org.post("composite", {"compositeRequest": requests}).json()["compositeResponse"]
    assert [(part["referenceId"], part["httpStatusCode"]) for part in parts] == [("a", 201), ("b", 400), ("c", 404)]
    assert names(org) == {"A"}


def test_all_or_none_rolls_everything_back(org: Org) -> None:
    requests = [
        sub("a", "POST", "sobjects/Account", {"Name": "A"}),
        sub("m", "PATCH", "composite/sobjects/Account/OMS_Id__c", {"records": [account("B", OMS_Id__c="b")]}),
        sub("b", "POST", "sobjects/Account", {}),
        sub("c", "POST", "sobjects/Account", {"Name": "C"}),
    ]
    parts = org.post("composite", {"allOrNone": True, "collateSubrequests": False, "compositeRequest": requests}).json()[
        "compositeResponse"
    ]
    assert [part["httpStatusCode"] for part in parts] == [400] * 4
    codes = [part["body"][0]["errorCode"] for part in parts]
    assert codes == ["PROCESSING_HALTED", "PROCESSING_HALTED", "REQUIRED_FIELD_MISSING", "PROCESSING_HALTED"]
    assert names(org) == set()


def test_collated_subrequests_need_not_run_in_order_but_references_hold(org: Org) -> None:
    requests = [
        sub("z", "POST", "sobjects/Contact", {"LastName": "Z", "AccountId": "@{a.id}"}),
        sub("a", "POST", "sobjects/Account", {"Name": "A"}),
    ]
    parts = org.post("composite", {"compositeRequest": requests}).json()["compositeResponse"]
    assert [(part["referenceId"], part["httpStatusCode"]) for part in parts] == [("z", 201), ("a", 201)]
    in_order = {"collateSubrequests": False, "compositeRequest": requests}
    assert [part["httpStatusCode"] for part in org.post("composite", in_order).json()["compositeResponse"]] == [400, 201]


def test_a_thousand_records_are_one_call(org: Org) -> None:
    def load(number: int) -> dict[str, object]:
        records = [account(f"{number}-{index}", OMS_Id__c=f"{number}-{index}") for index in range(200)]
        return sub(f"r{number}", "PATCH", "composite/sobjects/Account/OMS_Id__c", {"allOrNone": False, "records": records})

    before = org.server.state.limits.used()
    answer = org.post("composite", {"collateSubrequests": False, "allOrNone": False, "compositeRequest": [load(n) for n in range(5)]})
    assert [len(part["body"]) for part in answer.json()["compositeResponse"]] == [200] * 5
    assert all(item["success"] for part in answer.json()["compositeResponse"] for item in part["body"])
    assert org.server.state.limits.used() == before + 1
    six = org.post("composite", {"compositeRequest": [load(n) for n in range(6)]})
    assert (six.status, six.json()[0]["errorCode"]) == (400, "LIMIT_EXCEEDED")


def test_more_than_25_subrequests_or_a_doubled_reference_are_refused(org: Org) -> None:
    many = {"compositeRequest": [sub(f"r{n}", "GET", "sobjects/Account") for n in range(26)]}
    assert org.post("composite", many).json()[0]["errorCode"] == "LIMIT_EXCEEDED"
    twice = {"compositeRequest": [sub("r", "GET", "sobjects/Account"), sub("R", "GET", "sobjects/Account")]}
    assert org.post("composite", twice).json()[0]["message"] == "Duplicate ReferenceId provided: R"


def test_subrequests_take_headers(org: Org) -> None:
    record_id = org.create("Account", Name="A")
    tag = org.get(f"sobjects/Account/{record_id}").headers["etag"]
    request = sub("a", "GET", f"sobjects/Account/{record_id}", httpHeaders={"If-None-Match": tag})
    part = org.post("composite", {"compositeRequest": [request]}).json()["compositeResponse"][0]
    assert (part["httpStatusCode"], part["body"], part["httpHeaders"]["ETag"]) == (304, None, tag)
    forbidden = sub("a", "GET", "sobjects/Account", httpHeaders={"Authorization": "Bearer x"})
    assert org.post("composite", {"compositeRequest": [forbidden]}).status == 400


# -- batch, tree, graph ------------------------------------------------------------------------------------------------


def test_a_batch_halts_when_asked(org: Org) -> None:
    requests = [
        {"method": "GET", "url": "v67.0/limits"},
        {"method": "POST", "url": "v67.0/sobjects/Account", "richInput": {}},
        {"method": "POST", "url": "v67.0/sobjects/Account", "richInput": {"Name": "A"}},
    ]
    answer = org.post("composite/batch", {"batchRequests": requests}).json()
    assert (answer["hasErrors"], [item["statusCode"] for item in answer["results"]]) == (True, [200, 400, 201])
    halted = org.post("composite/batch", {"haltOnError": True, "batchRequests": requests}).json()["results"]
    assert [item["statusCode"] for item in halted] == [200, 400, 412]
    assert halted[2]["result"][0]["errorCode"] == "BATCH_PROCESSING_HALTED"


def test_a_tree_is_created_whole_or_not_at_all(org: Org) -> None:
    def tree(last_name: str | None) -> dict[str, object]:
        contact = {"attributes": {"type": "Contact", "referenceId": "c"}, "LastName": last_name}
        top = {"attributes": {"type": "Account", "referenceId": "a"}, "Name": "Tree", "Contacts": {"records": [contact]}}
        return {"records": [top]}

    bad = org.post("composite/tree/Account", tree(None))
    assert (bad.status, bad.json()["hasErrors"], bad.json()["results"][0]["referenceId"]) == (400, True, "c")
    assert names(org) == set()
    good = org.post("composite/tree/Account", tree("Leaf"))
    assert good.status == 201
    ids = {item["referenceId"]: item["id"] for item in good.json()["results"]}
    assert org.get(f"sobjects/Contact/{ids['c']}").json()["AccountId"] == ids["a"]


def test_each_graph_stands_for_itself(org: Org) -> None:
    def graph(name: str, second: dict[str, object]) -> dict[str, object]:
        first = sub("a", "POST", "sobjects/Account", {"Name": name})
        return {"graphId": name, "compositeRequest": [first, sub("b", "POST", "sobjects/Account", second)]}

    answer = org.post("composite/graph", {"graphs": [graph("one", {"Name": "two"}), graph("three", {})]}).json()["graphs"]
    assert [item["isSuccessful"] for item in answer] == [True, False]
    halted = answer[1]["graphResponse"]["compositeResponse"][0]
    assert (halted["httpStatusCode"], halted["body"][0]["errorCode"]) == (400, "PROCESSING_HALTED")
    assert names(org) == {"one", "two"}
