"""The pages' handlers: home, lists, a record with its related lists, forms. Seen and saved as the chosen user, FLS included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, quote

from jinja2 import Environment, FileSystemLoader, select_autoescape

from local.salesforce.context import Context, Permissions, Surface
from local.salesforce.dml_types import Error, Json, Record, Row, Stored
from local.salesforce.ids import MalformedId, looks_like_id, normalise
from local.salesforce.pages.layouts import Layout, Layouts, RelatedList, Section
from local.salesforce.pages.values import Input, Shown, address_text, human, input_of, input_value
from local.salesforce.rest.http import ApiError, Handler, Request, Response, Route
from local.salesforce.rest.state import OrgState
from local.salesforce.schema import FieldType, Kind, ObjectType
from local.salesforce.setup import PEOPLE

TEMPLATES = Path(__file__).with_name("templates")
HTML = "text/html;charset=UTF-8"
PAGE = 50
RELATED = 10
COOKIE = "omsync_user"
DEFAULT_USER = "coordinator"
#: shown first on the home page
FAVOURITES = ("Account", "Order", "Prescription__c", "Clinical_Note__c", "Consultation__c", "Subscription__c", "Shipment__c", "Case")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: one of the set-up's people."""

    key: str
    name: str
    user_id: str
    permissions: Permissions
    row: Row

    def sees(self, obj: ObjectType) -> bool:
        return self.permissions.allows(obj, "read") and obj.queryable and obj.layoutable and not obj.event


@dataclass(slots=True)
class Table:
    """A list of records: headings, then per row the record's id and its cells."""

    title: str
    object: str
    headings: list[str]
    rows: list[tuple[str, list[Shown]]]
    more: str | None = None
    new: str | None = None


