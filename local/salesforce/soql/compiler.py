"""From syntax tree to plan: names resolved, rights and Salesforce's restrictions checked, SQL written."""

from __future__ import annotations

from local.salesforce.context import Context
from local.salesforce.dml_types import Stored
from local.salesforce.rest.state import INVALID_TYPE
from local.salesforce.schema import FieldType, Kind, ObjectType, Org
from local.salesforce.soql.errors import WSDL_HINT, SoqlError, error_at, malformed
from local.salesforce.soql.filters import Filter, SubselectSql
from local.salesforce.soql.functions import call_sql, expr_sql, has_aggregate, is_renderer
from local.salesforce.soql.nodes import (
    Call,
    Expr,
    Field,
    Membership,
    Order,
    Query,
    SelectExpr,
    SelectFields,
    SelectItem,
    SelectQuery,
    SelectTypeof,
    Source,
)
from local.salesforce.soql.plan import Aggregation, Cell, Child, Compound, Plan, Selection, Shape, Typeof, limits_sql
from local.salesforce.soql.scope import Column, Node, Scope

MAX_OFFSET = 2000
_FIELDS_LIMIT = 200


def compile_query(query: Query, org: Org, context: Context, *, all_rows: bool = False, compounds: bool = True) -> Plan:
    """The plan of a root query. `all_rows` takes in deleted records (queryAll); `compounds` says whether FIELDS() gives addresses."""
    return _Compiler(org, context, all_rows=all_rows or query.all_rows, compounds=compounds).root(query)


