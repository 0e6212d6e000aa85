"""Pydantic models of OMS rows, made from the columns: the doors validate with them, the API's request schemas are their JSON Schema.

`row_model("patients")` takes a full row as the OMS sends it: every column present, `edited_at` on shared tables, default addresses on
patients. Columns that the mapping does not know are ignored, so that the OMS may add one before the mapping does.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt, StrictStr, WithJsonSchema, create_model

from omsync.mapping.load import load_mappings
from omsync.mapping.model import Column, TableMapping


class OmsRow(BaseModel):
    """Base of all row models."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _is_date(value: str) -> str:
    if len(value) != 10:
        raise ValueError("expected a date YYYY-MM-DD")
    date.fromisoformat(value)
    return value


def _is_moment(value: str) -> str:
    if datetime.fromisoformat(value).tzinfo is None:
        raise ValueError("expected a moment with its offset, such as 2026-01-31T23:59:59.123456Z")
    return value


def _is_uuid(value: str) -> str:
    UUID(value)
    if len(value) != 36:
        raise ValueError("expected a UUID of 36 characters")
    return value


UuidText = Annotated[StrictStr, AfterValidator(_is_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
DateText = Annotated[StrictStr, AfterValidator(_is_date), WithJsonSchema({"type": "string", "format": "date"})]
MomentText = Annotated[StrictStr, AfterValidator(_is_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
_PLAIN: dict[str, Any] = {
    "text": StrictStr,
    "inet": StrictStr,
    "xid8": StrictStr,
    "uuid": UuidText,
    "date": DateText,
    "timestamptz": MomentText,
    "boolean": StrictBool,
    "integer": Annotated[StrictInt, Field(ge=-(2**31), lt=2**31)],
    "bigint": Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)],
    "text[]": list[StrictStr],
    "jsonb": JsonValue,
}


def _annotation(column: Column) -> Any:
    """The Python type of a column. (A dynamic model has no static one.)"""
    kind: Any
    if column.choices is not None:
        kind = Literal[column.choices]
    elif column.length is not None:
        kind = Annotated[StrictStr, Field(max_length=column.length)]
    elif column.type.startswith("numeric("):
        precision, scale = (int(part) for part in column.type[8:-1].split(","))
        kind = Annotated[
            Decimal, Field(max_digits=precision, decimal_places=scale), WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?$"})
        ]
    else:
        kind = _PLAIN[column.type]
    return kind | None if column.nullable else kind


@cache
def row_model(table: str) -> type[OmsRow]:
    """The model of a full row of a table."""
    mapping = load_mappings()[table]
    fields: dict[str, Any] = {name: (_annotation(column), ...) for name, column in mapping.columns.items()}
    for name in mapping.embedded:
        fields[name] = (embedded_model(table, name) | None, ...)
    if mapping.shared_columns:
        edited = {*mapping.shared_columns, *mapping.embedded}
        note = f"when each shared column was last edited: {', '.join(sorted(edited))}"
        fields["edited_at"] = (dict[str, MomentText | None], Field(default_factory=dict, description=note))
    return create_model(_class_name(table), __base__=OmsRow, **fields)


@cache
def embedded_model(table: str, name: str) -> type[OmsRow]:
    """The model of a row inside a row: a patient's default shipping address."""
    mappings = load_mappings()
    columns = mappings[mappings[table].embedded[name].table].columns
    fields: dict[str, Any] = {key: (_annotation(columns[key]), ...) for key in ("id", *embedded_columns(mappings[table], name))}
    return create_model(_class_name(name), __base__=OmsRow, **fields)


def embedded_columns(mapping: TableMapping, name: str) -> tuple[str, ...]:
    """The columns of an embedded row that some field is made of."""
    paths = [path for target in mapping.targets for field in target.fields.values() for path in field.sources]
    return tuple(dict.fromkeys(path.partition(".")[2] for path in paths if path.startswith(f"{name}.")))


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
