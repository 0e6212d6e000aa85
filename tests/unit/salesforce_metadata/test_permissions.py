"""People change what is Salesforce's or both's, and nothing else; the machines reach everything."""

from __future__ import annotations

import re

import pytest

from local.salesforce.context import Permissions
from local.salesforce.schema import Org
from omsync.mapping import load_mappings
from ops.salesforce.org import model
from ops.salesforce.project import GENERATED

PEOPLE = ("Care_Coordinator", "Clinician")
MACHINES = ("OMSync_Integration", "OMSync_Load")


def _text(name: str) -> str:
    return (GENERATED / f"main/default/permissionsets/{name}.permissionset-meta.xml").read_text()


def _fields(name: str) -> dict[str, bool]:
    """Field -> editable."""
    found = re.findall(r"<editable>(\w+)</editable>\s*<field>([^<]+)</field>", _text(name))
    return {field: editable == "true" for editable, field in found}


def _may(name: str, right: str) -> set[str]:
    """Objects on which the permission set grants a right."""
    blocks = re.findall(r"<objectPermissions>(.*?)</objectPermissions>", _text(name), re.DOTALL)
    return {re.findall(r"<object>([^<]+)", block)[0] for block in blocks if f"<{right}>true" in block}


@pytest.mark.parametrize("name", PEOPLE)
def test_people_edit_only_what_the_mapping_gives_them_or_what_they_enter_once(name: str) -> None:
    org = model(load_mappings())
    theirs = {field.securable() for obj in org.objects.values() for field in obj.fields.values() if field.people_may_enter}
    edited = {field for field, editable in _fields(name).items() if editable}
    assert edited <= theirs
    assert {"Order.Requested_Action__c", "Order.Grand_Total__c"} & edited == (
        {"Order.Requested_Action__c"} if name == "Care_Coordinator" else set()
    )


@pytest.mark.parametrize("name", PEOPLE)
def test_people_create_patients_notes_cases_and_messages_alone_and_delete_nothing(name: str) -> None:
    assert _may(name, "allowCreate") <= {"Account", "Clinical_Note__c", "Case", "Communication__c"}
    assert _may(name, "allowDelete") == _may(name, "modifyAllRecords") == set()
    assert "Clinical_Note__c" in _may(name, "allowCreate")


def test_only_a_clinician_sees_intake_answers_and_every_note() -> None:
    assert "Intake_Response__c" not in _may("Care_Coordinator", "allowRead")
    assert not any(field.startswith("Intake_Response__c.") for field in _fields("Care_Coordinator"))
    assert "Clinical_Note__c" not in _may("Care_Coordinator", "viewAllRecords")
    assert {"Intake_Response__c", "Clinical_Note__c"} <= _may("Clinician", "viewAllRecords")
    assert "Payment__c" not in _may("Clinician", "allowRead")


@pytest.mark.parametrize("name", (*PEOPLE, *MACHINES))
def test_no_permission_names_a_field_that_cannot_have_one(name: str) -> None:
    org = model(load_mappings())
    cannot = {
        f"{obj.name}.{field.name}"
        for obj in org.objects.values()
        for field in obj.fields.values()
        if field.required or field.first.type == "MasterDetail"
    }
    assert cannot & set(_fields(name)) == set()
    assert not {field for field in _fields(name) if field.endswith((".Name", ".OwnerId", "Order.Status", ".LastName"))}


@pytest.mark.parametrize("name", (*PEOPLE, *MACHINES))
def test_nobody_may_activate_an_order(name: str) -> None:
    assert "ActivateOrder" not in _text(name)


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_writes_every_field_that_can_be_secured(name: str) -> None:
    org = model(load_mappings())
    wanted = {permission for obj in org.objects.values() for field in obj.fields.values() if (permission := field.securable())}
    granted = _fields(name)
    assert wanted <= {field for field, editable in granted.items() if editable}


def test_only_the_integration_user_reaches_the_credential_and_holds_its_permission() -> None:
    holders = [name for name in (*PEOPLE, *MACHINES) if "externalCredentialPrincipalAccesses" in _text(name)]
    assert holders == ["OMSync_Integration"]
    for name in PEOPLE:
        assert "<customPermissions>" not in _text(name)
    assert "<name>OMSync_Integration</name>" not in _text("OMSync_Load")


@pytest.mark.parametrize("name", MACHINES)
def test_the_simulator_lets_a_machine_write_every_field_it_must(name: str, org: Org) -> None:
    """Field-level security as the simulator applies it, which has its own table of what can be secured."""
    granted = org.permission_sets[name]
    rights = Permissions(sets=(granted,))
    refused = []
    for table in load_mappings():
        for target in table.targets:
            obj = org.objects[target.object]
            for field in target.all_fields.values():
                if not field.match_only and field.feature is None and not rights.editable(obj, obj.fields[field.name]):
                    refused.append(f"{target.object}.{field.name}")
    assert refused == []
