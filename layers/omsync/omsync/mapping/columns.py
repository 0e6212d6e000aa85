"""What a column of the OMS takes: the last check of a value on its way back from Salesforce."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

from omsync.mapping.errors import TransformError
from omsync.mapping.model import Column, Json
from omsync.mapping.normal import fit

INTEGER_LIMIT = {"integer": 2**31, "bigint": 2**63}


class Omit(Enum):
    """Says that a column is to be left out."""

    OMIT = "omit"


OMIT = Omit.OMIT


def accept(column: Column, value: Json) -> Json | Omit:
    """The value as the column takes it. Null in a NOT NULL column: left out if there is a default, '' in free text, else an error."""
    if value is None:
        return _null(column)
    if column.choices is not None and value not in column.choices:
        raise TransformError(f"not one of {', '.join(column.choices)}", code="not_a_choice")
    if column.length is not None:
        return fit(str(value), column.length)
    if column.type in INTEGER_LIMIT and isinstance(value, int) and abs(value) >= INTEGER_LIMIT[column.type]:
        raise TransformError(f"a number too large for {column.type}", code="number_too_large")
    if column.type.startswith("numeric("):
        precision, scale = (int(part) for part in column.type[8:-1].split(","))
        if abs(Decimal(str(value))) >= 10 ** (precision - scale):
            raise TransformError(f"a number too large for {column.type}", code="number_too_large")
    return value


def _null(column: Column) -> Json | Omit:
    if column.nullable:
        return None
    if not column.required:
        return OMIT
    if column.type == "text" and column.choices is None:
        return ""
    raise TransformError("a value, the column takes no null", code="null_refused")
