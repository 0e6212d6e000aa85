"""The org on its first day: what the mapping and the sync presuppose."""

from __future__ import annotations

from pathlib import Path

import yaml

from local.salesforce.app import build, close
from local.salesforce.setup import MEDICAL_GROUP_KEY, SESSION_FILE, ensure_org, write_session
from local.salesforce.testing import BASE
from local.salesforce.testing import TestOrg as Org

PROVIDERS = Path(__file__).parents[4] / "layers/omsync/omsync/mapping/tables/providers.yaml"


def test_prescribers_find_their_account(org: Org) -> None:
    constants = yaml.safe_load(PROVIDERS.read_text())["targets"][0]["constants"]
    assert constants["AccountId"]["parent"] == MEDICAL_GROUP_KEY
    kind = org.server.state.org.objects["Contact"].record_types["Provider"].id
    fields = {
        "RecordTypeId": kind,
        "LastName": "House",
        "NPI__c": "1234567890",
        "Account": {"OMS_Id__c": MEDICAL_GROUP_KEY},
        "OMS_Version__c": 1,
    }
    answer = org.patch("sobjects/Contact/OMS_Id__c/p-1", fields, token=org.login_as("integration"))
    assert answer.status == 201, answer.text


def test_the_standard_price_book_and_the_queue_are_there(org: Org) -> None:
    found = org.get("query?q=SELECT Id, IsActive FROM Pricebook2 WHERE IsStandard = true").json()["records"]
    assert [book["IsActive"] for book in found] == [True]
    queue = org.get("query?q=SELECT Queue.DeveloperName FROM QueueSobject WHERE SobjectType = 'Case'").json()["records"]
    assert [item["Queue"]["DeveloperName"] for item in queue] == ["Integration_Issues"]
    kinds = org.get("query?q=SELECT DeveloperName FROM RecordType WHERE SobjectType = 'Account' AND IsActive = true").json()["records"]
    assert {"Patient", "Pharmacy", "Medical_Group"} == {kind["DeveloperName"] for kind in kinds}


def test_setting_up_twice_changes_nothing(org: Org) -> None:
    def counts() -> dict[str, int]:
        return {obj.name: org.server.state.store.count(obj.name) for obj in org.server.state.org if not obj.event}

    before = counts()
    assert ensure_org(org.server.state.store) == org.server.state.org_id
    assert counts() == before


def test_the_lasting_session_survives_a_restart_and_is_for_the_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "org"
    tokens = []
    for _ in range(2):
        server = build(home, [])
        tokens.append(write_session(server.state.authority, home, BASE)["access_token"])
        close(server)
    assert tokens[0] == tokens[1]
    assert (home / SESSION_FILE).stat().st_mode & 0o077 == 0


def _named(org: Org, soql: str, *, tooling: bool = True) -> list[str]:
    answer = org.get("tooling/query" if tooling else "query", params={"q": soql})
    assert answer.status == 200, answer.text
    return [" ".join(str(value) for key, value in one.items() if isinstance(value, str)) for one in answer.json()["records"]]


def test_the_tooling_api_knows_what_acts_on_a_save(org: Org) -> None:
    rules = "SELECT ValidationName FROM ValidationRule WHERE Active = true AND EntityDefinition.QualifiedApiName = 'Clinical_Note__c'"
    assert "OMSync_Signed_Is_Final" in _named(org, rules)
    assert "AccountSync" in _named(
        org, "SELECT Name FROM ApexTrigger WHERE Status = 'Active' AND EntityDefinition.QualifiedApiName = 'Account'"
    )
    refused = org.get("query", params={"q": "SELECT ValidationName FROM ValidationRule"})
    assert (refused.status, refused.json()[0]["errorCode"]) == (400, "INVALID_TYPE"), "validation rules are the Tooling API's alone"
    assert org.get("tooling/query", params={"q": "SELECT Id FROM Account"}).status == 400


def test_somebody_sets_up_a_flow_and_switches_it_off(org: Org) -> None:
    flows = "SELECT ApiName FROM FlowDefinitionView WHERE ActiveVersionId != null AND TriggerObjectOrEvent.QualifiedApiName = 'Order'"
    for active, expected in ((True, ["Greet_Buyers"]), (False, []), (True, ["Greet_Buyers"])):
        body = {"kind": "flow", "object": "order", "name": "Greet_Buyers", "active": active}
        assert org.admin("POST", "automation", body).status == 200
        assert _named(org, flows) == expected
    body = {"kind": "duplicate_rule", "object": "Account", "name": "Standard_Account_Rule"}
    assert org.admin("POST", "automation", body).status == 200
    assert _named(org, "SELECT DeveloperName FROM DuplicateRule WHERE IsActive = true", tooling=False) == ["Standard_Account_Rule"]
    assert org.admin("POST", "automation", {**body, "kind": "spell"}).status == 400
    org.admin("POST", "reset")
    assert _named(org, flows) == []


def test_the_records_of_one_object_can_go_alone(org: Org) -> None:
    org.create("Product2", Name="P", OMS_Id__c="p-1")
    org.create("Lead", LastName="L", Company="C")
    assert org.admin("POST", "reset", {"objects": ["Product2"]}).status == 200
    assert org.get("query?q=SELECT count() FROM Product2").json()["totalSize"] == 0
    assert org.get("query?q=SELECT count() FROM Lead").json()["totalSize"] == 1
    assert org.admin("POST", "reset", {"objects": ["User"]}).status == 400
    assert org.create("Product2", Name="P", OMS_Id__c="p-1"), "nothing remembers it"