class _Compiler:
    def __init__(self, org: Org, context: Context, *, all_rows: bool, compounds: bool) -> None:
        self.org = org
        self.compounds = compounds
        self.context = context
        self.all_rows = all_rows
        self._scopes = 0

    def root(self, query: Query) -> Plan:
        source = query.sources[0]
        obj = self.org.object(source.path[0]) if len(source.path) == 1 else None
        if obj is None or obj.event or not obj.queryable or not self._may_read(obj):
            raise error_at(query.text, source.offset, "INVALID_TYPE", INVALID_TYPE.format(".".join(source.path)))
        scope = self._scope(query, obj, (obj.name,))
        if query.group_by or any(isinstance(item, SelectExpr) and has_aggregate(item.expr) for item in query.select):
            return self._aggregation(query, scope)
        if query.having is not None:
            raise malformed("having clause cannot be used without a group by clause")
        return self._selection(query, scope)

    def _may_read(self, obj: ObjectType) -> bool:
        """Objects that no permission set speaks of (User, RecordType, Organization ...) are open."""
        permissions = self.context.permissions
        spoken_of = any(obj.name.lower() in s.objects for s in self.org.permission_sets.values())
        return not spoken_of or permissions.allows(obj, "read")

    def _scope(self, query: Query, obj: ObjectType, names: tuple[str, ...]) -> Scope:
        self._scopes += 1
        scope = Scope(self.org, self.context.permissions, query.text, obj, f"t{self._scopes}_")
        scope.name_sources(query.sources, names)
        return scope

    # Conditions -----------------------------------------------------------------------------------------------------

    def _where(self, query: Query, scope: Scope, params: list[Stored]) -> str:
        parts: list[str] = []
        if not self.all_rows and "IsDeleted" in scope.object.fields:
            parts.append(f'{scope.root.alias}."IsDeleted" = 0')
        if query.where is not None:
            parts.append(Filter(scope, self.context, params, self._subselect(params)).sql(query.where))
        return " AND ".join(parts)

    def _subselect(self, params: list[Stored]) -> SubselectSql:
        def compiled(query: Query) -> tuple[str, FieldType]:
            return self._semi_join(query, params)

        return compiled

    def _semi_join(self, query: Query, params: list[Stored]) -> tuple[str, FieldType]:
        source = query.sources[0]
        obj = self.org.object(source.path[0]) if len(source.path) == 1 else None
        if obj is None or obj.event or not self._may_read(obj):
            raise error_at(query.text, source.offset, "INVALID_TYPE", INVALID_TYPE.format(".".join(source.path)))
        item = query.select[0]
        if len(query.select) != 1 or not isinstance(item, SelectExpr) or not isinstance(item.expr, Field):
            raise malformed("semi join sub-selects can only query one field")
        if _has_semi_join(query):
            raise malformed("Nesting of semi join sub-selects is not supported")
        scope = self._scope(query, obj, (obj.name,))
        column = scope.column(item.expr)
        if column.field.kind is not Kind.ID and not column.field.is_reference:
            text = f"The selected field in a semi join sub-select should be an id field, cannot use: '{column.field.name}'"
            raise error_at(query.text, item.expr.offset, "MALFORMED_QUERY", text)
        where = self._where(query, scope, params)
        limits = limits_sql(query.limit, None)
        return f"SELECT {column.sql} FROM {scope.from_sql}{f' WHERE {where}' if where else ''}{limits}", column.field

    # Rows -----------------------------------------------------------------------------------------------------------

    def _selection(self, query: Query, scope: Scope, lookup: FieldType | None = None) -> Selection:
        params: list[Stored] = []
        builder = _Selector(self, query, scope)
        for item in self._expanded(query, scope):
            builder.add(item)
        where = self._where(query, scope, params)
        order = self._order(query.order_by, scope)
        if query.offset is not None and query.offset > MAX_OFFSET:
            raise SoqlError("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
        lookup_index = -1 if lookup is None else builder.column(f'{scope.root.alias}."{lookup.name}"')
        return Selection(
            scope,
            builder.shape,
            builder.columns,
            builder.headers,
            where,
            params,
            order,
            query.limit,
            query.offset,
            builder.children,
            builder.typeofs,
            lookup_index,
        )

    def _expanded(self, query: Query, scope: Scope) -> list[SelectItem]:
        """The select list with FIELDS(...) spelled out. No field may come twice."""
        items: list[SelectItem] = []
        for item in query.select:
            items += self._fields(item, query, scope) if isinstance(item, SelectFields) else [item]
        seen: set[str] = set()
        for item in items:
            name = _selected_name(item, scope)
            if name and name in seen:
                raise SoqlError("INVALID_FIELD", f"duplicate field selected: {_plain_name(item)}")
            seen.add(name)
        return items

    def _fields(self, item: SelectFields, query: Query, scope: Scope) -> list[SelectItem]:
        if item.scope != "STANDARD" and not self._bounded(query):
            text = f"The SOQL FIELDS function must have a LIMIT of at most {_FIELDS_LIMIT}"
            raise error_at(query.text, item.offset, "MALFORMED_QUERY", text)
        wanted = [
            f
            for f in scope.object.fields.values()
            if (item.scope == "ALL" or f.custom == (item.scope == "CUSTOM"))
            and (f.stored or self.compounds)
            and self.context.permissions.readable(scope.object, f)
        ]
        if not wanted and len(query.select) == 1:
            text = f"The SOQL FIELDS function found no fields of {scope.object.name}"
            raise error_at(query.text, item.offset, "MALFORMED_QUERY", text)
        return [SelectExpr(Field((f.name,), item.offset), None) for f in wanted]

    @staticmethod
    def _bounded(query: Query) -> bool:
        if query.limit is not None:
            return query.limit <= _FIELDS_LIMIT
        where = query.where
        if not isinstance(where, Membership) or where.operator != "IN" or isinstance(where.values, Query):
            return False
        by_id = isinstance(where.left, Field) and where.left.path[-1].lower() == "id" and len(where.left.path) == 1
        return by_id and len(where.values) <= _FIELDS_LIMIT

    def child(self, item: SelectQuery, scope: Scope) -> Child:
        """A child subquery of `scope`'s object."""
        query = item.query
        source = query.sources[0]
        name = source.path[-1]
        relationship = scope.object.child(name)
        obj = self.org.object(relationship.child) if relationship and _leads_to(source, scope) else None
        if obj is None or relationship is None or not self._may_read(obj):
            text = (
                f"Didn't understand relationship '{name}' in FROM part of query call. If you are attempting to use a custom relationship, "
                f"be sure to append the '__r' after the custom relationship name. {WSDL_HINT}"
            )
            raise error_at(query.text, source.offset, "INVALID_TYPE", text)
        if query.group_by or any(isinstance(i, SelectExpr) and has_aggregate(i.expr) for i in query.select):
            raise malformed("Only root queries support aggregate expressions")
        inner = self._scope(query, obj, (name, obj.name))
        lookup = obj.fields[relationship.field]
        return Child(relationship.name or name, lookup, self._selection(query, inner, lookup))

    def typeof(self, item: SelectTypeof, scope: Scope, builder: _Selector) -> Typeof:
        node = scope.relationship(item.relationship, item.offset)
        if not node.polymorphic:
            text = f"Cannot use TYPEOF on non-polymorphic relationship '{item.relationship}'"
            raise error_at(scope.text, item.offset, "INVALID_FIELD", text)
        by_object: dict[str, Selection] = {}
        chosen = {branch.object.lower(): branch.fields for branch in item.branches}
        for target, _ in node.targets:
            fields = chosen.pop(target.name.lower(), item.otherwise)
            query = Query(
                scope.text, tuple(SelectExpr(f, None) for f in fields) or (SelectExpr(Field(("Id",), item.offset), None),),
                (Source((target.name,), None, item.offset),), None, (), None, (), None, None, False, (),
            )  # fmt: skip
            by_object[target.name] = self._selection(query, self._scope(query, target, (target.name,)))
            if not fields:
                by_object[target.name].shape.entries.clear()
        if chosen:
            raise error_at(scope.text, item.offset, "INVALID_TYPE", INVALID_TYPE.format(next(iter(chosen))))
        type_sql = scope.column(Field((item.relationship, "Type"), item.offset)).sql
        return Typeof(node.path[-1], builder.column(node.id_sql), builder.column(type_sql), by_object)

    def _order(self, orders: tuple[Order, ...], scope: Scope) -> str:
        terms: list[str] = []
        for order in orders:
            sql, field_type = expr_sql(order.expr, scope)
            if has_aggregate(order.expr):
                raise malformed(f"Ordered field must be grouped or aggregated: {_text(order.expr)}")
            _check_sortable(order, field_type, scope)
            terms.append(_order_term(sql, field_type, order, scope))
        return f" ORDER BY {', '.join(terms)}" if terms else ""

    # Aggregates -----------------------------------------------------------------------------------------------------

    def _aggregation(self, query: Query, scope: Scope) -> Aggregation:
        groups = [self._group(expr, scope) for expr in query.group_by]
        keys = {_key(expr, scope) for expr in query.group_by}
        if any(isinstance(i, SelectExpr) and isinstance(i.expr, Call) and i.expr.name == "COUNT" and not i.expr.args for i in query.select):
            return self._count(query, scope)
        params: list[Stored] = []
        columns: list[str] = []
        cells: dict[str, Cell] = {}
        functions: dict[str, str] = {}
        unnamed = 0
        for item in self._expanded(query, scope):
            if not isinstance(item, SelectExpr):
                raise malformed("Subqueries and TYPEOF can't be combined with aggregate expressions")
            if not has_aggregate(item.expr) and _key(_inner(item.expr), scope) not in keys:
                raise malformed(f"Field must be grouped or aggregated: {_text(item.expr)}")
            name = item.alias
            if name is None and isinstance(item.expr, Field):
                name = scope.column(item.expr).field.name
            elif name is None:
                name, unnamed = f"expr{unnamed}", unnamed + 1
            if name.lower() in (known.lower() for known in cells):
                raise malformed(f"duplicate alias: {name}")
            sql, field_type = expr_sql(item.expr, scope)
            cells[name] = Cell(len(columns), field_type, _show(item.expr))
            if has_aggregate(item.expr):
                functions[name] = _text(item.expr)
            columns.append(sql)
        where = self._where(query, scope, params)
        having = ""
        if query.having is not None:
            having = f" HAVING {Filter(scope, self.context, params, self._subselect(params)).sql(query.having, aggregates=True)}"
        order = self._grouped_order(query, scope, keys, {name.lower(): columns[cell.index] for name, cell in cells.items()})
        sql = (
            f"SELECT {', '.join(columns)} FROM {scope.from_sql}{f' WHERE {where}' if where else ''}"
            f"{f' GROUP BY {", ".join(groups)}' if groups else ''}{having}{order}{limits_sql(query.limit, query.offset)}"
        )
        return Aggregation(scope, sql, params, cells, functions)

    def _count(self, query: Query, scope: Scope) -> Aggregation:
        """SELECT COUNT() FROM ...: totalSize alone."""
        if len(query.select) > 1 or query.group_by:
            raise malformed("Grouped query cannot use COUNT(), and COUNT() must be the only element in the SELECT list")
        if query.order_by:
            raise malformed(f"Ordered field must be grouped or aggregated: {_text(query.order_by[0].expr)}")
        params: list[Stored] = []
        where = self._where(query, scope, params)
        inner = f"SELECT 1 FROM {scope.from_sql}{f' WHERE {where}' if where else ''}{limits_sql(query.limit, query.offset)}"
        return Aggregation(scope, f"SELECT COUNT(*) FROM ({inner})", params, {})

    def _group(self, expr: Expr, scope: Scope) -> str:
        if has_aggregate(expr) or is_renderer(expr):
            raise error_at(scope.text, expr.offset, "MALFORMED_QUERY", f"unexpected token: '{_text(expr)}'")
        sql, field_type = expr_sql(expr, scope)
        if isinstance(expr, Field) and not (field_type.groupable and sql):
            raise error_at(scope.text, expr.offset, "INVALID_FIELD", f"field '{field_type.name}' can not be grouped in a query call")
        return sql

    def _grouped_order(self, query: Query, scope: Scope, keys: set[str], aliases: dict[str, str]) -> str:
        terms: list[str] = []
        for order in query.order_by:
            expr = order.expr
            if isinstance(expr, Field) and len(expr.path) == 1 and expr.path[0].lower() in aliases:
                terms.append(_order_term(aliases[expr.path[0].lower()], None, order, scope))
                continue
            if not has_aggregate(expr) and _key(expr, scope) not in keys:
                raise malformed(f"Ordered field must be grouped or aggregated: {_text(expr)}")
            sql, field_type = expr_sql(expr, scope)
            terms.append(_order_term(sql, field_type, order, scope))
        return f" ORDER BY {', '.join(terms)}" if terms else ""


class _Selector:
    """Collects the columns and the shape of one SELECT list."""

    def __init__(self, compiler: _Compiler, query: Query, scope: Scope) -> None:
        self.compiler = compiler
        self.query = query
        self.scope = scope
        self.columns: list[str] = [f'{scope.root.alias}."Id"']
        self.headers: list[tuple[str, Cell]] = []
        self.shape = Shape(0, scope.object.name)
        self.children: list[Child] = []
        self.typeofs: list[Typeof] = []
        self._shapes: dict[tuple[str, ...], Shape] = {(): self.shape}

    def column(self, sql: str) -> int:
        """The place of a column in the row, added once."""
        if sql not in self.columns:
            self.columns.append(sql)
        return self.columns.index(sql)

    def add(self, item: SelectItem) -> None:
        match item:
            case SelectQuery():
                child = self.compiler.child(item, self.scope)
                if child.key in self.shape.entries:
                    raise SoqlError("INVALID_FIELD", f"duplicate field selected: {child.key}")
                self.children.append(child)
                self.shape.entries[child.key] = None
            case SelectTypeof():
                typeof = self.compiler.typeof(item, self.scope, self)
                self.typeofs.append(typeof)
                self.shape.entries[typeof.key] = None
            case SelectExpr(Field() as expr, alias):
                if alias is not None:
                    raise malformed("only aggregate expressions use field aliasing")
                self._field(self.scope.column(expr), None, "")
            case SelectExpr(Call() as expr, alias):
                self._call(expr, alias)

    def _call(self, call: Call, alias: str | None) -> None:
        argument = call.args[0]
        if not is_renderer(call):
            raise malformed(f"Field must be grouped or aggregated: {_text(call)}")
        if not isinstance(argument, Field):
            sql, field_type = call_sql(call, self.scope)
            self._put(self.shape, alias or f"expr{len(self.shape.entries)}", Cell(self.column(sql), field_type, _show(call)))
            return
        call_sql(call, self.scope)
        self._field(self.scope.column(argument), alias, _show(call))

    def _field(self, column: Column, alias: str | None, show: str) -> None:
        shape = self._shape(column.node)
        key = alias or column.field.name
        if column.field.kind is Kind.ADDRESS:
            self._put(shape, key, self._compound(column))
            return
        cell = Cell(self.column(column.sql), column.field, show, column.node.name)
        self._put(shape, key, cell)
        self.headers.append((".".join((*column.parents, key)), cell))

    @staticmethod
    def _put(shape: Shape, key: str, entry: Cell | Compound) -> None:
        if shape.entries.get(key) is not None:
            raise SoqlError("INVALID_FIELD", f"duplicate field selected: {key}")
        shape.entries[key] = entry

    def _compound(self, column: Column) -> Compound:
        stem = column.field.name.removesuffix("Address")
        parts: list[tuple[str, Cell]] = []
        for part in ("City", "Country", "GeocodeAccuracy", "Latitude", "Longitude", "PostalCode", "State", "Street"):
            f = column.node.object.field(stem + part)
            index = self.column(f'{column.node.alias}."{f.name}"') if f else -1
            parts.append((part[0].lower() + part[1:], Cell(index, f or column.field)))
        return Compound(tuple(parts))

    def _shape(self, node: Node) -> Shape:
        known = self._shapes.get(node.path)
        if known is not None:
            return known
        parent_path = node.path[:-1]
        parent = self._shapes.get(parent_path) or self._shape(self._node(parent_path))
        shape = Shape(self.column(node.id_sql), node.name)
        if node.polymorphic:
            kinds = " ".join(f"WHEN {alias}.\"Id\" IS NOT NULL THEN '{obj.name}'" for obj, alias in node.targets)
            shape.type_index = self.column(f"CASE {kinds} END")
        self._shapes[node.path] = shape
        parent.entries[node.path[-1]] = shape
        return shape

    def _node(self, path: tuple[str, ...]) -> Node:
        return self.scope.column(Field((*path, "Id"), 0)).node


# Small helpers ------------------------------------------------------------------------------------------------------


def _order_term(sql: str, field_type: FieldType | None, order: Order, scope: Scope) -> str:
    """SQLite puts nulls first ascending and last descending; only what differs is said, so that indexes still serve."""
    direction = " DESC" if order.descending else ""
    nullable = field_type is None or field_type.nillable or not sql.startswith(f"{scope.root.alias}.")
    if order.nulls == "LAST" and not order.descending and nullable:
        direction += " NULLS LAST"
    elif order.nulls == "FIRST" and order.descending and nullable:
        direction += " NULLS FIRST"
    return sql + direction


def _check_sortable(order: Order, field_type: FieldType, scope: Scope) -> None:
    if not field_type.filterable or not field_type.stored or field_type.kind is Kind.MULTI_PICKLIST:
        text = f"field '{field_type.name}' can not be sorted in a query call"
        raise error_at(scope.text, order.expr.offset, "INVALID_FIELD", text)


def _has_semi_join(query: Query) -> bool:
    pending: list[object] = [query.where]
    while pending:
        condition = pending.pop()
        if isinstance(condition, Membership) and isinstance(condition.values, Query):
            return True
        pending += getattr(condition, "parts", ())
        pending += [condition.part] if hasattr(condition, "part") else []
    return False


def _leads_to(source: Source, scope: Scope) -> bool:
    """Whether what stands before a child relationship's name is the parent query's object or alias."""
    return len(source.path) == 1 or (len(source.path) == 2 and scope.names_root(source.path[0]))


def _inner(expr: Expr) -> Expr:
    """What a FORMAT() or toLabel() shows."""
    while isinstance(expr, Call) and is_renderer(expr):
        expr = expr.args[0]
    return expr


def _show(expr: Expr) -> str:
    if not isinstance(expr, Call):
        return ""
    return {"TOLABEL": "LABEL", "FORMAT": "FORMAT"}.get(expr.name, "")


def _text(expr: Expr) -> str:
    if isinstance(expr, Field):
        return expr.path[-1]
    return f"{expr.name}({', '.join(_text(arg) for arg in expr.args)})"


def _key(expr: Expr, scope: Scope) -> str:
    """The same for two spellings of one expression."""
    if isinstance(expr, Field):
        return scope.column(expr).sql
    return f"{expr.name}({', '.join(_key(arg, scope) for arg in expr.args)})"


def _selected_name(item: SelectItem, scope: Scope) -> str:
    if isinstance(item, SelectExpr) and isinstance(item.expr, Field) and item.alias is None:
        column = scope.column(item.expr)
        return ".".join((*column.parents, column.field.name)).lower()
    return ""


def _plain_name(item: SelectItem) -> str:
    return item.expr.path[-1] if isinstance(item, SelectExpr) and isinstance(item.expr, Field) else ""
