"""From JSON to what the database stores, strictly: PostgreSQL's own parsers are too generous ('today', '2024-1-1').

A bad value is a `ValueError` that says what was expected; it never repeats the value. The same knowledge as JSON Schema
is in `json_schema`.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from psycopg.types.json import Jsonb

from .catalog import ADDRESS_UNITS, CREATE_ONLY, READ_ONLY, Column, Table
from .problems import Problem

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d([.]\d{1,6})?)?(Z|[+-]\d\d:\d\d)")
NUMERIC = re.compile(r"-?\d{1,20}([.]\d{1,10})?")
ADDRESS_PARTS = ("recipient_name", "line1", "line2", "city", "state_code", "postal_code", "country_code")
#: shown with an address; sending them back is no fault and changes nothing
ADDRESS_SHOWN = ("id", "validation_status")

type Json = bool | int | float | Decimal | str | list[Json] | dict[str, Json] | None


def row_values(table: Table, body: Mapping[str, Json], *, creating: bool) -> dict[str, object]:
    """The body's columns as database values. Unknown, read-only and ill-typed columns are all named in one 422."""
    values: dict[str, object] = {}
    faults: list[dict[str, object]] = []
    for name, value in body.items():
        try:
            if table.name == "patients" and name in ADDRESS_UNITS:
                values[name] = address_value(value)
            else:
                values[name] = column_value(_writable(table, name, creating), value)
        except ValueError as fault:
            faults.append({"column": name, "message": str(fault)})
    if creating:
        missing = [column.name for column in table.writable if column.required and column.name not in body]
        faults += [{"column": name, "message": "is required"} for name in missing]
    if faults:
        raise Problem(422, f"{len(faults)} of the columns cannot be accepted.", faults)
    return values


def _writable(table: Table, name: str, creating: bool) -> Column:
    column = table.columns.get(name)
    if column is None:
        raise ValueError(f"is no column of {table.name}")
    if name in READ_ONLY or (name in CREATE_ONLY and not creating):
        raise ValueError("is set by the OMS alone")
    return column


def column_value(column: Column, value: Json) -> object:
    """One column's value for the database; None where the JSON is null."""
    if value is None:
        if not column.nullable:
            raise ValueError("must not be null")
        return None
    converted = CONVERTERS[column.kind](value)
    if isinstance(converted, str) and column.length is not None and len(converted) > column.length:
        raise ValueError(f"must have at most {column.length} characters")
    if column.choices and converted not in column.choices:
        raise ValueError("must be one of " + ", ".join(column.choices))
    if isinstance(converted, Decimal):
        _check_scale(column, converted)
    return converted


