"""SOQL's functions as SQL: aggregates, date functions, and the ones that only change how a value is shown."""

from __future__ import annotations

from dataclasses import replace

from local.salesforce.schema import FieldType, Kind
from local.salesforce.soql.errors import SoqlError, error_at, malformed
from local.salesforce.soql.nodes import Call, Expr, Field
from local.salesforce.soql.parser import AGGREGATES, DATE_FUNCTIONS, RENDERERS
from local.salesforce.soql.scope import Column, Scope

_INTEGER = FieldType("", "", Kind.INTEGER)
_DATE = FieldType("", "", Kind.DATE)
_DOUBLE = FieldType("", "", Kind.NUMBER)

# Months and quarters of fiscal and calendar years are the same: the org's fiscal year begins in January.
_DATE_SQL = {
    "YEAR": "CAST(substr({0}, 1, 4) AS INTEGER)",
    "MONTH": "CAST(substr({0}, 6, 2) AS INTEGER)",
    "QUARTER": "(CAST(substr({0}, 6, 2) AS INTEGER) + 2) / 3",
    "DAY_IN_MONTH": "CAST(substr({0}, 9, 2) AS INTEGER)",
    "DAY_IN_WEEK": "CAST(strftime('%w', {0}) AS INTEGER) + 1",
    "DAY_IN_YEAR": "CAST(strftime('%j', {0}) AS INTEGER)",
    "DAY_ONLY": "substr({0}, 1, 10)",
    "HOUR_IN_DAY": "CAST(substr({0}, 12, 2) AS INTEGER)",
    "WEEK_IN_MONTH": "(CAST(substr({0}, 9, 2) AS INTEGER) - 1) / 7 + 1",
    "WEEK_IN_YEAR": "(CAST(strftime('%j', {0}) AS INTEGER) - 1) / 7 + 1",
}


def is_aggregate(expr: Expr) -> bool:
    return isinstance(expr, Call) and expr.name in AGGREGATES


def is_renderer(expr: Expr) -> bool:
    return isinstance(expr, Call) and expr.name in RENDERERS


def has_aggregate(expr: Expr) -> bool:
    """Whether an aggregate is in it, at any depth: FORMAT(MAX(Amount))."""
    return isinstance(expr, Call) and (is_aggregate(expr) or any(has_aggregate(arg) for arg in expr.args))


def call_sql(call: Call, scope: Scope) -> tuple[str, FieldType]:
    """A function's SQL, and a field of the type that it gives."""
    if call.name in AGGREGATES:
        return _aggregate(call, scope)
    if call.name in DATE_FUNCTIONS:
        return _date_function(call, scope)
    return _renderer(call, scope)


def expr_sql(expr: Expr, scope: Scope) -> tuple[str, FieldType]:
    if isinstance(expr, Field):
        column = scope.column(expr)
        return column.sql, column.field
    return call_sql(expr, scope)


def _renderer(call: Call, scope: Scope) -> tuple[str, FieldType]:
    if call.name == "CONVERTTIMEZONE":
        raise malformed("convertTimezone() is not supported by this simulator")
    sql, field = expr_sql(call.args[0], scope)
    if call.name == "TOLABEL" and field.kind not in (Kind.PICKLIST, Kind.MULTI_PICKLIST) and field.name not in ("Name", "RecordTypeId"):
        raise _refuse(call, scope, f"toLabel() can only be used with picklist fields: {field.name}")
    return sql, field


def _plain_argument(call: Call, scope: Scope) -> Column:
    argument = call.args[0]
    if not isinstance(argument, Field):
        raise _refuse(call, scope, f"unexpected token: '{argument.name}'")
    return scope.column(argument)


def _aggregate(call: Call, scope: Scope) -> tuple[str, FieldType]:
    if not call.args:
        return "COUNT(*)", _INTEGER
    column = _plain_argument(call, scope)
    field = column.field
    if not _supports(call.name, field):
        raise _refuse(call, scope, f"field {field.name} does not support aggregate operator {call.name}")
    match call.name:
        case "COUNT":
            return f"COUNT({column.sql})", _INTEGER
        case "COUNT_DISTINCT":
            return f"COUNT(DISTINCT {column.sql})", _INTEGER
        case "SUM" | "AVG":
            kind = field.kind if call.name == "SUM" and field.kind is not Kind.INTEGER else _DOUBLE.kind
            return f"{call.name}({column.sql})", replace(_DOUBLE, kind=kind)
    return f"{call.name}({column.sql})", field


def _supports(name: str, field: FieldType) -> bool:
    if not field.filterable or not field.stored:
        return False
    if name in ("SUM", "AVG"):
        return field.is_number
    return not (name in ("MIN", "MAX") and field.kind in (Kind.CHECKBOX, Kind.MULTI_PICKLIST))


def _date_function(call: Call, scope: Scope) -> tuple[str, FieldType]:
    column = _plain_argument(call, scope)
    needs_time = call.name in ("HOUR_IN_DAY", "DAY_ONLY")
    if column.field.kind is not Kind.DATETIME and (needs_time or column.field.kind is not Kind.DATE):
        raise _refuse(call, scope, f"field {column.field.name} does not support date function {call.name}")
    key = call.name.removeprefix("CALENDAR_").removeprefix("FISCAL_")
    return _DATE_SQL[key].format(column.sql), _DATE if call.name == "DAY_ONLY" else _INTEGER


def _refuse(call: Call, scope: Scope, text: str) -> SoqlError:
    return error_at(scope.text, call.offset, "MALFORMED_QUERY", text)