class Pages:
    """Handlers of every page."""

    def __init__(self, state: OrgState, sources: Sequence[Path]) -> None:
        self.state = state
        self.layouts = Layouts(state.org, list(sources))
        self.env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True)

    def routes(self) -> list[Route]:
        table = [
            ("GET", "/", self.home),
            ("POST", "/lightning/as", self.become),
            ("GET", "/lightning/search", self.search),
            ("GET", "/lightning/o/{object}/list", self.list_records),
            ("GET", "/lightning/o/{object}/new", self.edit),
            ("POST", "/lightning/o/{object}/new", self.save),
            ("GET", "/lightning/r/{object}/{id}/view", self.view),
            ("GET", "/lightning/r/{object}/{id}/edit", self.edit),
            ("POST", "/lightning/r/{object}/{id}/edit", self.save),
            ("POST", "/lightning/r/{object}/{id}/delete", self.delete),
            ("GET", "/{id}", self.by_id),
        ]
        return [Route(method, pattern, self._guard(handler), auth=False, counts=False) for method, pattern, handler in table]

    def _guard(self, handler: Handler) -> Handler:
        """Errors as pages, and no posts from other sites."""

        def guarded(request: Request) -> Response:
            origin = request.headers.get("origin")
            if request.method == "POST" and origin not in {None, request.base}:
                return self._page(request, "message.html", 403, title="Refused", text="This form was sent from another site.")
            try:
                return handler(request)
            except ApiError as error:
                return self._page(request, "message.html", error.status, title="Not here", text=error.message)

        return guarded

    def _page(self, request: Request, template: str, status: int = 200, **values: object) -> Response:
        viewer = self.viewer(request)
        people = [(person.key, f"{person.first} {person.last}") for person in PEOPLE]
        html = self.env.get_template(template).render(viewer=viewer, people=people, here=request.path, **values)
        return Response(status, html, {"Content-Type": HTML, "Content-Security-Policy": _POLICY, "Cache-Control": "no-store"})

    # -- who ---------------------------------------------------------------------------------------------------------

    def viewer(self, request: Request) -> Viewer:
        key = _cookie(request) or DEFAULT_USER
        person = next((person for person in PEOPLE if person.key == key), None) or PEOPLE[0]
        rows = self.state.store.find("User", "Username", person.username)
        row = rows[0] if rows else {}
        user_id = str(row.get("Id", ""))
        return Viewer(person.key, f"{person.first} {person.last}", user_id, self.state.permissions(user_id), row)

    def become(self, request: Request) -> Response:
        key = _form(request).get("user", [""])[0]
        if key not in {person.key for person in PEOPLE}:
            raise ApiError(404, "NOT_FOUND", f"There is no user {key}.")
        back = _form(request).get("back", ["/"])[0]
        back = back if back.startswith("/") and not back.startswith("//") else "/"
        return Response(
            303, "", {"Location": back, "Set-Cookie": f"{COOKIE}={key}; Path=/; SameSite=Strict; HttpOnly", "Content-Type": HTML}
        )

    # -- lists -------------------------------------------------------------------------------------------------------

    def home(self, request: Request) -> Response:
        viewer = self.viewer(request)
        seen = [obj for obj in self.state.org if viewer.sees(obj)]
        counts = {obj.name: self.state.store.count(obj.name) for obj in seen}
        seen.sort(key=lambda obj: (FAVOURITES.index(obj.name) if obj.name in FAVOURITES else len(FAVOURITES), obj.plural))
        tiles = [(obj.name, obj.plural, counts[obj.name]) for obj in seen]
        favourites = [tile for tile in tiles if tile[0] in FAVOURITES]
        return self._page(request, "home.html", favourites=favourites, others=[tile for tile in tiles if tile[0] not in FAVOURITES])

    def list_records(self, request: Request) -> Response:
        viewer, obj = self.viewer(request), self._object(request)
        term = request.query.get("q", "").strip()
        kind = request.query.get("type", "")
        after = request.query.get("after", "")
        rows = self._rows(obj, _matching(obj, term, kind, after), PAGE + 1)
        more = str(rows[PAGE - 1]["Id"]) if len(rows) > PAGE else None
        record_type = obj.record_types.get(kind)
        table = self._table(
            viewer, obj, rows[:PAGE], self.layouts.columns(obj, record_type.developer_name if record_type else None), obj.plural
        )
        if more:
            table.more = f"?after={quote(more)}&q={quote(term)}&type={quote(kind)}"
        kinds = [(r.developer_name, r.label) for r in obj.record_types.values() if r.active]
        creatable = obj.createable and viewer.permissions.allows(obj, "create")
        return self._page(
            request,
            "list.html",
            table=table,
            object=obj,
            q=term,
            kind=kind,
            kinds=kinds,
            count=self.state.store.count(obj.name),
            new=creatable,
        )

    def search(self, request: Request) -> Response:
        viewer = self.viewer(request)
        term = request.query.get("q", "").strip()
        tables: list[Table] = []
        for obj in self.state.org if term else ():
            if not viewer.sees(obj) or not obj.searchable:
                continue
            rows = self._rows(obj, _matching(obj, term, "", ""), RELATED)
            if rows:
                tables.append(self._table(viewer, obj, rows, self.layouts.columns(obj, None), obj.plural))
        return self._page(request, "search.html", tables=tables, q=term)

    def _rows(self, obj: ObjectType, where: tuple[str, list[Stored]], limit: int) -> list[Row]:
        columns = ", ".join(f'"{name}"' for name in obj.columns)
        sql = f'SELECT {columns} FROM "{obj.name}" WHERE "IsDeleted" = 0 {where[0]} LIMIT {limit}'
        with self.state.store.read() as connection:
            return [dict(zip(obj.columns, row, strict=True)) for row in connection.execute(sql, where[1])]

    def _table(self, viewer: Viewer, obj: ObjectType, rows: list[Row], names: Iterable[str], title: str) -> Table:
        fields = [f for name in names if (f := obj.field(name)) and viewer.permissions.readable(obj, f)]
        named = obj.field(obj.name_field or "")
        if named is not None and named not in fields:
            fields.insert(0, named)
        labels = self._parent_names(obj, rows, fields)
        body = [(str(row["Id"]), [self._shown(obj, f, row, labels) for f in fields]) for row in rows]
        return Table(title, obj.name, [f.label.removesuffix(" ID") for f in fields], body)

    # -- one record --------------------------------------------------------------------------------------------------

    def _object(self, request: Request) -> ObjectType:
        obj = self.state.org.object(request.params["object"])
        if obj is None or not self.viewer(request).sees(obj):
            raise ApiError(404, "NOT_FOUND", "There is no such list, or you may not see it.")
        return obj

    def _record(self, request: Request, obj: ObjectType) -> Row:
        try:
            row = self.state.store.get(obj.name, normalise(request.params["id"]))
        except MalformedId:
            row = None
        if row is None or row.get("IsDeleted"):
            raise ApiError(404, "NOT_FOUND", "This record is not there (any more).")
        return row

    def by_id(self, request: Request) -> Response:
        """`/001...` leads to the record's page."""
        given = request.params["id"]
        obj = self.state.org.object_of_id(given) if looks_like_id(given) else None
        if obj is None:
            raise ApiError(404, "NOT_FOUND", "There is no such page.")
        return Response(302, "", {"Location": f"/lightning/r/{obj.name}/{given}/view", "Content-Type": HTML})

    def view(self, request: Request) -> Response:
        viewer, obj = self.viewer(request), self._object(request)
        row = self._record(request, obj)
        kind = obj.record_type_by_id(str(row.get("RecordTypeId") or ""))
        layout = self.layouts.layout(obj, kind.developer_name if kind else None)
        highlights = [name for name in self.layouts.columns(obj, kind.developer_name if kind else None) if name != obj.name_field]
        return self._page(
            request,
            "record.html",
            object=obj,
            id=row["Id"],
            name=record_name(obj, row),
            kind=kind.label if kind else obj.label,
            highlights=self._values(viewer, obj, row, highlights),
            sections=[
                (section.label, [self._values(viewer, obj, row, column) for column in section.columns]) for section in layout.sections
            ],
            system=self._values(viewer, obj, row, ["Id", "OwnerId", "CreatedById", "CreatedDate", "LastModifiedById", "LastModifiedDate"]),
            related=[self._related(viewer, row, related) for related in layout.related if self._may_relate(viewer, related)],
            editable=obj.updateable and viewer.permissions.allows(obj, "edit"),
            deletable=obj.deletable and viewer.permissions.allows(obj, "delete"),
        )

    def _values(self, viewer: Viewer, obj: ObjectType, row: Row, names: Iterable[str]) -> list[Shown]:
        fields = [f for name in names if (f := obj.field(name)) and viewer.permissions.readable(obj, f)]
        labels = self._parent_names(obj, [row], fields)
        return [self._shown(obj, f, row, labels) for f in fields]

    def _shown(self, obj: ObjectType, f: FieldType, row: Row, labels: dict[str, str]) -> Shown:
        title = f.label.removesuffix(" ID") if f.is_reference else f.label
        if f.kind is Kind.ADDRESS:
            return Shown(title, address_text(obj, f, row), None, long=True, help=f.help)
        if f.name == "Name" and not row.get("Name"):
            return Shown(title, record_name(obj, row))
        stored = row.get(f.name)
        if f.is_reference and stored:
            target = self.state.org.object_of_id(str(stored))
            link = f"/lightning/r/{target.name}/{stored}/view" if target and target.layoutable else None
            return Shown(title, labels.get(str(stored), str(stored)), link, help=f.help)
        text = human(f, stored)
        return Shown(title, text, long=len(text) > 60 or "\n" in text, help=f.help)

    def _parent_names(self, obj: ObjectType, rows: list[Row], fields: Iterable[FieldType]) -> dict[str, str]:
        """Names of the records that lookups point to."""
        wanted: dict[str, set[str]] = {}
        for f in fields:
            for row in rows if f.is_reference else ():
                target = self.state.org.object_of_id(str(row.get(f.name) or ""))
                if target is not None:
                    wanted.setdefault(target.name, set()).add(str(row[f.name]))
        names: dict[str, str] = {}
        with self.state.store.read() as connection:
            for name, ids in wanted.items():
                parent = self.state.org.objects[name]
                found = self.state.store.rows_where(connection, name, "Id", ids)
                names |= {record_id: record_name(parent, row) for record_id, row in found.items()}
        return names

    def _may_relate(self, viewer: Viewer, related: RelatedList) -> bool:
        child = self.state.org.objects[related.child]
        key = child.field(related.lookup)
        return viewer.sees(child) and key is not None and viewer.permissions.readable(child, key)

    def _related(self, viewer: Viewer, row: Row, related: RelatedList) -> Table:
        child = self.state.org.objects[related.child]
        sort = related.sort if related.sort in child.columns else next((n for n in ("CreatedDate", "Id") if n in child.columns), "Id")
        order = "DESC" if related.descending or not related.sort else "ASC"
        where = f'AND "{related.lookup}" = ? ORDER BY "{sort}" {order}, "Id"'
        rows = self._rows(child, (where, [str(row["Id"])]), RELATED + 1)
        table = self._table(viewer, child, rows[:RELATED], related.fields or self.layouts.columns(child, None), related.label)
        if len(rows) > RELATED:
            table.more = f"/lightning/o/{child.name}/list"
        if child.createable and viewer.permissions.allows(child, "create"):
            table.new = f"/lightning/o/{child.name}/new?{quote(related.lookup)}={row['Id']}"
        return table

    # -- forms -------------------------------------------------------------------------------------------------------

    def edit(self, request: Request) -> Response:
        viewer, obj = self.viewer(request), self._object(request)
        row: Row = self._record(request, obj) if "id" in request.params else self._prefilled(request, obj)
        return self._form(request, viewer, obj, row, {}, [])

    def _prefilled(self, request: Request, obj: ObjectType) -> Row:
        """A new record's start: defaults, what the link gives, the record type chosen."""
        row: Row = {}
        for f in obj.fields.values():
            if isinstance(f.default, (bool, str, int, float)):
                row[f.name] = int(f.default) if isinstance(f.default, bool) else f.default
            default = next((value.value for value in f.picklist if value.default), None)
            if default is not None:
                row[f.name] = default
            if f.name in request.query:
                row[f.name] = request.query[f.name]
        kind = obj.record_types.get(request.query.get("type", ""))
        if kind is not None:
            row["RecordTypeId"] = kind.id
        return row

    def _form(
        self, request: Request, viewer: Viewer, obj: ObjectType, row: Row, sent: dict[str, str], errors: list[Error], status: int = 200
    ) -> Response:
        new = "id" not in request.params
        layout = self._layout_of(obj, row)
        by_field = {name: error.message for error in errors for name in error.fields or ()}
        sections: list[tuple[str, list[list[Input]]]] = []
        for section in layout.sections:
            columns = [
                [_input(f, row, sent, by_field.pop(f.name, None)) for f in self._editable(viewer, obj, _writable(section, names), new=new)]
                for names in section.columns
            ]
            if any(columns):
                sections.append((section.label, columns))
        general = [error.message for error in errors if not error.fields or set(error.fields) & set(by_field)]
        hidden = {name: str(row[name]) for name in ("RecordTypeId",) if new and row.get(name)}
        title = f"New {obj.label}" if new else f"Edit {record_name(obj, row)}"
        back = f"/lightning/o/{obj.name}/list" if new else f"/lightning/r/{obj.name}/{row['Id']}/view"
        return self._page(
            request, "edit.html", status, title=title, sections=sections, errors=general, hidden=hidden, back=back, object=obj
        )

    def _layout_of(self, obj: ObjectType, row: Row) -> Layout:
        kind = obj.record_type_by_id(str(row.get("RecordTypeId") or ""))
        return self.layouts.layout(obj, kind.developer_name if kind else None)

    def _editable(self, viewer: Viewer, obj: ObjectType, names: Iterable[str], *, new: bool) -> list[FieldType]:
        """The fields of a layout's column that this person may write; a person's name and an address by their parts."""
        fields: list[FieldType] = []
        for name in names:
            f = obj.field(name)
            if f is None:
                continue
            parts = list(obj.compounds.get(f.name, ()))
            if name == "Name" and obj.field("FirstName"):
                parts = [p for part in ("Salutation", "FirstName", "MiddleName", "LastName", "Suffix") if (p := obj.field(part))]
            fields.extend(parts or [f])
        return [f for f in fields if (f.createable if new else f.updateable) and viewer.permissions.editable(obj, f)]

    def save(self, request: Request) -> Response:
        viewer, obj = self.viewer(request), self._object(request)
        new = "id" not in request.params
        row: Row = self._prefilled(request, obj) if new else self._record(request, obj)
        form = _form(request)
        kind = form.get("RecordTypeId", [""])[0]
        if new and kind:
            row["RecordTypeId"] = kind
        record, sent, errors = self._changes(viewer, obj, row, form, new=new)
        if not errors:
            context = Context(
                viewer.user_id,
                permissions=viewer.permissions,
                surface=Surface.PAGE,
                client="page",
                user=dict(viewer.row),
                now=self.state.store.clock,
            )
            store = self.state.store
            result = (store.insert(obj.name, [record], context) if new else store.update(obj.name, [record], context))[0]
            if result.success:
                return Response(303, "", {"Location": f"/lightning/r/{obj.name}/{result.id}/view", "Content-Type": HTML})
            errors = result.errors
        return self._form(request, viewer, obj, row, sent, errors, 422)

    def _changes(
        self, viewer: Viewer, obj: ObjectType, row: Row, form: dict[str, list[str]], *, new: bool
    ) -> tuple[Record, dict[str, str], list[Error]]:
        """The record to save (only what the person changed), what was sent, and what can't be read."""
        record: dict[str, Json] = {} if new else {"Id": str(row["Id"])}
        sent: dict[str, str] = {}
        errors: list[Error] = []
        layout = self._layout_of(obj, row)
        names = [name for section in layout.sections for column in section.columns for name in _writable(section, column)]
        for f in self._editable(viewer, obj, names, new=new):
            control = input_of(f, row.get(f.name))
            if f.name not in form and f.kind is not Kind.CHECKBOX:
                continue
            text = ";".join(form.get(f.name, [])) if control.multiple else form.get(f.name, ["false"])[-1]
            sent[f.name] = text
            if not new and text.replace("\r\n", "\n") == control.value.replace("\r\n", "\n"):
                continue
            try:
                value = input_value(f, text)
            except ValueError as error:
                errors.append(Error("INVALID_FIELD", str(error), (f.name,)))
                continue
            if value is not None or not new:
                record[f.name] = value
        if new and row.get("RecordTypeId"):
            record["RecordTypeId"] = str(row["RecordTypeId"])
        return record, sent, errors

    def delete(self, request: Request) -> Response:
        viewer, obj = self.viewer(request), self._object(request)
        row = self._record(request, obj)
        context = Context(
            viewer.user_id, permissions=viewer.permissions, surface=Surface.PAGE, user=dict(viewer.row), now=self.state.store.clock
        )
        result = self.state.store.delete(obj.name, [str(row["Id"])], context)[0]
        if not result.success:
            raise ApiError(400, result.errors[0].status_code, result.errors[0].message)
        return Response(303, "", {"Location": f"/lightning/o/{obj.name}/list", "Content-Type": HTML})


