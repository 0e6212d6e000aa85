"""Composite calls: up to 25 subrequests with references, batches, record trees, graphs.

A subrequest is a `Request` of its own, sent through the same table of routes, inside the caller's transaction: that makes
`allOrNone` a real rollback. The whole counts as one API call. Unless `collateSubrequests` is false, Salesforce may reorder
subrequests that don't depend on each other (default since v49); so does this simulator, always.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from urllib.parse import parse_qsl

from local.salesforce.rest.http import ApiError, Headers, Request, Response, Route, Router
from local.salesforce.rest.state import OrgState, boolean

ROOT = "/services/data/{version}/composite"
MOST_SUBREQUESTS = 25
MOST_COLLECTIONS_OR_QUERIES = 5
MOST_GRAPH_NODES = 500
REFERENCE = re.compile(r"@\{([^{}]*)\}")
REFERENCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]*\Z")
HALTED = "The transaction was rolled back since another operation in the same transaction failed."
GRAPH_HALTED = "We rolled back the transaction since another operation in the same transaction failed."
_COSTLY = re.compile(r"/services/data/v[^/]+/(query|queryAll|composite/sobjects)(/|\?|$)", re.IGNORECASE)
_REFUSED = re.compile(r"/services/data/v[^/]+/(composite(?!/sobjects)|jobs)(/|\?|$)", re.IGNORECASE)
_SHOWN_HEADERS = frozenset({"Location", "ETag", "Last-Modified"})
_OWN_HEADERS = frozenset({"accept", "authorization", "content-type"})


class _Undo(Exception):
    """Leaves an all-or-none transaction."""


class BadReference(Exception):
    """`@{...}` names nothing that an earlier subrequest answered."""


@dataclass(slots=True)
class Sub:
    """One subrequest of a Composite call or graph."""

    method: str
    url: str
    reference: str
    body: object
    headers: dict[str, str]

    def names(self) -> set[str]:
        """Reference ids this subrequest depends on."""
        return {re.split(r"[.\[]", found, maxsplit=1)[0] for found in _mentions((self.url, self.body, self.headers))}


@dataclass
class Composite:
    """Handlers under `/composite`. `router()` gives the table of routes once it is complete."""

    state: OrgState
    router: Callable[[], Router]

    def routes(self) -> list[Route]:
        return [
            Route("GET", ROOT, self.resources),
            Route("POST", ROOT, self.composite),
            Route("POST", f"{ROOT}/batch", self.batch),
            Route("POST", f"{ROOT}/graph", self.graph),
        ]

    def resources(self, request: Request) -> Response:
        here = f"{request.root}/composite"
        return Response(200, {"tree": f"{here}/tree", "batch": f"{here}/batch", "sobjects": f"{here}/sobjects", "graph": f"{here}/graph"})

    # -- composite ---------------------------------------------------------------------------------------------------

    def composite(self, request: Request) -> Response:
        body = request.object()
        subs = _subrequests(body.get("compositeRequest"))
        if len(subs) > MOST_SUBREQUESTS:
            message = f"Cannot have more than {MOST_SUBREQUESTS} subrequests in a composite request, received {len(subs)}."
            raise ApiError(400, "LIMIT_EXCEEDED", message)
        costly = sum(1 for sub in subs if _COSTLY.match(sub.url))
        if costly > MOST_COLLECTIONS_OR_QUERIES:
            message = f"Cannot have more than {MOST_COLLECTIONS_OR_QUERIES} query or sObject Collections subrequests, received {costly}."
            raise ApiError(400, "LIMIT_EXCEEDED", message)
        collate = boolean(body.get("collateSubrequests", float(request.version) >= 49), "collateSubrequests")
        order = collated(subs) if collate else list(range(len(subs)))
        all_or_none = boolean(body.get("allOrNone", False), "allOrNone")
        self.state.calls.note("composite")
        answers = self._run(request, subs, order, all_or_none=all_or_none, halted=HALTED)
        return Response(200, {"compositeResponse": answers})

    def _run(self, request: Request, subs: list[Sub], order: list[int], *, all_or_none: bool, halted: str) -> list[dict[str, object]]:
        """Answers in request order. One transaction around all; a failing subrequest undoes its own writes, or everyone's."""
        done: dict[str, Response] = {}
        writes = any(sub.method != "GET" and not sub.url.partition("?")[0].endswith("/describe") for sub in subs)
        try:
            with self.state.store.write() if writes else nullcontext():
                for index in order:
                    answer = done[subs[index].reference] = self._answer(request, subs[index], done)
                    if all_or_none and answer.status >= 400:
                        raise _Undo
        except _Undo:
            culprit = next(reversed(done))
            rolled_back = Response(400, [{"errorCode": "PROCESSING_HALTED", "message": halted}])
            done = {sub.reference: done[culprit] if sub.reference == culprit else rolled_back for sub in subs}
        return [_part(sub, done[sub.reference]) for sub in subs]

    def _answer(self, request: Request, sub: Sub, done: dict[str, Response]) -> Response:
        """One subrequest's answer; errors become answers too."""
        try:
            url = _filled(sub.url, done)
            body = _filled(sub.body, done)
            headers = _filled(sub.headers, done)
        except BadReference as bad:
            return Response(400, [{"errorCode": "PROCESSING_HALTED", "message": str(bad)}])
        return self.send(request, sub.method, str(url), body, headers if isinstance(headers, dict) else {})

    def send(self, request: Request, method: str, url: str, body: object, headers: dict[str, str]) -> Response:
        """Send a subrequest through the table of routes."""
        path, _, query = url.partition("?")
        if not path.lower().startswith("/services/data/") or _REFUSED.match(url):
            return ApiError(400, "INVALID_INPUT", f"The resource {path} can't be used in a subrequest.").response()
        inherited = {name: value for name, value in request.headers.items() if name.startswith("sforce-")}
        sub = Request(
            method=method,
            path=path.replace(" ", "%20"),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=Headers((inherited | {name.lower(): value for name, value in headers.items()}).items()),
            payload=body,
            session=request.session,
            base=request.base,
            subrequest=True,
        )
        try:
            route, sub.params = self.router().find(sub.method, sub.path)
            if not route.auth or route.spool:
                raise ApiError(400, "INVALID_INPUT", f"The resource {path} can't be used in a subrequest.")
            return _as_json(route.handler(sub))
        except ApiError as error:
            return error.response()

    # -- batch -------------------------------------------------------------------------------------------------------

    def batch(self, request: Request) -> Response:
        body = request.object()
        parts = body.get("batchRequests")
        if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
            raise ApiError(400, "JSON_PARSER_ERROR", "The batchRequests field is required and must be an array at [line:1, column:1]")
        if len(parts) > MOST_SUBREQUESTS:
            message = f"Cannot have more than {MOST_SUBREQUESTS} subrequests in a batch request, received {len(parts)}."
            raise ApiError(400, "LIMIT_EXCEEDED", message)
        halt = boolean(body.get("haltOnError", False), "haltOnError")
        self.state.calls.note("composite.batch")
        results: list[dict[str, object]] = []
        failed = False
        for part in parts:
            if halt and failed:
                message = "Batch processing halted per request"
                results.append({"statusCode": 412, "result": [{"errorCode": "BATCH_PROCESSING_HALTED", "message": message}]})
                continue
            answer = self.send(
                request, str(part.get("method", "GET")).upper(), _rooted(str(part.get("url", ""))), part.get("richInput"), {}
            )
            failed = failed or answer.status >= 400
            results.append({"statusCode": answer.status, "result": answer.body})
        return Response(200, {"hasErrors": failed, "results": results})

    # -- graph -------------------------------------------------------------------------------------------------------

    def graph(self, request: Request) -> Response:
        """Each graph is a transaction of its own, all or nothing."""
        graphs = request.object().get("graphs")
        if not isinstance(graphs, list) or not graphs or not all(isinstance(graph, dict) for graph in graphs):
            raise ApiError(400, "JSON_PARSER_ERROR", "The graphs field is required and must be an array at [line:1, column:1]")
        parsed = [(str(graph.get("graphId", "")), _subrequests(graph.get("compositeRequest"))) for graph in graphs]
        if sum(len(subs) for _, subs in parsed) > MOST_GRAPH_NODES:
            raise ApiError(400, "LIMIT_EXCEEDED", f"Cannot have more than {MOST_GRAPH_NODES} nodes in a composite graph request.")
        self.state.calls.note("composite.graph")
        answers: list[dict[str, object]] = []
        for graph_id, subs in parsed:
            parts = self._run(request, subs, in_dependence(subs), all_or_none=True, halted=GRAPH_HALTED)
            fine = all(isinstance(part["httpStatusCode"], int) and part["httpStatusCode"] < 400 for part in parts)
            answers.append({"graphId": graph_id, "graphResponse": {"compositeResponse": parts}, "isSuccessful": fine})
        return Response(200, {"graphs": answers})


