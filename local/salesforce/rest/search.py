"""`/search`: SOSL's simplest form, `FIND {words} [IN ... FIELDS] [RETURNING Object(Field, ...), ...] [LIMIT n]`.

Records whose name, e-mail, phone or external id holds every word. Anything more is refused as Salesforce refuses what it can't read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from local.salesforce.rest.http import ApiError, Request, Response, Route
from local.salesforce.rest.sobjects import chosen_fields
from local.salesforce.rest.state import INVALID_TYPE, OrgState
from local.salesforce.rest.values import record
from local.salesforce.schema import Kind, ObjectType

MOST = 2_000
_FIND = re.compile(
    r"\s*FIND\s*\{(?P<words>[^}]*)\}\s*(?:IN\s+(?:ALL|NAME|EMAIL|PHONE)\s+FIELDS\s*)?(?:RETURNING\s+(?P<what>.*?))?\s*(?:LIMIT\s+(?P<limit>\d{1,4})\s*)?\Z",
    re.IGNORECASE | re.DOTALL,
)
_RETURNING = re.compile(r"\s*(\w+)\s*(?:\(([\w\s,]*)\))?\s*(?:,|\Z)")


@dataclass
class Search:
    """The handler of `/search`."""

    state: OrgState

    def routes(self) -> list[Route]:
        return [Route("GET", "/services/data/{version}/search", self.search)]

    def search(self, request: Request) -> Response:
        sosl = request.query.get("q", "")
        if not re.match(r"\s*FIND\s*\{", sosl, re.IGNORECASE):
            raise ApiError(400, "MALFORMED_SEARCH", "No search term found. The search term must be enclosed in braces.")
        read = _FIND.match(sosl)
        if read is None:
            raise ApiError(400, "MALFORMED_SEARCH", "The search can't be read after its term.")
        words = [word for word in re.split(r"[\s*?]+", read["words"]) if word]
        if sum(map(len, words)) < 2:
            raise ApiError(400, "INVALID_SEARCH", "search term must be longer than one character")
        limit = min(int(read["limit"] or MOST), MOST)
        found: list[dict[str, object]] = []
        for obj, names in self._targets(read["what"] or ""):
            found.extend(self._find(request, obj, names, words, limit - len(found)))
        self.state.calls.note("search", len(found))
        return Response(200, {"searchRecords": found})

    def _targets(self, what: str) -> list[tuple[ObjectType, list[str]]]:
        """The objects to look through, and the fields to show; without RETURNING every searchable one's id."""
        if not what.strip():
            return [(obj, ["Id"]) for obj in self.state.org if obj.searchable and obj.queryable and not obj.event]
        targets: list[tuple[ObjectType, list[str]]] = []
        at = 0
        while at < len(what):
            part = _RETURNING.match(what, at)
            if part is None:
                raise ApiError(400, "MALFORMED_SEARCH", f"unexpected token: {what[at:].split()[0]}")
            obj = self.state.org.object(part[1])
            if obj is None or obj.event:
                raise ApiError(400, "INVALID_TYPE", INVALID_TYPE.format(part[1]))
            targets.append((obj, [name.strip() for name in (part[2] or "Id").split(",") if name.strip()] or ["Id"]))
            at = part.end()
        return targets

    def _find(self, request: Request, obj: ObjectType, names: list[str], words: list[str], limit: int) -> list[dict[str, object]]:
        permissions = self.state.permissions(request.user.user_id)
        fields = chosen_fields(obj, names, permissions.readable)
        looked = [
            f.name
            for f in obj.fields.values()
            if f.stored
            and permissions.readable(obj, f)
            and (f.name == obj.name_field or f.kind in {Kind.EMAIL, Kind.PHONE} or f.external_id)
        ]
        if not looked or limit <= 0:
            return []
        where = " AND ".join("(" + " OR ".join(f"\"{name}\" LIKE ? ESCAPE '\\'" for name in looked) + ")" for _ in words)
        values = [f"%{_escaped(word)}%" for word in words for _ in looked]
        columns = ", ".join(f'"{name}"' for name in obj.columns)
        sql = f'SELECT {columns} FROM "{obj.name}" WHERE "IsDeleted" = 0 AND {where} ORDER BY "Id" LIMIT {limit}'
        with self.state.store.read() as connection:
            rows = [dict(zip(obj.columns, row, strict=True)) for row in connection.execute(sql, values)]
        return [record(obj, row, request.root, fields) for row in rows]


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
