"""HTTP routes of SOQL: query, queryAll, their further pages, and explain."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from local.salesforce.rest.http import ApiError, Request, Response, Route, text_parameter
from local.salesforce.rest.state import INVALID_TYPE
from local.salesforce.schema import FieldType, Kind
from local.salesforce.soql.compiler import compile_query
from local.salesforce.soql.errors import SoqlError, error_at
from local.salesforce.soql.executor import BATCH, MIN_BATCH, Executor, Locators
from local.salesforce.soql.parser import parse
from local.salesforce.soql.plan import Aggregation, Plan, Selection

if TYPE_CHECKING:
    from local.salesforce.rest.state import OrgState

_TOOLING = frozenset({"entitydefinition", "apextrigger", "validationrule", "flowdefinitionview", "user", "recordtype"})
_TOOLING_ONLY = re.compile(r"\bFROM\s+(ValidationRule)\b", re.IGNORECASE)
_BATCH_OPTION = re.compile(r"\s*batchSize\s*=\s*(\d{1,6})\s*", re.IGNORECASE)


def routes(state: OrgState) -> list[Route]:
    """The routes under `/services/data/vXX.X`."""
    return QueryEndpoints(state).routes()


class QueryEndpoints:
    """query and queryAll of one org; the locators are its own."""

    def __init__(self, state: OrgState) -> None:
        self._state = state
        self._executor = Executor(state.store, Locators())

    def routes(self) -> list[Route]:
        base = "/services/data/{version}"
        return [
            Route("GET", f"{base}/query", self._first(all_rows=False)),
            Route("GET", f"{base}/queryAll", self._first(all_rows=True)),
            Route("GET", f"{base}/query/{{locator}}", self._more),
            Route("GET", f"{base}/queryAll/{{locator}}", self._more),
            Route("GET", f"{base}/tooling/query", self._tooling),
            Route("GET", f"{base}/tooling/query/{{locator}}", self._more),
        ]

    def _first(self, *, all_rows: bool) -> Callable[[Request], Response]:
        def handler(request: Request) -> Response:
            with _answers():
                if "explain" in request.query:
                    return self._explain(request)
                soql = text_parameter(request, "q")
                if found := _TOOLING_ONLY.search(soql):
                    raise error_at(soql, found.start(1), "INVALID_TYPE", INVALID_TYPE.format(found[1]))
                context = self._state.context(request)
                if request.query.get("columns", "").lower() == "true":
                    return Response(200, self._columns(soql, request))
                page = self._executor.query(soql, context, request.root, all_rows=all_rows, batch=_batch(request) or BATCH)
                self._state.calls.note("query", len(page.records))
                return Response(200, page.body(request.root))

        return handler

    def _tooling(self, request: Request) -> Response:
        """Setup's objects, and no others."""
        with _answers():
            soql = text_parameter(request, "q")
            source = parse(soql).sources[0]
            if source.path[0].lower() not in _TOOLING:
                raise error_at(soql, source.offset, "INVALID_TYPE", INVALID_TYPE.format(source.path[0]))
            page = self._executor.query(soql, self._state.context(request), request.root, all_rows=False, batch=_batch(request) or BATCH)
            self._state.calls.note("query", len(page.records))
            return Response(200, page.body(f"{request.root}/tooling"))

    def _more(self, request: Request) -> Response:
        with _answers():
            page = self._executor.more(request.params["locator"], self._state.context(request), request.root, batch=_batch(request))
        self._state.calls.note("query", len(page.records))
        return Response(200, page.body(request.root))

    def _explain(self, request: Request) -> Response:
        """A plan in Salesforce's form: whether an index leads, and how many records there are."""
        soql = request.query["explain"]
        name, steps = self._executor.plan_text(soql, self._state.context(request))
        size = self._executor.count(name)
        indexed = bool(steps) and "USING" in steps[0] and "INDEX" in steps[0]
        plan = {
            "cardinality": size,
            "fields": [],
            "leadingOperationType": "Index" if indexed else "TableScan",
            "notes": [],
            "relativeCost": 0.1 if indexed else 1.0,
            "sobjectCardinality": size,
            "sobjectType": name,
        }
        return Response(200, {"plans": [plan], "sourceQuery": soql})

    def _columns(self, soql: str, request: Request) -> dict[str, object]:
        """What `columns=true` asks for: the query's columns instead of its records."""
        plan = compile_query(parse(soql), self._state.org, self._state.context(request))
        obj = plan.scope.object
        return {
            "columnMetadata": _columns_of(plan),
            "entityName": obj.name,
            "groupBy": isinstance(plan, Aggregation) and not plan.count_only,
            "idSelected": isinstance(plan, Selection) and any(name == "Id" for name, _ in plan.headers),
            "keyPrefix": obj.key_prefix,
        }


def _columns_of(plan: Plan) -> list[dict[str, object]]:
    """Fields, aggregates under the function's text, and child subqueries with their own columns joined."""
    if isinstance(plan, Aggregation):
        return [_column_metadata(name, cell.field, plan.functions.get(name)) for name, cell in plan.cells.items()]
    columns = [_column_metadata(name, cell.field) for name, cell in plan.headers]
    for child in plan.children:
        joined = _column_metadata(child.key, child.lookup, child.key)
        joined["joinColumns"] = _columns_of(child.selection)
        columns.append(joined)
    return columns


def _column_metadata(name: str, f: FieldType, function: str | None = None) -> dict[str, object]:
    apex = {Kind.ID: "Id", Kind.CHECKBOX: "Boolean", Kind.INTEGER: "Integer", Kind.DATE: "Date", Kind.DATETIME: "Datetime"}
    apex_type = "Id" if f.is_reference else "Double" if f.is_number and f.kind is not Kind.INTEGER else apex.get(f.kind, "String")
    return {
        "aggregate": function is not None,
        "apexType": apex_type,
        "booleanType": f.kind is Kind.CHECKBOX,
        "columnName": name,
        "custom": f.custom,
        "displayName": function or name,
        "foreignKeyName": f.relationship,
        "insertable": f.createable,
        "joinColumns": [],
        "numberType": f.is_number,
        "textType": f.is_text,
        "updatable": f.updateable,
    }


class _answers:  # noqa: N801 - reads as a phrase: with _answers()
    """Turns a SoqlError into its HTTP 400."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SoqlError):
            raise ApiError(400, error.code, error.message) from error


def _batch(request: Request) -> int | None:
    """`Sforce-Query-Options: batchSize=500`, brought within 200 to 2,000."""
    match = _BATCH_OPTION.fullmatch(request.headers.get("sforce-query-options", ""))
    return max(MIN_BATCH, min(BATCH, int(match.group(1)))) if match else None