def _as_json(answer: Response) -> Response:
    """A handler may answer encoded JSON; inside another answer it has to be data."""
    if isinstance(answer.body, (bytes, str)):
        answer.body = json.loads(answer.body) if answer.body else None
    return answer


def _part(sub: Sub, answer: Response) -> dict[str, object]:
    headers = {name: value for name, value in answer.headers.items() if name in _SHOWN_HEADERS}
    return {"body": answer.body, "httpHeaders": headers, "httpStatusCode": answer.status, "referenceId": sub.reference}


def _rooted(url: str) -> str:
    """Batch URLs are relative to `/services/data/`."""
    return url if url.startswith("/services/") else f"/services/data/{url.lstrip('/')}"


def _subrequests(value: object) -> list[Sub]:
    if not isinstance(value, list) or not value:
        raise ApiError(400, "JSON_PARSER_ERROR", "The compositeRequest field is required and must be an array at [line:1, column:1]")
    subs = [_subrequest(item) for item in value]
    seen: set[str] = set()
    for sub in subs:
        if sub.reference.lower() in seen:
            raise ApiError(400, "INVALID_INPUT", f"Duplicate ReferenceId provided: {sub.reference}")
        seen.add(sub.reference.lower())
    return subs


def _subrequest(item: object) -> Sub:
    if not isinstance(item, dict):
        raise ApiError(400, "JSON_PARSER_ERROR", "A subrequest must be an object at [line:1, column:1]")
    reference, method, url = item.get("referenceId"), item.get("method"), item.get("url")
    if not isinstance(reference, str) or not REFERENCE_ID.match(reference):
        raise ApiError(
            400,
            "INVALID_INPUT",
            f"Provided referenceId ('{reference}') must start with a letter or a number, and contain only "
            "letters, numbers, hyphens and underscores ('_').",
        )
    if not isinstance(method, str) or not isinstance(url, str) or method.upper() not in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"}:
        raise ApiError(400, "INVALID_INPUT", f"The subrequest {reference} needs a method and a url.")
    headers = item.get("httpHeaders") or {}
    if not isinstance(headers, dict) or any(str(name).lower() in _OWN_HEADERS for name in headers):
        raise ApiError(400, "INVALID_INPUT", f"The httpHeaders of subrequest {reference} can't set Accept, Authorization or Content-Type.")
    return Sub(method.upper(), url, reference, item.get("body"), {str(name): str(value) for name, value in headers.items()})


