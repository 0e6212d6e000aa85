"""Rows as the OMS's API gives them, for the tests of special cases."""

from __future__ import annotations

from typing import Any

from omsync.mapping import load_mappings

ID = "0b6f2f0e-9d0e-4d0e-8d5e-0b8a4c1f2e37"
OTHER = "0b6f2f0e-9d0e-4d0e-8d5e-0b8a4c1f2e38"
BORN_IN_SALESFORCE = "0b6f2f0e-9d0e-5d0e-8d5e-0b8a4c1f2e37"
_VALUES: dict[str, Any] = {
    "text": "text",
    "uuid": OTHER,
    "boolean": False,
    "integer": 1,
    "bigint": 100,
    "date": "2026-02-05",
    "timestamptz": "2026-01-31T23:59:59.123456Z",
    "jsonb": {},
    "inet": "10.0.0.1",
    "xid8": "77",
    "text[]": [],
}
ADDRESS = {
    "id": OTHER,
    "recipient_name": "Ada L",
    "line1": "1 Main St",
    "line2": "Apt 4",
    "city": "Springfield",
    "state_code": "IL",
    "postal_code": "62701",
    "country_code": "US",
    "validation_status": "valid",
}


def sample(table: str, **values: Any) -> dict[str, Any]:
    """A plain row of a table: nulls where they may be, else something valid."""
    mapping = load_mappings()[table]
    row: dict[str, Any] = {"edited_at": {}} if mapping.shared_columns else {}
    for name, column in mapping.columns.items():
        if column.nullable:
            row[name] = None
        elif column.choices:
            row[name] = column.choices[0]
        elif column.only:
            row[name] = column.only[0]
        elif column.length:
            row[name] = "1" * column.length
        else:
            row[name] = "1.5" if column.type.startswith("numeric") else _VALUES[column.type]
    return row | dict.fromkeys(mapping.embedded) | {"id": ID, "version": 3} | values
