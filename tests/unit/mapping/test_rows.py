"""The doors' row models, and what a log may show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from omsync.mapping import load_mappings, phi_columns, phi_fields, row_model, safe_columns
from tests.unit.mapping.samples import ADDRESS, sample
from tests.unit.mapping.strategies import rows

TABLES = load_mappings().tables


@pytest.mark.parametrize("table", TABLES)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_full_row_is_taken(table: str, data: st.DataObject) -> None:
    row_model(table).model_validate(data.draw(rows(table)) | {"version": 1})


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_asked_for(table: str) -> None:
    for column in load_mappings()[table].columns:
        row = sample(table)
        del row[column]
        with pytest.raises(ValidationError) as fault:
            row_model(table).model_validate(row)
        assert [error["loc"] for error in fault.value.errors()] == [(column,)]


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("orders", "id", "42"),
        ("orders", "id", "{0b6f2f0e-9d0e-4d0e-8d5e-0b8a4c1f2e3}"),
        ("orders", "status", "lost"),
        ("orders", "total_cents", "100"),
        ("orders", "total_cents", 2**63),
        ("orders", "placed_at", "2026-01-31T10:00:00"),
        ("orders", "placed_at", 1700000000),
        ("orders", "expected_on", "2026-02-30"),
        ("orders", "expected_on", "2026-02-03T00:00:00Z"),
        ("orders", "currency", "EURO"),
        ("orders", "order_number", None),
        ("patients", "sms_opt_in", "yes"),
        ("patients", "height_cm", "12345.6"),
        ("patients", "height_cm", "1.55"),
        ("patients", "risk_flags", "cardiac"),
        ("patients", "shipping_address", {"line1": "1 Main St"}),
        ("patients", "edited_at", {"email": "now"}),
        ("order_items", "quantity", 2**31),
    ],
)
def test_a_bad_value_is_named(table: str, column: str, value: Any) -> None:
    with pytest.raises(ValidationError) as fault:
        row_model(table).model_validate(sample(table) | {column: value})
    assert {error["loc"][0] for error in fault.value.errors()} == {column}


def test_a_patients_addresses_and_edit_times_are_taken() -> None:
    edited = {"email": "2026-01-31T10:00:00.000000Z", "shipping_address": None}
    row_model("patients").model_validate(sample("patients", shipping_address=ADDRESS, edited_at=edited, a_new_column=1))


def test_the_schema_says_formats_and_choices() -> None:
    schema = row_model("orders").model_json_schema()
    assert schema["properties"]["id"] == {"format": "uuid", "title": "Id", "type": "string"}
    assert schema["properties"]["status"]["enum"][0] == "draft"
    assert set(schema["required"]) == set(load_mappings()["orders"].columns)


def test_phi_is_what_the_files_mark() -> None:
    assert {"first_name", "email", "shipping_address", "care_notes", "stripe_customer_id"} <= phi_columns("patients")
    assert "status" not in phi_columns("patients")
    assert phi_columns("products") == frozenset()
    assert {"FirstName", "PersonMailingStreet", "PersonEmail"} <= phi_fields("Account")
    assert "Name" not in phi_fields("Product2")


def test_of_a_patients_row_a_log_may_show_only_which_and_how_new() -> None:
    for mapping in load_mappings():
        assert not safe_columns(mapping.table) & phi_columns(mapping.table)
        if "patient_id" in mapping.columns or mapping.table == "patients":
            assert mapping.patient_keyed
            assert not safe_columns(mapping.table) & set(mapping.own_columns)
    assert "sku" in safe_columns("products")
