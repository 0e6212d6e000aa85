"""WHERE and HAVING as SQL, with Salesforce's rules: two-valued logic, nulls that differ from everything, typed literals.

Text compares without case by the columns' NOCASE collation; a literal beyond ASCII goes through `sf_fold` on both sides.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from local.salesforce.context import Context
from local.salesforce.dml_types import Stored
from local.salesforce.ids import MalformedId, normalise
from local.salesforce.schema import FieldType, Kind
from local.salesforce.soql.dates import bounds
from local.salesforce.soql.errors import SoqlError, error_at
from local.salesforce.soql.functions import call_sql, is_aggregate
from local.salesforce.soql.nodes import Call, Compare, Condition, DateLiteral, Expr, Field, Junction, Literal, Membership, Not, Query
from local.salesforce.soql.scope import Scope

_MANY = 200
_SQL_OPERATORS = {"=": "=", "!=": "IS NOT", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TYPE_NAMES = {"datetime": "dateTime", "double": "double"}

type SubselectSql = Callable[[Query], tuple[str, FieldType]]


class Operand:
    """The left side of a comparison: its SQL and what it is compared as."""

    def __init__(self, sql: str, field: FieldType, name: str, offset: int, *, joined: bool) -> None:
        self.sql = sql
        self.field = field
        self.name = name
        self.offset = offset
        self.joined = joined

    @property
    def kind(self) -> Kind:
        return self.field.kind


class Filter:
    """Compiles the conditions of one SELECT; `params` grow in the order of the placeholders."""

    def __init__(self, scope: Scope, context: Context, params: list[Stored], subselect: SubselectSql) -> None:
        self.scope = scope
        self.context = context
        self.params = params
        self._subselect = subselect
        self._semi_joins = 0

    def sql(self, condition: Condition, *, aggregates: bool = False, under_or: bool = False) -> str:
        """A condition's SQL; NULL counts as false. `aggregates` allows COUNT and its kin: HAVING."""
        match condition:
            case Junction(operator, parts):
                keyset = self._keyset(condition)
                if keyset is not None:
                    return keyset
                each = [self.sql(part, aggregates=aggregates, under_or=under_or or operator == "OR") for part in parts]
                return _balanced(each, operator)
            case Not(part):
                return f"({self.sql(part, aggregates=aggregates, under_or=True)}) IS NOT TRUE"
            case Compare():
                return self._compare(condition, aggregates=aggregates)
            case Membership():
                return self._membership(condition, aggregates=aggregates, under_or=under_or)

    # Operands -------------------------------------------------------------------------------------------------------

    def _operand(self, expr: Expr, *, aggregates: bool) -> Operand:
        if isinstance(expr, Field):
            column = self.scope.column(expr)
            if not column.field.filterable or not column.sql:
                raise self._invalid(expr.offset, f"field '{column.field.name}' can not be filtered in a query call")
            sql = column.sql
            if column.joined and column.field.kind is Kind.CHECKBOX:
                sql = f"COALESCE({sql}, 0)"
            return Operand(sql, column.field, column.field.name, expr.offset, joined=column.joined)
        if is_aggregate(expr) and not aggregates:
            raise error_at(self.scope.text, expr.offset, "MALFORMED_QUERY", f"Aggregate functions are not allowed here: {expr.name}")
        sql, field = call_sql(expr, self.scope)
        return Operand(sql, field, expr.name, expr.offset, joined=True)

    def _invalid(self, offset: int, text: str, code: str = "INVALID_FIELD") -> SoqlError:
        return error_at(self.scope.text, offset, code, text)

    # Comparisons ----------------------------------------------------------------------------------------------------

    def _compare(self, condition: Compare, *, aggregates: bool) -> str:
        left = self._operand(condition.left, aggregates=aggregates)
        if isinstance(condition.left, Call) and condition.left.name == "TOLABEL":
            return self._label(left, condition)
        if condition.operator == "LIKE":
            return self._like(left, condition.right)
        self._check_operator(left, condition.operator)
        if isinstance(condition.right.value, DateLiteral):
            return self._date_literal(left, condition.operator, condition.right.value)
        value = self.value(left, condition.right)
        return self._simple(left, condition.operator, value)

    def _simple(self, left: Operand, operator: str, value: Stored) -> str:
        if value is None:
            if operator not in ("=", "!="):
                return "0"
            return f"{left.sql} IS {'NOT ' if operator == '!=' else ''}NULL"
        sql, mark = left.sql, "?"
        if isinstance(value, str) and left.field.is_text and not value.isascii():
            sql, mark = f"sf_fold({sql})", "sf_fold(?)"
        self.params.append(value)
        return f"{sql} {_SQL_OPERATORS[operator]} {mark}"

    def _check_operator(self, left: Operand, operator: str) -> None:
        if operator in ("<", "<=", ">", ">=") and left.kind is Kind.CHECKBOX:
            raise self._invalid(left.offset, "invalid operator on boolean field", "MALFORMED_QUERY")

    def _like(self, left: Operand, literal: Literal) -> str:
        if not left.field.is_text:
            raise self._invalid(left.offset, f"invalid operator on {left.field.describe_type} field", "MALFORMED_QUERY")
        if not isinstance(literal.value, str):
            raise self._wrong_type(left)
        pattern = literal.value
        self.params.append(pattern)
        if pattern.isascii():
            return f"{left.sql} LIKE ? ESCAPE '\\'"
        return f"sf_fold({left.sql}) LIKE sf_fold(?) ESCAPE '\\'"

    def _label(self, left: Operand, condition: Compare) -> str:
        """toLabel(Status) = 'Label': the values that bear the label."""
        if not isinstance(condition.right.value, str) or condition.operator not in ("=", "!="):
            raise self._wrong_type(left)
        wanted = condition.right.value.casefold()
        values = [v.value for v in left.field.picklist if v.label.casefold() == wanted] or [condition.right.value]
        listed = self._listed(left, values)
        return f"{listed} IS NOT TRUE" if condition.operator == "!=" else f"{listed} IS TRUE"

    def _date_literal(self, left: Operand, operator: str, literal: DateLiteral) -> str:
        if left.kind not in (Kind.DATE, Kind.DATETIME):
            raise self._wrong_type(left)
        first, end = (self._midnight(left, day) for day in bounds(literal, self._today()))
        match operator:
            case "=":
                self.params += [first, end]
                return f"({left.sql} >= ? AND {left.sql} < ?)"
            case "!=":
                self.params += [first, end]
                return f"({left.sql} >= ? AND {left.sql} < ?) IS NOT TRUE"
            case "<" | ">=":
                return self._simple(left, operator, first)
            case _:
                return self._simple(left, ">=" if operator == ">" else "<", end)

    def _zone(self) -> dt.tzinfo:
        try:
            return ZoneInfo(str(self.context.user.get("TimeZoneSidKey") or "UTC"))
        except (ZoneInfoNotFoundError, ValueError):
            return dt.UTC

    def _today(self) -> dt.date:
        return self.context.now().astimezone(self._zone()).date()

    def _midnight(self, left: Operand, day: dt.date) -> str:
        """A day's beginning for the caller, as it is stored."""
        if left.kind is Kind.DATE:
            return day.isoformat()
        if day in (dt.date.min, dt.date.max):
            return f"{day.isoformat()}T00:00:00.000Z"
        return _moment(dt.datetime.combine(day, dt.time(), self._zone()).astimezone(dt.UTC))

    # Sets -----------------------------------------------------------------------------------------------------------

    def _membership(self, condition: Membership, *, aggregates: bool, under_or: bool) -> str:
        left = self._operand(condition.left, aggregates=aggregates)
        if isinstance(condition.values, Query):
            return self._semi_join(left, condition.operator, condition.values, under_or=under_or)
        if condition.operator in ("INCLUDES", "EXCLUDES"):
            return self._includes(left, condition.operator, condition.values)
        if any(isinstance(literal.value, DateLiteral) for literal in condition.values):
            each = [self._compare(Compare(condition.left, "=", literal), aggregates=aggregates) for literal in condition.values]
            return f"{_balanced(each, 'OR')} IS {'TRUE' if condition.operator == 'IN' else 'NOT TRUE'}"
        values = [self.value(left, literal) for literal in condition.values]
        listed = self._listed(left, [v for v in values if v is not None])
        if None in values:
            listed = f"({listed} OR {left.sql} IS NULL)"
        # Whatever is in the list, a null is not: NOT IN keeps it, as != does.
        return f"{listed} IS NOT TRUE" if condition.operator == "NOT IN" else listed

    def _listed(self, left: Operand, values: Sequence[Stored]) -> str:
        if not values:
            return "0"
        sql = left.sql
        if left.field.is_text and any(isinstance(v, str) and not v.isascii() for v in values):
            sql, values = f"sf_fold({sql})", [v.casefold() if isinstance(v, str) else v for v in values]
        if len(values) <= _MANY:
            self.params += values
            return f"{sql} IN ({', '.join('?' * len(values))})"
        self.params.append(json.dumps(values))
        return f"{sql} IN (SELECT value FROM json_each(?))"

    def _includes(self, left: Operand, operator: str, literals: Sequence[Literal]) -> str:
        if left.kind is not Kind.MULTI_PICKLIST:
            text = f"includes and excludes operators can only be used with multipicklist fields: {left.name}"
            raise self._invalid(left.offset, text, "MALFORMED_QUERY")
        each: list[str] = []
        for literal in literals:
            value = self.value(left, literal)
            wanted = [part.strip() for part in str(value).split(";")] if value is not None else []
            self.params += [f";{part};" for part in wanted]
            each.append(_balanced([f"instr(lower(';' || {left.sql} || ';'), lower(?)) > 0" for _ in wanted] or ["0"], "AND"))
        return f"{_balanced(each, 'OR')} IS {'TRUE' if operator == 'INCLUDES' else 'NOT TRUE'}"

    def _semi_join(self, left: Operand, operator: str, query: Query, *, under_or: bool) -> str:
        self._semi_joins += 1
        if self._semi_joins > 2:
            raise self._invalid(left.offset, "Maximum 2 semi join sub-selects are allowed", "MALFORMED_QUERY")
        if under_or:
            raise self._invalid(left.offset, "Semi join sub-selects are not allowed with the 'OR' operator", "MALFORMED_QUERY")
        if left.kind is not Kind.ID and not left.field.is_reference:
            text = f"The left operand field in the where expression for outer query should be an id field, cannot use: '{left.name}'"
            raise self._invalid(left.offset, text, "MALFORMED_QUERY")
        sql, selected = self._subselect(query)
        own = self._targets(left.field, self.scope.object.name)
        theirs = self._targets(selected, query.sources[0].path[-1])
        if not own & theirs:
            text = (
                f"The selected field '{selected.name}' in the subquery and the left operand field in the where expression in the outer "
                f"query '{left.name}' should point to the same object type"
            )
            raise self._invalid(left.offset, text, "MALFORMED_QUERY")
        listed = f"{left.sql} IN ({sql})"
        return f"({listed}) IS NOT TRUE" if operator == "NOT IN" else listed

    @staticmethod
    def _targets(f: FieldType, object_name: str) -> set[str]:
        return {name.lower() for name in (f.references or (object_name,))}

    # Literals -------------------------------------------------------------------------------------------------------

    def value(self, left: Operand, literal: Literal) -> Stored:
        """A literal as the field stores it, or INVALID_FIELD when its type is another."""
        value = literal.value
        if value is None:
            return None
        if left.kind is Kind.ID or left.field.is_reference:
            return self._id(left, value)
        if left.field.is_text:
            if not isinstance(value, str):
                raise self._wrong_type(left)
            return value or None
        if left.kind is Kind.CHECKBOX and isinstance(value, bool):
            return int(value)
        if left.field.is_number and isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return float(value)
        if left.kind is Kind.DATETIME and isinstance(value, dt.datetime):
            return _moment(value)
        if left.kind is Kind.DATE and isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return value.isoformat()
        raise self._wrong_type(left)

    def _id(self, left: Operand, value: object) -> Stored:
        if not isinstance(value, str):
            raise self._wrong_type(left)
        if not value:
            return None
        try:
            return normalise(value)
        except MalformedId:
            raise self._invalid(left.offset, f"invalid ID field: {value}", "MALFORMED_QUERY") from None

    def _wrong_type(self, left: Operand) -> SoqlError:
        described = left.field.describe_type
        if left.field.is_text or left.field.is_reference or left.kind is Kind.ID:
            text = f"value of filter criterion for field '{left.name}' must be of type string and should be enclosed in quotes"
        else:
            name = _TYPE_NAMES.get(described, described)
            text = f"value of filter criterion for field '{left.name}' must be of type {name} and should not be enclosed in quotes"
        return self._invalid(left.offset, text)

    # Keysets --------------------------------------------------------------------------------------------------------

    def _keyset(self, condition: Junction) -> str | None:
        """`a > x OR (a = x AND b > y)` is `(a, b) > (x, y)`, which SQLite can answer from an index on (a, b)."""
        if condition.operator != "OR" or len(condition.parts) != 2:
            return None
        for first, second in (condition.parts, condition.parts[::-1]):
            found = self._as_keyset(first, second)
            if found is not None:
                return found
        return None

    def _as_keyset(self, first: Condition, second: Condition) -> str | None:
        if not (isinstance(first, Compare) and first.operator == ">" and isinstance(second, Junction) and second.operator == "AND"):
            return None
        if len(second.parts) != 2 or not all(isinstance(part, Compare) for part in second.parts):
            return None
        same, then = second.parts
        if not (isinstance(same, Compare) and isinstance(then, Compare) and same.operator == "=" and then.operator == ">"):
            return None
        if not (_same_field(first.left, same.left) and first.right.value == same.right.value):
            return None
        left, right = self._operand(first.left, aggregates=False), self._operand(then.left, aggregates=False)
        simple = all(o.field.nillable is False and not o.joined and not o.field.is_text for o in (left, right))
        if not simple or isinstance(first.right.value, DateLiteral) or isinstance(then.right.value, DateLiteral):
            return None
        values = [self.value(left, first.right), self.value(right, then.right)]
        if None in values:
            return None
        self.params += values
        return f"({left.sql}, {right.sql}) > (?, ?)"


def _moment(at: dt.datetime) -> str:
    """A moment in UTC as it is stored; strftime would not pad the years before 1000."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _same_field(one: Expr, other: Expr) -> bool:
    return isinstance(one, Field) and isinstance(other, Field) and one.text.lower() == other.text.lower()


def _balanced(parts: Sequence[str], operator: str) -> str:
    """Parts joined as a balanced tree: SQLite refuses expressions nested a thousand deep."""
    if len(parts) == 1:
        return parts[0] if parts[0].startswith("(") else f"({parts[0]})"
    middle = len(parts) // 2
    return f"({_balanced(parts[:middle], operator)} {operator} {_balanced(parts[middle:], operator)})"
