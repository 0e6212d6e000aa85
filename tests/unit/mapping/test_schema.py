"""The 23 files cover exactly the columns of the OMS's database."""

from __future__ import annotations

import re

import pytest

from omsync.mapping import Column, load_mappings
from tests.unit.mapping.schema_sql import SqlColumn, tables
from tests.unit.mapping.strategies import ROOT

SCHEMA = ROOT / "local" / "oms" / "schema.sql"
DDL = tables(SCHEMA.read_text(encoding="utf-8")) if SCHEMA.exists() else {}
TABLES = load_mappings().tables

needs_schema = pytest.mark.skipif(not DDL, reason="local/oms/schema.sql is not there")


@needs_schema
def test_the_tables_are_the_databases_own() -> None:
    assert sorted(TABLES) == sorted(DDL)
    assert len(TABLES) == 23


@needs_schema
@pytest.mark.parametrize("table", TABLES)
def test_the_columns_are_the_tables_own(table: str) -> None:
    assert set(load_mappings()[table].columns) == set(DDL[table]) - {"edited_at"}


@needs_schema
@pytest.mark.parametrize("table", TABLES)
def test_every_column_says_what_the_database_says(table: str) -> None:
    for name, column in load_mappings()[table].columns.items():
        assert _told(column) == DDL[table][name], f"{table}.{name}"


def _told(column: Column) -> SqlColumn:
    return SqlColumn(
        name=column.name,
        type=column.type,
        nullable=column.nullable,
        default=column.default,
        unique=column.unique,
        choices=column.choices,
        references=column.references,
    )


@needs_schema
@pytest.mark.parametrize("table", TABLES)
def test_a_table_with_shared_columns_keeps_when_each_was_edited(table: str) -> None:
    mapping = load_mappings()[table]
    assert (mapping.mode == "shared") == ("edited_at" in DDL[table])


def test_the_parser_reads_what_the_ddl_uses() -> None:
    parsed = tables(
        "CREATE TABLE t (\n  a numeric(5, 1) NOT NULL DEFAULT 0 CHECK (a BETWEEN 1 AND 2),\n  b text CHECK (b IN ('x', 'y,z')), -- why, so\n  UNIQUE (a, b)\n);"
    )
    assert list(parsed["t"]) == ["a", "b"]
    assert parsed["t"]["a"] == SqlColumn("a", "numeric(5,1)", False, "0", False, None, None)
    assert parsed["t"]["b"].choices == ("x", "y,z")


@pytest.mark.parametrize("table", TABLES)
def test_load_order_puts_parents_first(table: str) -> None:
    mappings = load_mappings()
    order = {name: index for index, name in enumerate(mappings.tables)}
    for target in mappings[table].targets:
        for field in target.fields.values():
            parent = field.references.table if field.references else None
            if parent is not None and parent != table:
                assert order[parent] < order[table], field.name
            assert field.second_pass == (parent == table and field.sources != ("id",)), field.name


def test_a_field_of_several_tables_is_one_field() -> None:
    """Account.Phone, Contact.Time_Zone__c ...: metadata has each once, so the files must agree."""
    seen: dict[tuple[str, str], tuple[object, ...]] = {}
    for mapping in load_mappings():
        for target in mapping.targets:
            for field in target.all_fields.values():
                shape = (field.type, field.length, field.precision, field.scale, field.references.object if field.references else None)
                assert seen.setdefault((field.metadata_object, field.metadata_name), shape) == shape, (mapping.table, field.name)


def test_every_picklist_has_its_columns_choices() -> None:
    for mapping in load_mappings():
        for target in mapping.targets:
            for field in target.fields.values():
                if field.type in ("Picklist", "MultiselectPicklist"):
                    assert field.picklist, f"{mapping.table}: {field.name}"
                    assert len(set(field.picklist)) == len(field.picklist)
                    choices = mapping.columns[field.sources[0]].choices if field.sources[0] in mapping.columns else None
                    if choices and field.transform == "text":
                        assert field.picklist == choices


def test_api_names_are_what_salesforce_takes() -> None:
    """Setup's rules: 40 characters, letters, digits, single underscores."""
    for mapping in load_mappings():
        for target in mapping.targets:
            for field in target.all_fields.values():
                bare = re.sub(r"__p?c$", "", field.name)
                assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", bare), field.name
                assert len(bare) <= 40
                assert len(field.label) <= 40