def address_value(value: Json) -> dict[str, object] | None:
    """Parts of a default address: what is left out stays as it is (null in a new one). None clears the address."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("must be an address object or null")
    unknown = set(value) - set(ADDRESS_PARTS) - set(ADDRESS_SHOWN)
    if unknown:
        raise ValueError("knows only " + ", ".join(ADDRESS_PARTS))
    parts = {name: None if value[name] is None else _text(value[name]) for name in ADDRESS_PARTS if name in value}
    for name in ("line1", "city"):
        if name in parts and not parts[name]:
            raise ValueError(f"needs {name}")
    if "country_code" in parts:
        parts["country_code"] = parts["country_code"] or "US"
        if len(str(parts["country_code"])) != 2:
            raise ValueError("needs a country_code of two letters")
    if not parts:
        raise ValueError("names no part of an address")
    return dict(parts)


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if "\0" in value:
        raise ValueError("must not contain the character U+0000")
    try:
        value.encode()
    except UnicodeEncodeError as fault:
        raise ValueError("must be valid Unicode (it has half of a surrogate pair)") from fault
    return value


def _matching(pattern: re.Pattern[str], expected: str) -> Callable[[Json], str]:
    def convert(value: Json) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"must be {expected}")
        return value

    return convert


def _integer(low: int, high: int) -> Callable[[Json], int]:
    def convert(value: Json) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return convert


def _boolean(value: Json) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _decimal(value: Json) -> Decimal:
    text = str(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not NUMERIC.fullmatch(text):
        raise ValueError('must be a decimal number, as a string ("12.5")')
    return Decimal(text)


def _check_scale(column: Column, value: Decimal) -> None:
    assert column.precision is not None and column.scale is not None
    if value != round(value, column.scale) or abs(value) >= 10 ** (column.precision - column.scale):
        raise ValueError(f"must fit numeric({column.precision},{column.scale})")


def _date(value: Json) -> datetime.date:
    text = _matching(DATE, "a date like 2024-02-29")(value)
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as fault:
        raise ValueError("must be a day of the calendar") from fault


def _time(value: Json) -> datetime.datetime:
    text = _matching(TIME, "a time with its zone, like 2024-02-29T12:30:00.000000Z")(value)
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except (ValueError, OverflowError) as fault:
        raise ValueError("must be a moment of the calendar") from fault


def _texts(value: Json) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("must be an array of strings")
    return [_text(item) for item in value]


def _json(value: Json) -> Jsonb:
    _check_json(value)
    return Jsonb(value, dumps=_dump)


def _check_json(value: Json) -> None:
    """jsonb has no U+0000 and no half surrogates, in keys neither."""
    if isinstance(value, str):
        _text(value)
    elif isinstance(value, list):
        for item in value:
            _check_json(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _text(key)
            _check_json(item)


def _dump(value: Json) -> str:
    return json.dumps(value, default=float, ensure_ascii=False)


def _inet(value: Json) -> str:
    try:
        return str(ipaddress.ip_interface(_text(value)))
    except ValueError as fault:
        raise ValueError("must be an IP address") from fault


CONVERTERS: Mapping[str, Callable[[Json], object]] = {
    "uuid": _matching(UUID, "a UUID"),
    "text": _text,
    "bpchar": _text,
    "int4": _integer(-(2**31), 2**31 - 1),
    "int8": _integer(-(2**63), 2**63 - 1),
    "bool": _boolean,
    "numeric": _decimal,
    "date": _date,
    "timestamptz": _time,
    "text[]": _texts,
    "jsonb": _json,
    "inet": _inet,
}

SCHEMAS: Mapping[str, dict[str, object]] = {
    "uuid": {"type": "string", "format": "uuid"},
    "text": {"type": "string"},
    "bpchar": {"type": "string"},
    "int4": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "int8": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "numeric": {"type": "string", "pattern": r"^-?\d{1,20}([.]\d{1,10})?$"},
    "date": {"type": "string", "format": "date"},
    "timestamptz": {"type": "string", "format": "date-time"},
    "text[]": {"type": "array", "items": {"type": "string"}},
    "jsonb": {},
    "inet": {"type": "string"},
    "xid8": {"type": "string"},
}


def json_schema(column: Column) -> dict[str, object]:
    """The column as JSON Schema (2020-12), for OpenAPI."""
    schema = dict(SCHEMAS[column.kind])
    if column.length is not None:
        schema["maxLength"] = column.length
    if column.pattern:
        schema["pattern"] = column.pattern
    if column.choices:
        schema["enum"] = list(column.choices) + ([None] if column.nullable else [])
    if column.nullable and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if column.references:
        schema["description"] = f"id of a row of {column.references}"
    return schema


def address_schema() -> dict[str, object]:
    properties: dict[str, object] = {name: {"type": ["string", "null"]} for name in (*ADDRESS_SHOWN, *ADDRESS_PARTS)}
    properties |= {"line1": {"type": "string", "minLength": 1}, "city": {"type": "string", "minLength": 1}}
    properties["country_code"] = {"type": ["string", "null"], "minLength": 2, "maxLength": 2}
    return {"type": ["object", "null"], "properties": properties, "required": ["line1", "city"], "additionalProperties": False}