# -- order ---------------------------------------------------------------------------------------------------------------


def in_dependence(subs: list[Sub]) -> list[int]:
    """Request order, but nothing before what it refers to (graphs)."""
    return _rounds(subs, key=lambda index: index)


def collated(subs: list[Sub]) -> list[int]:
    """The order of `collateSubrequests`: like with like among what doesn't depend on each other."""
    return _rounds(subs, key=lambda index: (subs[index].method, subs[index].url.split("/")[4:7], index))


def _rounds(subs: list[Sub], key: Callable[[int], object]) -> list[int]:
    """Rounds of subrequests whose references are all answered; what refers to nothing known comes last and fails there."""
    known = {sub.reference for sub in subs}
    needs = {index: (sub.names() & known) - {sub.reference} for index, sub in enumerate(subs)}
    order: list[int] = []
    answered: set[str] = set()
    while needs:
        ready = [index for index, names in needs.items() if names <= answered] or list(needs)
        ready.sort(key=key)  # type: ignore[arg-type]
        for index in ready:
            order.append(index)
            answered.add(subs[index].reference)
            del needs[index]
    return order


# -- references ----------------------------------------------------------------------------------------------------------


def _mentions(value: object) -> list[str]:
    if isinstance(value, str):
        return REFERENCE.findall(value)
    if isinstance(value, dict):
        return [found for item in value.values() for found in _mentions(item)]
    if isinstance(value, (list, tuple)):
        return [found for item in value for found in _mentions(item)]
    return []


def _filled(value: object, done: dict[str, Response]) -> object:
    """The value with its `@{ref.path}` replaced; a string that is nothing but a reference takes the value's own type."""
    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value)
        if whole:
            return _resolve(whole[1], done)
        return REFERENCE.sub(lambda found: _text(_resolve(found[1], done)), value)
    if isinstance(value, dict):
        return {key: _filled(item, done) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, done) for item in value]
    return value


def _text(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _resolve(expression: str, done: dict[str, Response]) -> object:
    """`ref.records[0].Id` out of what `ref` answered."""
    steps = [step for step in re.split(r"[.\[\]]", expression) if step]
    reference = steps[0] if steps else ""
    answer = done.get(reference)
    if answer is None or answer.status >= 400:
        raise BadReference(f"Invalid reference specified. No value for {expression} found in {reference}")
    value: object = answer.body
    for step in steps[1:]:
        value = _step(value, step)
        if value is None:
            raise BadReference(f"Invalid reference specified. No value for {expression} found in {reference}")
    if isinstance(value, (dict, list)):
        raise BadReference(f"Invalid reference specified. {expression} is no single value")
    return value


def _step(value: object, step: str) -> object:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and step.isdigit() and int(step) < len(value):
        item: object = value[int(step)]
        return item
    return None
