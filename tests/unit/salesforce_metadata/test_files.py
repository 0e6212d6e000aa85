"""Every file is one Salesforce would accept: its schema, its Apex grammar, its project layout."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from lxml import etree

from ops.salesforce import apex, xsd
from ops.salesforce.project import GENERATED, ROOT
from ops.salesforce.xml import NAMESPACE


def test_every_metadata_file_is_valid_by_salesforces_schema(metadata_files: list[Path]) -> None:
    assert len(metadata_files) > 600
    assert list(xsd.faults(metadata_files)) == []


def test_a_file_with_its_elements_out_of_order_is_named_with_its_line(tmp_path: Path) -> None:
    source = (GENERATED / "main/default/objects/Order/fields/Grand_Total__c.field-meta.xml").read_text()
    label = re.search(r" *<label>.*</label>\n", source)
    assert label is not None
    bad = tmp_path / "Grand_Total__c.field-meta.xml"
    bad.write_text(source.replace(label[0], "").replace("</CustomField>", f"{label[0]}</CustomField>"))
    [fault] = xsd.faults([bad])
    assert re.match(rf"{re.escape(str(bad))}:\d+: .*label", fault)


def test_a_file_that_is_no_xml_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "X__c.field-meta.xml"
    bad.write_text("<CustomField>")
    assert "not well-formed" in next(xsd.faults([bad]))


def test_every_class_and_trigger_parses() -> None:
    files = sorted([*ROOT.rglob("*.cls"), *ROOT.rglob("*.trigger")])
    assert len(files) >= 16
    assert apex.faults(files) == []


def test_apex_that_does_not_parse_is_named_with_line_and_column(tmp_path: Path) -> None:
    broken = tmp_path / "Broken.cls"
    broken.write_text("public class Broken {\n    void run( { }\n}\n")
    faults = apex.faults([broken])
    assert faults
    assert faults[0].startswith(f"{broken}:2:14: ")


def test_sf_claims_every_file_and_can_convert_the_project(tmp_path: Path) -> None:
    """With Salesforce's own library, as `sf project deploy start` does before it sends anything."""
    command = ["node", "tools/resolve-source.mjs", str(apex.node_modules()), str(tmp_path / "out"), str(ROOT)]
    done = subprocess.run(command, cwd=ROOT.parent, env=apex.environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["unclaimed"] == []
    on_disk = len(list(ROOT.rglob("*.field-meta.xml")))
    converted = sum(text.count("<fields>\n        <fullName>") for text in (p.read_text() for p in (tmp_path / "out").rglob("*.object")))
    assert converted == on_disk


def test_every_class_has_a_test_class_and_every_trigger_one_line_of_work() -> None:
    classes = {p.stem for p in ROOT.rglob("*.cls")}
    tests = {p.stem for p in ROOT.rglob("*.cls") if "@IsTest" in p.read_text()}
    tested = "".join(p.read_text() for p in ROOT.rglob("*Test.cls"))
    untested = {name for name in classes - tests if name not in tested and name != "CaseTimes"}
    assert untested == set()
    assert "Closed_At__c" in tested  # CaseTimes, through its trigger
    for trigger in ROOT.rglob("*Sync.trigger"):
        assert "SharedRecords.handle();" in trigger.read_text(), trigger.name


def test_no_secret_and_no_real_address_is_committed(metadata_files: list[Path]) -> None:
    for path in metadata_files:
        text = path.read_text()
        assert not re.search(r"<(consumerKey|consumerSecret|certificate|oauthToken|password)>", text), path.name
        for host in re.findall(r"https?://([^/<\"\s]+)", text):
            assert host in {"soap.sforce.com", "www.w3.org"} or host.endswith(".example.com"), f"{path.name}: {host}"


def test_names_labels_and_texts_fit_where_salesforce_keeps_them(metadata_files: list[Path]) -> None:
    """Lengths that the schema does not tell and a deployment refuses."""
    labelled = {"CustomField", "CustomMetadata", "CustomObject", "CompactLayout", "ListView", "RecordType"}
    loose = {"Layout", "Profile", "CustomMetadata"}  # named after other things
    for path in metadata_files:
        root = etree.parse(path).getroot()
        kind, name = etree.QName(root).localname, path.name.removesuffix("-meta.xml").rpartition(".")[0]
        texts = {
            element: root.findtext(f"{{{NAMESPACE}}}{element}") or ""
            for element in ("label", "description", "inlineHelpText", "errorMessage")
        }
        assert kind in loose or len(name) <= 40, path.name
        assert kind not in labelled or len(texts["label"]) <= 40, path.name
        assert len(texts["description"]) <= (1000 if kind in ("CustomField", "CustomObject") else 255), path.name
        assert len(texts["inlineHelpText"]) <= 510, path.name
        assert len(texts["errorMessage"]) <= 255, path.name


def test_what_differs_from_org_to_org_is_replaced_when_deployed() -> None:
    replacements = json.loads((ROOT / "sfdx-project.json").read_text())["replacements"]
    for replacement in replacements:
        assert replacement["stringToReplace"] in (ROOT / replacement["filename"]).read_text(), replacement["filename"]
    covered = {replacement["filename"] for replacement in replacements}
    for path in [*ROOT.rglob("*.namedCredential-meta.xml"), *ROOT.rglob("*.externalCredential-meta.xml")]:
        assert str(path.relative_to(ROOT)) in covered, f"{path.name} holds an address of nobody's org"
