"""Names in a query: what `Account.Owner.Name` means, as a column of SQL and a field of the schema.

A scope is one SELECT: its object's table and the LEFT JOINs that its parent paths need. A lookup to several objects joins all of
them; its fields are those of Salesforce's `Name` object, taken from whichever row is there.
"""

from __future__ import annotations

from dataclasses import dataclass

from local.salesforce.context import Permissions
from local.salesforce.rest.state import INVALID_TYPE
from local.salesforce.schema import FieldType, Kind, ObjectType, Org
from local.salesforce.soql.errors import WSDL_HINT, SoqlError, error_at
from local.salesforce.soql.nodes import Field, Source

MAX_LEVELS = 5

# The fields of the Name object, behind every lookup to several objects.
_NAME_FIELDS = frozenset(
    {"alias", "email", "firstname", "id", "isactive", "lastname", "lastreferenceddate", "lastvieweddate", "name", "phone"}
    | {"profileid", "recordtypeid", "title", "type", "username", "userroleid"}
)
_TYPE = FieldType("Type", "Type", Kind.TEXT)


@dataclass(frozen=True, slots=True)
class Column:
    """A resolved field. `sql` is its expression; a compound field has none (`""`). `parents` are the relationships before it."""

    sql: str
    field: FieldType
    node: Node
    parents: tuple[str, ...]

    @property
    def joined(self) -> bool:
        return bool(self.parents)


@dataclass(frozen=True, slots=True)
class Node:
    """A row within reach: the root's or a parent's. Several `targets` (object, table alias) make it polymorphic."""

    targets: tuple[tuple[ObjectType, str], ...]
    path: tuple[str, ...]

    @property
    def polymorphic(self) -> bool:
        return len(self.targets) > 1

    @property
    def object(self) -> ObjectType:
        return self.targets[0][0]

    @property
    def alias(self) -> str:
        return self.targets[0][1]

    @property
    def name(self) -> str:
        """What errors call it."""
        return "Name" if self.polymorphic else self.object.name

    @property
    def id_sql(self) -> str:
        if not self.polymorphic:
            return f'{self.alias}."Id"'
        return f"COALESCE({', '.join(f'{alias}."Id"' for _, alias in self.targets)})"


class Scope:
    """The names of one SELECT. `prefix` keeps the table aliases of nested SELECTs apart."""

    def __init__(self, org: Org, permissions: Permissions, text: str, obj: ObjectType, prefix: str = "t") -> None:
        self.org = org
        self.permissions = permissions
        self.text = text
        self.object = obj
        self.prefix = prefix
        self.root = Node(((obj, f"{prefix}0"),), ())
        self._nodes: dict[tuple[str, ...], Node] = {(): self.root}
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._joins: list[str] = []
        self._count = 0

    def name_sources(self, sources: tuple[Source, ...], names: tuple[str, ...]) -> None:
        """Learn the aliases of FROM: the first source's own names, then `alias.Relationship other`."""
        for name in names:
            self._aliases[name.lower()] = ()
        if sources[0].alias:
            self._aliases[sources[0].alias.lower()] = ()
        for source in sources[1:]:
            base = self._aliases.get(source.path[0].lower())
            if base is None or len(source.path) < 2:
                raise error_at(self.text, source.offset, "INVALID_TYPE", INVALID_TYPE.format(".".join(source.path)))
            path = (*base, *source.path[1:])
            self._walk(path, source.offset)
            self._aliases[(source.alias or source.path[-1]).lower()] = path

    @property
    def from_sql(self) -> str:
        return f'"{self.object.name}" {self.root.alias}' + "".join(self._joins)

    # Fields ---------------------------------------------------------------------------------------------------------

    def column(self, field: Field) -> Column:
        """What a field path means, or INVALID_FIELD."""
        path = self._absolute(field.path)
        node = self._walk(path[:-1], field.offset)
        found = self._polymorphic(node, path[-1]) if node.polymorphic else self._plain(node, path[-1])
        if found is None:
            raise self.no_column(path[-1], node.name, field.offset)
        return found

    def own(self, f: FieldType) -> Column:
        """A field of the root object itself."""
        return Column(f'{self.root.alias}."{f.name}"' if f.stored else "", f, self.root, ())

    def no_column(self, name: str, entity: str, offset: int) -> SoqlError:
        text = (
            f"No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, be sure to append the '__c' "
            f"after the custom field name. {WSDL_HINT}"
        )
        return error_at(self.text, offset, "INVALID_FIELD", text)

    def _plain(self, node: Node, name: str) -> Column | None:
        f = node.object.field(name)
        if f is None or not self.permissions.readable(node.object, f):
            return None
        return Column(f'{node.alias}."{f.name}"' if f.stored else "", f, node, node.path)

    def _polymorphic(self, node: Node, name: str) -> Column | None:
        if name.lower() not in _NAME_FIELDS:
            return None
        if name.lower() == "type":
            cases = " ".join(f"WHEN {alias}.\"Id\" IS NOT NULL THEN '{obj.name}'" for obj, alias in node.targets)
            return Column(f"CASE {cases} END", _TYPE, node, node.path)
        having = [(obj.field(name), alias) for obj, alias in node.targets]
        having = [(f, alias) for f, alias in having if f is not None and f.stored]
        first = next((f for f, _ in having if f is not None), None)
        if first is None:
            return None
        parts = [f'{alias}."{f.name}"' for f, alias in having if f is not None]
        sql = parts[0] if len(parts) == 1 else f"COALESCE({', '.join(parts)})"
        return Column(sql, first, node, node.path)

    def names_root(self, name: str) -> bool:
        """Whether FROM calls the root object so."""
        return self._aliases.get(name.lower()) == ()

    # Relationships --------------------------------------------------------------------------------------------------

    def _absolute(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """A path without the alias or object name that may stand before it."""
        if len(path) < 2:
            return path
        base = self._aliases.get(path[0].lower())
        if base is None or (not base and self.object.relationship(path[0]) and path[0].lower() == self.object.name.lower()):
            return path
        return (*base, *path[1:])

    def relationship(self, name: str, offset: int) -> Node:
        """The parent that a relationship of the root names."""
        return self._walk((name,), offset)

    def _walk(self, path: tuple[str, ...], offset: int) -> Node:
        if len(path) > MAX_LEVELS:
            text = f"The query goes beyond the limit of {MAX_LEVELS} child-to-parent relationship levels"
            raise error_at(self.text, offset, "INVALID_FIELD", text)
        node = self.root
        for depth, name in enumerate(path, 1):
            key = tuple(part.lower() for part in path[:depth])
            known = self._nodes.get(key)
            if known is None:
                known = self._nodes[key] = self._join(node, name, offset)
            node = known
        return node

    def _join(self, node: Node, name: str, offset: int) -> Node:
        f = None if node.polymorphic else node.object.relationship(name)
        targets = [t for t in map(self.org.object, f.references) if t and not t.event] if f else []
        if f is None or not targets or not self.permissions.readable(node.object, f):
            text = (
                f"Didn't understand relationship '{name}' in field path. If you are attempting to use a custom relationship, be sure to "
                f"append the '__r' after the custom relationship name. {WSDL_HINT}"
            )
            raise error_at(self.text, offset, "INVALID_FIELD", text)
        joined: list[tuple[ObjectType, str]] = []
        for target in targets:
            self._count += 1
            alias = f"{self.prefix}{self._count}"
            joined.append((target, alias))
            self._joins.append(f' LEFT JOIN "{target.name}" {alias} ON {alias}."Id" = {node.alias}."{f.name}"')
        return Node(tuple(joined), (*node.path, f.relationship or name))
