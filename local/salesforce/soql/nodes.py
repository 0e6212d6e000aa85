"""The syntax tree of a SOQL query. Every node that an error can point at carries its offset in the query's text."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Field:
    """A field by its path of names: ("Account", "Owner", "Name")."""

    path: tuple[str, ...]
    offset: int

    @property
    def text(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of expressions: COUNT(Id), toLabel(Status), CALENDAR_YEAR(CreatedDate). `COUNT()` has no argument."""

    name: str
    args: tuple[Expr, ...]
    offset: int


type Expr = Field | Call


@dataclass(frozen=True, slots=True)
class DateLiteral:
    """TODAY, LAST_N_DAYS:7, ...: `name` in upper case, `n` for the counted ones."""

    name: str
    n: int | None


type Value = str | bool | int | float | Decimal | dt.date | dt.datetime | DateLiteral | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal as typed: `value` parsed (None is null), `text` its source."""

    value: Value
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Compare:
    """`left operator right`; operator is one of = != < <= > >= LIKE."""

    left: Expr
    operator: str
    right: Literal


@dataclass(frozen=True, slots=True)
class Membership:
    """IN, NOT IN, INCLUDES, EXCLUDES against literals, or (IN, NOT IN) against a semi-join."""

    left: Expr
    operator: str
    values: tuple[Literal, ...] | Query


@dataclass(frozen=True, slots=True)
class Junction:
    """Conditions joined by AND or by OR, never both."""

    operator: str
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """NOT in front of a condition."""

    part: Condition


type Condition = Compare | Membership | Junction | Not


@dataclass(frozen=True, slots=True)
class SelectExpr:
    """A selected field, function or aggregate, perhaps with an alias."""

    expr: Expr
    alias: str | None


@dataclass(frozen=True, slots=True)
class SelectFields:
    """FIELDS(ALL), FIELDS(CUSTOM), FIELDS(STANDARD)."""

    scope: str
    offset: int


@dataclass(frozen=True, slots=True)
class SelectQuery:
    """A child relationship's subquery."""

    query: Query
    offset: int


@dataclass(frozen=True, slots=True)
class TypeofBranch:
    """WHEN object THEN fields."""

    object: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class SelectTypeof:
    """TYPEOF relationship WHEN ... THEN ... ELSE ... END."""

    relationship: str
    branches: tuple[TypeofBranch, ...]
    otherwise: tuple[Field, ...]
    offset: int


type SelectItem = SelectExpr | SelectFields | SelectQuery | SelectTypeof


@dataclass(frozen=True, slots=True)
class Source:
    """What FROM names: an object, `alias.Relationship`, or in a subquery `Contacts` / `Account.Contacts`."""

    path: tuple[str, ...]
    alias: str | None
    offset: int


@dataclass(frozen=True, slots=True)
class Order:
    """One ORDER BY term. `nulls` is FIRST (the default in either direction) or LAST."""

    expr: Expr
    descending: bool
    nulls: str


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query. `text` is the source that offsets refer to."""

    text: str
    select: tuple[SelectItem, ...]
    sources: tuple[Source, ...]
    where: Condition | None
    group_by: tuple[Expr, ...]
    having: Condition | None
    order_by: tuple[Order, ...]
    limit: int | None
    offset: int | None
    all_rows: bool
    locking: tuple[str, ...]
