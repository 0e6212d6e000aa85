"""The tables as the database knows them: read from its catalog once, so that schema.sql stays the only source.

From it come the validation of request bodies (`values.py`), the routes and their OpenAPI schemas (`openapi.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row

#: set by the database alone; `deleted_at` may be patched, `id` and `created_at` may be brought on create
READ_ONLY = frozenset({"version", "updated_at", "change_xid", "changed_by", "edited_at"})
CREATE_ONLY = frozenset({"id", "created_at"})
#: columns the triggers fill where a created row lacks them
FILLED = frozenset(
    {
        *("patient_number", "consultation_number", "subscription_number", "rx_number", "order_number", "shipment_number", "case_number"),
        "body_sha256",
    }
)
#: a patient's default addresses, shown and patched as if they were columns
ADDRESS_UNITS = {"shipping_address": "shipping", "billing_address": "billing"}


@dataclass(frozen=True)
class Column:
    """One column. `kind` is the PostgreSQL type without its modifier (`bpchar` = char(n), `text[]`)."""

    name: str
    kind: str
    length: int | None
    precision: int | None
    scale: int | None
    nullable: bool
    has_default: bool
    choices: tuple[str, ...]
    pattern: str | None
    references: str | None

    @property
    def required(self) -> bool:
        """Must a create bring it?"""
        return not (self.nullable or self.has_default or self.name in FILLED)


@dataclass(frozen=True)
class Table:
    name: str
    comment: str
    columns: Mapping[str, Column]

    @property
    def writable(self) -> list[Column]:
        return [column for column in self.columns.values() if column.name not in READ_ONLY]


COLUMNS = """
    SELECT c.relname AS table_name, a.attname AS name, t.typname AS type_name, a.atttypmod AS modifier, NOT a.attnotnull AS nullable,
           a.atthasdef AS has_default,
           (SELECT confrelid::regclass::text FROM pg_constraint
            WHERE contype = 'f' AND conrelid = a.attrelid AND conkey = ARRAY[a.attnum]) AS parent,
           (SELECT string_agg(pg_get_constraintdef(oid), ' ') FROM pg_constraint
            WHERE contype = 'c' AND conrelid = a.attrelid AND conkey = ARRAY[a.attnum]) AS checks
    FROM oms_tables() o JOIN pg_class c ON c.oid = o JOIN pg_attribute a ON a.attrelid = o JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.oid, a.attnum
"""


def read_catalog(connection: psycopg.Connection) -> dict[str, Table]:
    """All tables of the OMS by name, in the order of schema.sql."""
    columns: dict[str, dict[str, Column]] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(COLUMNS):
            columns.setdefault(row["table_name"], {})[row["name"]] = _column(row)
    return {name: Table(name, name.replace("_", " "), found) for name, found in columns.items()}


def _column(row: Mapping[str, object]) -> Column:
    kind, modifier, checks = str(row["type_name"]), int(str(row["modifier"])), str(row["checks"] or "")
    choices = re.findall(r"'([^']*)'::text", checks) if "= ANY (ARRAY[" in checks else []
    pattern = re.search(r"~ '([^']*)'::text", checks)
    return Column(
        name=str(row["name"]),
        kind={"_text": "text[]"}.get(kind, kind),
        length=modifier - 4 if kind == "bpchar" else None,
        precision=(modifier - 4) >> 16 if kind == "numeric" else None,
        scale=(modifier - 4) & 0xFFFF if kind == "numeric" else None,
        nullable=bool(row["nullable"]),
        has_default=bool(row["has_default"]),
        choices=tuple(choices),
        pattern=pattern.group(1) if pattern else None,
        references=str(row["parent"]) if row["parent"] else None,
    )