def _writable(section: Section, names: list[str]) -> list[str]:
    """A column's fields without those that the layout shows for reading only."""
    return [name for name in names if name not in section.read_only]


def _input(f: FieldType, row: Row, sent: dict[str, str], error: str | None) -> Input:
    """A field's control: what the person sent last, else the record's value."""
    control = input_of(f, row.get(f.name), error)
    return replace(control, value=sent[f.name]) if f.name in sent else control


def record_name(obj: ObjectType, row: Row) -> str:
    """What a record is called."""
    name = row.get(obj.name_field) if obj.name_field else None
    person = " ".join(str(row[part]) for part in ("FirstName", "LastName") if row.get(part))
    return str(name or person or row.get("Id") or obj.label)


def _matching(obj: ObjectType, term: str, kind: str, after: str) -> tuple[str, list[Stored]]:
    """The WHERE and ORDER of a list: newest first, filtered by words, record type and page."""
    sql = ""
    values: list[Stored] = []
    record_type = obj.record_types.get(kind)
    if record_type is not None:
        sql += ' AND "RecordTypeId" = ?'
        values.append(record_type.id)
    if term:
        looked = [
            name for name in (obj.name_field, "OMS_Id__c", "Email", "PersonEmail", "Phone", "Subject") if name and name in obj.columns
        ]
        looked = looked or ["Id"]
        sql += " AND (" + " OR ".join(f"\"{name}\" LIKE ? ESCAPE '\\'" for name in looked) + ")"
        like = "%" + term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        values.extend([like] * len(looked))
    if after:
        sql += ' AND "Id" < ?'
        values.append(after)
    return sql + ' ORDER BY "Id" DESC', values


def _form(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)


def _cookie(request: Request) -> str | None:
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None


def routes(state: OrgState, sources: Sequence[Path]) -> list[Route]:
    """The pages' routes; `sources` are the DX folders with the layouts."""
    return Pages(state, sources).routes()
