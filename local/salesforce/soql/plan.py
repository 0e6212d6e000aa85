"""What a query becomes: SQL, and the shape of the records that its rows turn into.

A row query becomes a `Selection`: SQL for the rows of one object (with its parents by LEFT JOIN), a `Shape` that builds the nested
record of each row, and the selections of its child relationships, which run as second queries. An aggregate query is an `Aggregation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from local.salesforce.dml_types import Stored
from local.salesforce.rest.values import rest_value
from local.salesforce.schema import FieldType, Kind, ObjectType
from local.salesforce.soql.formats import formatted, label
from local.salesforce.soql.scope import Scope

type SqlRow = tuple[Stored, ...]
type JsonRecord = dict[str, object]


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a record: where it lies in the row, and how it is shown."""

    index: int
    field: FieldType
    show: str = ""  # "", LABEL or FORMAT
    object_name: str = ""

    def value(self, row: SqlRow, root: str, record_id: str) -> object:
        stored = row[self.index]
        if self.show == "LABEL":
            return label(self.field, stored)
        if self.show == "FORMAT":
            return formatted(self.field, stored)
        if self.field.kind is Kind.BASE64:
            return None if stored is None else f"{root}/sobjects/{self.object_name}/{record_id}/{self.field.name}"
        return rest_value(self.field, stored)


@dataclass(frozen=True, slots=True)
class Compound:
    """An address: its parts' places in the row; null when every part is."""

    parts: tuple[tuple[str, Cell], ...]

    def value(self, row: SqlRow, root: str, record_id: str) -> object:
        found = {key: None if cell.index < 0 else cell.value(row, root, record_id) for key, cell in self.parts}
        return found if any(value is not None for value in found.values()) else None


@dataclass(slots=True)
class Shape:
    """Builds a record from a row; parents are shapes within."""

    id_index: int
    type_name: str  # `attributes.type`; a polymorphic parent says "Name"
    type_index: int = -1  # of a polymorphic parent: where the row says which object it is
    entries: dict[str, Cell | Compound | Shape | None] = field(default_factory=dict)  # None: filled by a second query

    def has_compounds(self) -> bool:
        return any(isinstance(e, Compound) or (isinstance(e, Shape) and e.has_compounds()) for e in self.entries.values())

    def build(self, row: SqlRow, root: str) -> JsonRecord | None:
        record_id = row[self.id_index]
        if record_id is None:
            return None
        name = row[self.type_index] if self.type_index >= 0 else self.type_name
        record: JsonRecord = {"attributes": {"type": self.type_name, "url": f"{root}/sobjects/{name}/{record_id}"}}
        for key, entry in self.entries.items():
            if entry is None:
                record[key] = None
            elif isinstance(entry, Shape):
                record[key] = entry.build(row, root)
            else:
                record[key] = entry.value(row, root, str(record_id))
        return record


@dataclass(slots=True)
class Child:
    """A child subquery; `selection.lookup_index` says whose child a row is."""

    key: str
    lookup: FieldType
    selection: Selection


@dataclass(slots=True)
class Typeof:
    """A TYPEOF: which selection serves which object; `id_index` and `type_index` are in the row."""

    key: str
    id_index: int
    type_index: int
    by_object: dict[str, Selection]


@dataclass(slots=True)
class Selection:
    """Rows of one object."""

    scope: Scope
    shape: Shape
    columns: list[str]
    headers: list[tuple[str, Cell]]  # the plain values in the order selected, with their paths: for CSV
    where: str
    params: list[Stored]
    order: str
    limit: int | None
    offset: int | None
    children: list[Child] = field(default_factory=list)
    typeofs: list[Typeof] = field(default_factory=list)
    lookup_index: int = -1  # of a child subquery: the lookup to the parent

    @property
    def object(self) -> ObjectType:
        return self.scope.object

    def has_compounds(self) -> bool:
        """Whether an address is selected as a whole, here or of a parent."""
        return self.shape.has_compounds()

    def rows_sql(self, extra: str = "", *, limited: bool = True, columns: str = "") -> str:
        """SELECT of the rows; `extra` is a condition whose parameters come first. Without `limited`, all of them."""
        conditions = " AND ".join(part for part in (extra, self.where) if part)
        where = f" WHERE {conditions}" if conditions else ""
        cut = limits_sql(self.limit, self.offset) if limited else ""
        return f"SELECT {columns or ', '.join(self.columns)} FROM {self.scope.from_sql}{where}{self.order}{cut}"

    def ids_sql(self) -> str:
        return self.rows_sql(columns=f'{self.scope.root.alias}."Id"')

    def by_ids_sql(self) -> str:
        """The same rows by id alone, one parameter (a JSON array), in no order."""
        ids = f'{self.scope.root.alias}."Id" IN (SELECT value FROM json_each(?))'
        return f"SELECT {', '.join(self.columns)} FROM {self.scope.from_sql} WHERE {ids}"


@dataclass(slots=True)
class Aggregation:
    """COUNT() (no cells), or rows of aggregates and grouped fields."""

    scope: Scope
    sql: str
    params: list[Stored]
    cells: dict[str, Cell]
    functions: dict[str, str] = field(default_factory=dict)  # of the cells that aggregate: `COUNT(Id)`

    @property
    def count_only(self) -> bool:
        return not self.cells


type Plan = Selection | Aggregation


def limits_sql(limit: int | None, offset: int | None) -> str:
    """LIMIT and OFFSET."""
    if limit is None and offset is None:
        return ""
    return f" LIMIT {-1 if limit is None else limit}{f' OFFSET {offset}' if offset else ''}"
