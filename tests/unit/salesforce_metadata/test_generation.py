"""What derives from the mapping is generated, and nothing under salesforce/generated is older than its sources."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from omsync.mapping import load_mappings
from omsync.mapping.load import TABLES, read_directory
from omsync.platform.errors import Permanent
from ops import main
from ops.salesforce import project

BASE = Path("main/default")


@pytest.fixture
def generated(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(project, "GENERATED", copy / "generated")
    return copy / "generated"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A copy of the mapping files."""
    return Path(shutil.copytree(TABLES, tmp_path / "tables"))


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_nothing_is_stale() -> None:
    assert project.stale() == []


def test_stale_names_what_was_edited_removed_and_left_over(generated: Path) -> None:
    folder = generated / BASE / "objects/Order/fields"
    (folder / "Promo_Code__c.field-meta.xml").write_text("edited by hand")
    (folder / "Placed_At__c.field-meta.xml").unlink()
    (folder / "Gone__c.field-meta.xml").write_text("of a column that is no more")
    at = BASE / "objects/Order/fields"
    assert project.stale() == [
        f"missing: {at}/Placed_At__c.field-meta.xml",
        f"left over: {at}/Gone__c.field-meta.xml",
        f"differs: {at}/Promo_Code__c.field-meta.xml",
    ]
    assert project.write() == (2, 1)
    assert project.stale() == []


def test_generation_touches_nothing_that_was_written_by_hand(copy: Path, generated: Path) -> None:
    by_hand = {path: path.read_bytes() for path in (copy / "force-app").rglob("*") if path.is_file()}
    shutil.rmtree(generated)
    project.write()
    assert {path: path.read_bytes() for path in (copy / "force-app").rglob("*") if path.is_file()} == by_hand
    assert project.stale() == []


def test_a_new_column_becomes_a_field_a_permission_and_a_place_on_the_layout(tables: Path) -> None:
    _edit(tables / "shipments.yaml", "columns:\n", "columns:\n  parcel_note: {type: text}\n")
    _edit(tables / "shipments.yaml", "  fields:\n", "  fields:\n    Parcel_Note__c: {type: Text(90), from: parcel_note}\n")
    before, after = project.render(), project.render(read_directory(tables))
    field = after[BASE / "objects/Shipment__c/fields/Parcel_Note__c.field-meta.xml"]
    assert "<length>90</length>" in field
    assert "<label>Parcel Note</label>" in field
    assert "Comes from the OMS; read only here." in field
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed == {
        "Parcel_Note__c.field-meta.xml",
        "Shipment__c-Shipment Layout.layout-meta.xml",
        "Care_Coordinator.permissionset-meta.xml",
        "Clinician.permissionset-meta.xml",
        "OMSync_Integration.permissionset-meta.xml",
        "OMSync_Load.permissionset-meta.xml",
    }


def test_a_new_owner_makes_a_field_editable_and_stamped(tables: Path) -> None:
    _edit(tables / "orders.yaml", "promo_code: {type: text}", "promo_code: {type: text, owner: both}")
    after = project.render(read_directory(tables))
    assert BASE / "customMetadata/Sync_Field.Order_Promo_Code.md-meta.xml" in after
    granted = after[BASE / "permissionsets/Care_Coordinator.permissionset-meta.xml"]
    assert "<editable>true</editable>\n        <field>Order.Promo_Code__c</field>" in granted


def test_two_tables_that_want_one_field_differently_are_refused(tables: Path) -> None:
    _edit(tables / "providers.yaml", "Time_Zone__c: {type: Text(40)", "Time_Zone__c: {type: LongTextArea(400)")
    with pytest.raises(Permanent, match=r"Contact\.Time_Zone__c is asked for in several ways .*providers: LongTextArea\(400\)"):
        project.render(read_directory(tables))


def test_a_value_a_table_may_send_is_offered_by_every_record_type() -> None:
    files = project.render()
    for kind in ("Delivery", "Integration"):
        text = files[BASE / f"objects/Case/recordTypes/{kind}.recordType-meta.xml"]
        assert all(f"<fullName>{value}</fullName>" in text for value in ("adverse_event", "urgent", "sms"))
    patient = files[BASE / "objects/PersonAccount/recordTypes/Patient.recordType-meta.xml"]
    assert "<picklist>Gender_Identity__pc</picklist>" in patient
    assert "<fullName>they%2Fthem</fullName>" in patient


def test_every_order_status_is_in_the_draft_category() -> None:
    text = project.render()[BASE / "standardValueSets/OrderStatus.standardValueSet-meta.xml"]
    statuses = load_mappings()["orders"].columns["status"].choices or ()
    assert text.count("<groupingString>Draft</groupingString>") == len(statuses) == 16
    assert text.count("<groupingString>Activated</groupingString>") == 1


def test_the_command_says_what_is_stale(generated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (generated / BASE / "objects/Order/fields/Placed_At__c.field-meta.xml").unlink()
    with pytest.raises(SystemExit) as stopped:
        main.main(["salesforce", "generate", "--check"])
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert "missing: main/default/objects/Order/fields/Placed_At__c.field-meta.xml" in said.out
    assert "run `omsync salesforce generate`" in said.err


def test_help_tells_a_coordinator_who_decides() -> None:
    files = project.render()

    def said(path: str) -> str:
        text = files[BASE / f"objects/{path}.field-meta.xml"]
        return text.split("<inlineHelpText>")[1].split("</inlineHelpText>")[0]

    assert "read only here" in said("Order/fields/Placed_At__c")
    assert said("Order/fields/Requested_Action__c") == "Ask the OMS to do this. It does it once, or says why not, and clears the field."
    assert said("Consent__c/fields/Revoked_At__c").endswith("a revocation always stands.")
    assert said("Clinical_Note__c/fields/Body__c").endswith("if both did, a Case asks you which stands.")
    assert said("Contact/fields/Care_Notes__c").endswith("Kept here; the OMS follows.")
