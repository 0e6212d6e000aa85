"""The schema: standard objects against live describes, custom metadata as the project declares it, and clear refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from local.salesforce.dml_plan import Plan
from local.salesforce.schema import Kind, OnParentDelete, Org
from local.salesforce.schema_source import MetadataError, load_org

ROOT = Path(__file__).parents[4]
SHARED = Path(os.environ.get("OMSYNC_SHARED", ROOT.parent / "shared"))
DESCRIBES = SHARED / "salesforce-cases" / "describe"
# Fields of features that the org does not have: partner portal, Data.com, scheduling.
WITHOUT = {"IsPartner", "IsCustomerPortal", "ChannelProgramName", "ChannelProgramLevelName", "DandbCompanyId", "OperatingHoursId"}


@pytest.mark.parametrize("file", ["cci-134", "cci-135", "cci-136"])
def test_standard_fields_are_as_a_live_org_describes_them(file: str) -> None:
    path = DESCRIBES / f"{file}-describe.json"
    if not path.exists():
        pytest.skip("the recorded describes are not beside the project (OMSYNC_SHARED)")
    described = json.loads(path.read_text())["response"]["body"]
    obj = load_org().objects[described["name"]]
    compared = 0
    for real in described["fields"]:
        if real["name"] in WITHOUT or real["name"].endswith("__c"):
            continue
        ours = obj.field(real["name"])
        assert ours is not None, real["name"]
        mine = {
            "type": ours.describe_type,
            "label": ours.label,
            "createable": ours.createable,
            "updateable": ours.updateable,
            "nillable": ours.nillable,
            "filterable": ours.filterable,
            "groupable": ours.groupable,
            "referenceTo": sorted(ours.references),
            "relationshipName": ours.relationship,
            "restrictedPicklist": ours.restricted,
            "compoundFieldName": ours.compound,
            "extraTypeInfo": ours.extra,
            "idLookup": ours.id_lookup,
        }
        if ours.is_text:
            mine["length"] = ours.length
        assert mine == {k: sorted(real[k]) if k == "referenceTo" else real[k] for k in mine}, real["name"]
        assert [v.value for v in ours.picklist] == [v["value"] for v in real["picklistValues"]]
        compared += 1
    assert compared > 30


def test_deletes_of_parents_follow_the_describe() -> None:
    account = load_org().objects["Account"]
    rules = {(c.child, c.field): c.on_delete for c in account.children}
    assert rules[("Contact", "AccountId")] is OnParentDelete.CASCADE
    assert rules[("Order", "AccountId")] is OnParentDelete.CASCADE
    assert rules[("Case", "AccountId")] is OnParentDelete.RESTRICT
    assert rules[("EmailMessage", "RelatedToId")] is OnParentDelete.SET_NULL


def test_custom_fields_are_as_declared(org: Org) -> None:
    consent = org.object("CONSENT__C")
    assert consent is not None
    oms_id = consent.field("oms_id__c")
    assert oms_id is not None
    assert (oms_id.length, oms_id.external_id, oms_id.unique, oms_id.case_sensitive, oms_id.upsert_key) == (36, True, True, False, True)
    patient = consent.relationship("patient__R")
    assert patient is not None
    assert (patient.references, patient.on_delete, patient.child_relationship) == (("Account",), OnParentDelete.SET_NULL, "Consents__r")
    child = org.objects["Account"].child("consents__r")
    assert child is not None
    assert (child.child, child.field) == ("Consent__c", "Patient__c")
    kind = consent.fields["Type__c"]
    assert (kind.restricted, kind.default, [v.value for v in kind.picklist]) == (True, "sms", ["sms", "telehealth"])


def test_a_contact_field_shows_on_account(org: Org) -> None:
    shown = org.objects["Account"].field("Preferred_Name__pc")
    assert shown is not None
    assert (shown.person, shown.kind, shown.length) == ("Preferred_Name__c", Kind.TEXT, 80)


def test_a_detail_has_no_owner_and_an_auto_number(org: Org) -> None:
    event = org.objects["Shipment_Event__c"]
    assert event.field("OwnerId") is None
    assert event.fields["Name"].kind is Kind.AUTO_NUMBER
    assert event.fields["Shipment__c"].updateable


def test_record_types_and_prefixes_are_told_apart(org: Org) -> None:
    assert org.objects["Account"].record_types["Patient"].person
    assert not org.objects["Account"].record_types["Pharmacy"].person
    prefixes = [o.key_prefix for o in org if o.key_prefix]
    assert len(prefixes) == len(set(prefixes))
    found = org.object_of_id("001Om0000000001IAA")
    assert found is not None
    assert found.name == "Account"


def test_prefixes_stay_when_another_object_comes(org: Org) -> None:
    alone = load_org()
    assert alone.objects["Account"].key_prefix == org.objects["Account"].key_prefix == "001"


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("objects/Account/fields/A__c.field-meta.xml", "<x", "A__c.field-meta.xml: not well-formed"),
        ("objects/Account/fields/A__c.field-meta.xml", "<CustomField><type>Text</type></CustomField>", "field type '' is not supported"),
        ("objects/Nobody__c/fields/A__c.field-meta.xml", "", "object Nobody__c is neither standard nor defined"),
        ("objects/Wild/Wild.object-meta.xml", "", "standard object Wild is unknown here"),
        ("triggers/X.trigger", "class X {}", "X.trigger: no `trigger X on Object"),
    ],
)
def test_bad_metadata_is_named(tmp_path: Path, path: str, body: str, says: str) -> None:
    target = tmp_path / path
    target.parent.mkdir(parents=True)
    target.write_text(body or '<CustomObject xmlns="http://soap.sforce.com/2006/04/metadata"/>')
    with pytest.raises(MetadataError, match=says):
        load_org(tmp_path)


def test_the_real_project_loads_and_compiles() -> None:
    project = ROOT / "salesforce"
    real = load_org(project)
    plans = [Plan(obj, real) for obj in real if not obj.event]
    assert sum(len(plan.rules) for plan in plans) > 40
    assert {"OMSync_Integration", "OMSync_Load", "Care_Coordinator", "Clinician"} <= set(real.permission_sets)
    for field in real.sync_fields:
        assert real.objects[field.object].field(field.field) is not None, field
