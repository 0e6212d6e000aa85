"""`composite/tree`: records with their children in one call, all or nothing, up to 200 in five levels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from local.salesforce.dml_types import Json, Record, Result
from local.salesforce.rest.errors import collection_error
from local.salesforce.rest.http import ApiError, Request, Response, Route
from local.salesforce.rest.state import OrgState
from local.salesforce.schema import ObjectType

MOST_RECORDS = 200
MOST_LEVELS = 5
MOST_TYPES = 5


@dataclass(slots=True)
class Branch:
    """One record, the lookup that ties it to its parent, and its own children."""

    obj: ObjectType
    reference: str
    fields: dict[str, Json]
    parent_field: str | None
    children: list[Branch] = field(default_factory=list)

    def walk(self) -> Iterator[Branch]:
        yield self
        for child in self.children:
            yield from child.walk()


class _Failed(Exception):
    """Leaves the transaction with the failed records' answers."""

    def __init__(self, results: list[dict[str, object]]) -> None:
        super().__init__("rolled back")
        self.results = results


@dataclass
class Tree:
    """The handler of `/composite/tree/{object}`."""

    state: OrgState

    def routes(self) -> list[Route]:
        return [Route("POST", "/services/data/{version}/composite/tree/{object}", self.create)]

    def create(self, request: Request) -> Response:
        root = self.state.object(request.params["object"])
        branches = [self._branch(item, root, None, 1) for item in _records(request.object())]
        whole = [branch for top in branches for branch in top.walk()]
        self._check(whole)
        self.state.calls.note("composite.tree", len(whole))
        try:
            with self.state.store.write():
                results = self._save(request, branches)
        except _Failed as failed:
            return Response(400, {"hasErrors": True, "results": failed.results})
        return Response(201, {"hasErrors": False, "results": results})

    def _check(self, whole: list[Branch]) -> None:
        if len(whole) > MOST_RECORDS:
            raise ApiError(400, "EXCEEDED_ID_LIMIT", f"Cannot create more than {MOST_RECORDS} records in a tree, received {len(whole)}.")
        if len({branch.obj.name for branch in whole}) > MOST_TYPES:
            raise ApiError(400, "LIMIT_EXCEEDED", f"Cannot create records of more than {MOST_TYPES} types in a tree.")
        if len({branch.reference for branch in whole}) < len(whole):
            raise ApiError(400, "INVALID_INPUT", "Duplicate ReferenceId provided in the request.")

    def _save(self, request: Request, branches: list[Branch]) -> list[dict[str, object]]:
        """Level by level: parents are there before their children."""
        ids: dict[str, str] = {}
        order = [branch.reference for top in branches for branch in top.walk()]
        level: list[tuple[Branch, str | None]] = [(branch, None) for branch in branches]
        while level:
            failures: list[dict[str, object]] = []
            for (branch, _), result in zip(level, self._insert(request, level), strict=True):
                if result.success and result.id:
                    ids[branch.reference] = result.id
                else:
                    failures.append({"referenceId": branch.reference, "errors": [collection_error(error) for error in result.errors]})
            if failures:
                raise _Failed(failures)
            level = [(child, ids[branch.reference]) for branch, _ in level for child in branch.children]
        return [{"referenceId": reference, "id": ids[reference]} for reference in order]

    def _insert(self, request: Request, level: list[tuple[Branch, str | None]]) -> list[Result]:
        """One level's records, saved by type, answered in order."""
        context = self.state.context(request)
        answers: dict[int, Result] = {}
        by_type: dict[str, list[int]] = {}
        for index, (branch, _) in enumerate(level):
            by_type.setdefault(branch.obj.name, []).append(index)
        for name, indexes in by_type.items():
            records: list[Record] = []
            for index in indexes:
                branch, parent = level[index]
                records.append({**branch.fields, branch.parent_field: parent} if branch.parent_field else branch.fields)
            answers.update(zip(indexes, self.state.store.insert(name, records, context), strict=True))
        return [answers[index] for index in range(len(level))]

    def _branch(self, item: Json, obj: ObjectType, parent_field: str | None, depth: int) -> Branch:
        if depth > MOST_LEVELS:
            raise ApiError(400, "LIMIT_EXCEEDED", f"A tree can't have more than {MOST_LEVELS} levels.")
        attributes = item.get("attributes") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(attributes, dict):
            raise ApiError(400, "JSON_PARSER_ERROR", "Missing entityType information. at [line:1, column:1]")
        reference, kind = attributes.get("referenceId"), attributes.get("type")
        if not isinstance(reference, str) or not reference:
            raise ApiError(400, "INVALID_INPUT", "Include a referenceId for each record in the request.")
        if not isinstance(kind, str) or self.state.org.object(kind) is not obj:
            raise ApiError(400, "INVALID_INPUT", f"The type of record {reference} must be {obj.name}.")
        branch = Branch(obj, reference, {}, parent_field)
        for name, value in item.items():
            if name == "attributes":
                continue
            relation = obj.child(name) if isinstance(value, dict) and "records" in value else None
            child = self.state.org.object(relation.child) if relation else None
            if relation is None or child is None or not isinstance(value, dict):
                branch.fields[name] = value
                continue
            branch.children.extend(self._branch(below, child, relation.field, depth + 1) for below in _records(value))
        return branch


def _records(body: dict[str, object] | dict[str, Json]) -> list[Json]:
    records = body.get("records")
    if not isinstance(records, list) or not records:
        raise ApiError(400, "JSON_PARSER_ERROR", "The records field is required and must be an array at [line:1, column:1]")
    return records
