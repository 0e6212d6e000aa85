"""A wrong mapping file is told by file, line, key and what was expected."""

from __future__ import annotations

import shutil
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from omsync.mapping import MappingError, load_mappings, read_directory
from omsync.mapping.files import json_schema
from omsync.mapping.load import TABLES
from ops.mapping import cli
from tests.unit.mapping.strategies import ROOT


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TABLES, tmp_path / "tables"))


def problems(tables: Path, table: str, old: str, new: str) -> dict[str, int]:
    """Replaces `old` in a file; gives the problems found there, each with its distance in lines from the place."""
    path = tables / f"{table}.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    line = text[: text.index(old)].count("\n") + 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(MappingError) as fault:
        read_directory(tables)
    return {f"{found.key}: {found.expected}": found.line - line for found in fault.value.problems if found.file == path.name}


CASES = [
    ("type", "orders", "Text(30)", "Texxt(30)", "targets.0.fields.OMS_Order_Number__c.type: String should match pattern"),
    ("column type", "orders", "channel: {type: text", "channel: {type: varchar", "columns.channel.type: String should match pattern"),
    ("unknown key", "orders", "from: promo_code", "from: promo_code, colour: red", "colour: Extra inputs are not permitted"),
    ("unknown column", "orders", "from: promo_code", "from: promo", "from: a column of orders or a path into one, not promo"),
    ("unknown transform", "orders", "transform: us_state", "transform: eu_state", "transform: one of text, whole_text"),
    (
        "no transform",
        "orders",
        "Placed_At__c: {type: DateTime",
        "Placed_At__c: {type: Checkbox",
        "a transform: there is no usual one from timestamptz to Checkbox",
    ),
    ("no way back", "orders", "transform: org_date", "transform: org_date, back: true", "back: false: org_date cannot be undone"),
    (
        "owner",
        "products",
        "strength: {type: text}",
        "strength: {type: text, owner: both}",
        "columns.strength.owner: oms: every column of a mirrored table",
    ),
    (
        "bad owner",
        "products",
        "strength: {type: text}",
        "strength: {type: text, owner: us}",
        "columns.strength.owner: Input should be 'oms', 'salesforce' or 'both'",
    ),
    (
        "references",
        "orders",
        "references: subscriptions",
        "references: subs",
        "columns.subscription_id.references: a table with a mapping, not subs",
    ),
    (
        "lookup",
        "orders",
        "from: subscription_id",
        "from: promo_code",
        "Subscription__c.from: a column with references, for a Lookup(Subscription__c)",
    ),
    ("condition", "orders", "when: {status: [shipped,", "when: {status: [sent,", "locks.0.when.status: values of draft"),
    ("unit", "orders", "- unit: ship_address", "- unit: ship", "locks.0.unit: a unit:"),
    ("record type", "support_cases", ", technical: General", "", "values: a record type for technical"),
    ("wave", "orders", "wave: 3c", "wave: 2c", "wave: a wave of run 3"),
    (
        "policy",
        "patients",
        "policy: revoked_wins, revoked: false",
        "policy: revoked_wins",
        "columns.sms_opt_in.policy: revoked: the value that means revoked",
    ),
    (
        "not sent",
        "shipments",
        "weight_g: {type: integer",
        "weight_g: {type: integer, not_sent: why",
        "columns.weight_g.not_sent: no field that carries the column",
    ),
    (
        "common",
        "refunds",
        "  kind: {",
        "  version: {type: bigint, not_sent: why}\n  kind: {",
        "columns.version: a column of this table's own",
    ),
    ("table", "refunds", "table: refunds", "table: refund", "table: the file's name, refunds"),
    (
        "constant",
        "products",
        "{org: standard_price_book, create_only: true}",
        "{create_only: true}",
        "Pricebook2Id: exactly one of value, parent and org",
    ),
    ("twice", "refunds", "wave: 3e", "wave: 3e\nwave: 3e", "wave: a key given once; this is its second time"),
    ("match", "staff_users", "match: [FederationIdentifier,", "match: [Federation,", "match: fields of this target; Federation is none"),
]


@pytest.mark.parametrize(("table", "old", "new", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_error_names_file_line_key_and_what_was_expected(tables: Path, table: str, old: str, new: str, expected: str) -> None:
    found = problems(tables, table, old, new)
    fitting = {text: off for text, off in found.items() if expected in text}
    assert len(fitting) == 1, found
    assert set(fitting.values()) <= {0, 1}, found  # 1: where the change added a line before the key at fault


def test_a_column_that_goes_nowhere_without_a_reason_is_an_error(tables: Path) -> None:
    ((text, off),) = problems(tables, "orders", "    Promo_Code__c: {type: Text(40), from: promo_code}\n", "").items()
    assert text == "columns.promo_code: a field that carries the column, or not_sent with the reason"
    assert off < -20  # told at the column, not at the field that is gone


def test_a_missing_key_is_named(tables: Path) -> None:
    assert list(problems(tables, "orders", "purpose: Commercial and fulfilment order.\n", "")) == ["(document): purpose: Field required"]


def test_broken_yaml_names_its_line(tables: Path) -> None:
    (tables / "refunds.yaml").write_text("table: refunds\ncolumns: {a: [b}\n", encoding="utf-8")
    with pytest.raises(MappingError) as fault:
        read_directory(tables)
    assert fault.value.problems[0].line == 2
    assert fault.value.problems[0].key == "(syntax)"


def test_words_are_not_flags(tables: Path) -> None:
    """YAML 1.1 would read no, off and yes as booleans."""
    path = tables / "refunds.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("goodwill]", "no, off, yes]"), encoding="utf-8")
    assert read_directory(tables)["refunds"].columns["kind"].choices == ("refund", "chargeback", "no", "off", "yes")


def test_all_problems_are_told_at_once(tables: Path) -> None:
    for table, old, new in (("orders", "from: promo_code", "from: promo"), ("refunds", "wave: 3e", "wave: 1e")):
        path = tables / f"{table}.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    result = CliRunner().invoke(cli, ["check", str(tables)])
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["orders.yaml", "orders.yaml", "refunds.yaml"]
    assert all(line.split(":")[1].isdigit() for line in lines)


def test_the_products_files_are_valid() -> None:
    result = CliRunner().invoke(cli, ["check"])
    assert result.exit_code == 0
    assert "23 tables" in result.stdout


def test_the_files_fit_the_editors_schema() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    for path in TABLES.glob("*.yaml"):
        assert not list(validator.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))), path.name


def test_mappings_load_once() -> None:
    assert load_mappings() is load_mappings()


@pytest.mark.parametrize("table", load_mappings().tables)
def test_a_table_is_shown_for_people(table: str) -> None:
    result = CliRunner().invoke(cli, ["show", table, "--width", "240"])
    assert result.exit_code == 0
    for column in load_mappings()[table].columns:
        assert column in result.stdout


def test_an_unknown_table_lists_the_known_ones() -> None:
    result = CliRunner().invoke(cli, ["show", "patient"])
    assert result.exit_code == 2
    assert "patients" in result.output


def test_the_pages_are_up_to_date() -> None:
    result = CliRunner().invoke(cli, ["docs", "--check", "--output", str(ROOT / "docs" / "mapping")])
    assert result.exit_code == 0, result.output


def test_a_stale_page_is_told(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["docs", "--output", str(tmp_path)]).exit_code == 0
    (tmp_path / "orders.md").write_text("old", encoding="utf-8")
    result = CliRunner().invoke(cli, ["docs", "--check", "--output", str(tmp_path)])
    assert (result.exit_code, result.output) == (2, "stale: orders.md; run `omsync mapping docs`\n")
