"""Stored values as the REST API shows them: booleans, `2026-01-01T00:00:00.000+0000`, doubles with their point, addresses.

`rest_value` renders one column; `record` a whole row in describe's order with its `attributes`.
"""

from __future__ import annotations

from collections.abc import Iterable

from local.salesforce.context import Permissions
from local.salesforce.dml_types import Row, Stored
from local.salesforce.schema import FieldType, Kind, ObjectType

_ADDRESS_PARTS = ("City", "Country", "GeocodeAccuracy", "Latitude", "Longitude", "PostalCode", "State", "Street")


def moment(stored: str) -> str:
    """`...123Z` -> `...123+0000`."""
    return stored[:-1] + "+0000" if stored.endswith("Z") else stored


def rest_value(f: FieldType, stored: Stored) -> object:
    """One column's value in JSON."""
    if f.kind is Kind.CHECKBOX:
        return bool(stored)
    if stored is None:
        return None
    if f.kind is Kind.DATETIME and isinstance(stored, str):
        return moment(stored)
    if f.kind is Kind.INTEGER:
        return int(float(stored))
    if f.is_number:
        return float(stored)
    if f.kind is Kind.ID_LIST and isinstance(stored, str):
        return stored.split(";")
    return stored


def address(obj: ObjectType, f: FieldType, row: Row) -> dict[str, object] | None:
    """A compound address, null where every part is."""
    stem = f.name.removesuffix("Address")
    parts: dict[str, object] = {}
    for part in _ADDRESS_PARTS:
        column = obj.field(f"{stem}{part}")
        parts[part[0].lower() + part[1:]] = None if column is None else rest_value(column, row.get(column.name))
    return parts if any(value is not None for value in parts.values()) else None


def attributes(obj: ObjectType, record_id: str, root: str) -> dict[str, str]:
    return {"type": obj.name, "url": f"{root}/sobjects/{obj.name}/{record_id}"}


def record(obj: ObjectType, row: Row, root: str, fields: Iterable[FieldType]) -> dict[str, object]:
    """A row with these fields."""
    shown: dict[str, object] = {"attributes": attributes(obj, str(row["Id"]), root)}
    for f in fields:
        shown[f.name] = address(obj, f, row) if f.kind is Kind.ADDRESS else rest_value(f, row.get(f.name))
    return shown


def visible_fields(obj: ObjectType, permissions: Permissions) -> list[FieldType]:
    """Every field the caller may see, in describe's order."""
    return [f for f in obj.fields.values() if permissions.readable(obj, f)]
