"""Requests, responses and routes as this simulator's handlers see them: plain, synchronous and constructible.

A handler is `def handler(request: Request) -> Response`; it runs in a worker thread. Composite calls build `Request`s of
their own and send them through the same table of routes, which is why nothing here knows of ASGI or sockets.

    routes = [
        Route("GET", "/services/data/{version}/jobs/query/{id}", get_job),
        Route("PUT", "/services/data/{version}/jobs/ingest/{id}/batches", upload, spool=True),
    ]

Path matching: nouns match without regard to case, a trailing slash is accepted, a doubled slash is 404, and `{name}`
takes one segment, percent-decoded (`request.params["name"]`); a last `{name*}` takes the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from local.salesforce.auth import Session

JSON = "application/json;charset=UTF-8"
NOT_FOUND = "The requested resource does not exist"


class ApiError(Exception):
    """An answer in Salesforce's words: `[{"message", "errorCode"[, "fields"]}]` with an HTTP status.

    `fields=None` leaves the key out (INVALID_FIELD, NOT_FOUND, INVALID_SESSION_ID), `[]` keeps it empty (ENTITY_IS_DELETED).
    """

    def __init__(
        self, status: int, code: str, message: str, fields: Sequence[str] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields
        self.headers = dict(headers or {})

    def response(self) -> Response:
        error: dict[str, object] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            error["fields"] = list(self.fields)
        return Response(self.status, [error], dict(self.headers))


def not_found(message: str = NOT_FOUND) -> ApiError:
    return ApiError(404, "NOT_FOUND", message)


class Headers(Mapping[str, str]):
    """Case-insensitive request headers."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items = {name.lower(): value for name, value in items}

    def __getitem__(self, name: str) -> str:
        return self._items[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


@dataclass(slots=True)
class Request:
    """One call, or one subrequest of a Composite call."""

    method: str
    path: str  # as sent, still percent-encoded, without the query
    query: dict[str, str] = field(default_factory=dict)  # decoded; of a repeated name the last counts
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    upload: BinaryIO | None = None  # a `spool=True` route's body, at position 0 (then `body` is empty)
    payload: object = None  # a subrequest's body, parsed already
    params: dict[str, str] = field(default_factory=dict)  # from the route's pattern, decoded
    session: Session | None = None
    base: str = ""  # scheme and host this call came to: the instance URL
    subrequest: bool = False

    @property
    def version(self) -> str:
        """`67.0`; `""` outside `/services/data/vXX.X`."""
        return self.params.get("version", "").lower().removeprefix("v")

    @property
    def root(self) -> str:
        """`/services/data/v67.0`, with which every URL in an answer begins."""
        return f"/services/data/v{self.version}"

    @property
    def user(self) -> Session:
        """Who calls. Only routes with `auth=True` (the default) may ask."""
        if self.session is None:
            raise ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid", headers={"WWW-Authenticate": "Token"})
        return self.session

    def json(self) -> object:
        """The parsed body; JSON_PARSER_ERROR when it isn't JSON, or is empty."""
        return self.payload if self.payload is not None else parse_json(self.body)

    def object(self) -> dict[str, object]:
        """The parsed body, which must be a JSON object."""
        value = self.json()
        if not isinstance(value, dict):
            raise ApiError(
                400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of object from {json_kind(value)} value at [line:1, column:1]"
            )
        return value

    def form(self) -> dict[str, str]:
        """A form body (`application/x-www-form-urlencoded`) over the query string's parameters."""
        values = dict(self.query)
        values.update(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))
        return values


@dataclass(slots=True)
class Response:
    """An answer. `body`: None (no Content-Type), JSON-ready, `bytes`/`str` as they are, or an iterator of bytes (streamed)."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes | Iterator[bytes]:
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        if isinstance(self.body, Iterator):
            return self.body
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


Handler = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path pattern. `counts=False` is not an API call: no limit, no `Sforce-Limit-Info`."""

    method: str
    pattern: str
    handler: Handler
    auth: bool = True  # needs a session
    counts: bool = True
    spool: bool = False  # the body goes to `request.upload`, on disk once it is large


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    rest: dict[str, Route] = field(default_factory=dict)  # routes whose pattern ends in `{name*}` here
    methods: dict[str, Route] = field(default_factory=dict)


class Router:
    """Finds the route of a path. A literal segment wins over a parameter, and backs off when it leads nowhere."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.pattern.strip("/").split("/"):
            if segment.startswith("{") and segment.endswith("*}"):
                node.rest[route.method] = route
                return
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            elif segment:
                node = node.literals.setdefault(segment.lower(), _Node())
        if route.method in node.methods:
            raise ValueError(f"{route.method} {route.pattern} is routed twice: remove one")
        node.methods[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and its decoded parameters, or 404 NOT_FOUND / 405 METHOD_NOT_ALLOWED."""
        segments = path.split("/")[1:]
        if segments and segments[-1] == "":
            segments.pop()
        if "" in segments:
            raise not_found()
        segments = [unquote(segment, errors="replace") for segment in segments]
        methods = self._walk(self._root, segments, 0)
        if methods is None:
            raise not_found()
        route = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
        if route is None:
            allowed = ",".join(sorted({*methods, *(("HEAD",) if "GET" in methods else ())}))
            message = f"HTTP Method '{method}' not allowed. Allowed are {allowed}"
            raise ApiError(405, "METHOD_NOT_ALLOWED", message, headers={"Allow": allowed})
        return route, _parameters(route.pattern, segments)

    def _walk(self, node: _Node, segments: list[str], at: int) -> dict[str, Route] | None:
        if at == len(segments):
            return node.methods or None
        literal = node.literals.get(segments[at].lower())
        if literal is not None and (found := self._walk(literal, segments, at + 1)):
            return found
        if node.parameter is not None and (found := self._walk(node.parameter, segments, at + 1)):
            return found
        return node.rest or None


def _parameters(pattern: str, segments: list[str]) -> dict[str, str]:
    params: dict[str, str] = {}
    for index, part in enumerate(pattern.strip("/").split("/")):
        if part.endswith("*}"):
            params[part[1:-2]] = "/".join(segments[index:])
        elif part.startswith("{"):
            params[part[1:-1]] = segments[index]
    return params


def json_kind(value: object) -> str:
    """What JSON calls a value's type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def parse_json(body: bytes) -> object:
    """JSON as Salesforce's parser takes it: UTF-8, no NaN; anything else is 400 JSON_PARSER_ERROR with line and column."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ApiError(
            400, "JSON_PARSER_ERROR", f"Invalid UTF-8 start byte 0x{body[error.start]:x} at [line:1, column:{error.start + 1}]"
        ) from None
    if not text.strip():
        raise ApiError(400, "JSON_PARSER_ERROR", "The HTTP entity body is required, but this request has no entity body.")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        found = f"'{text[error.pos]}' (code {ord(text[error.pos])})" if error.pos < len(text) else "end-of-input"
        message = f"Unexpected character {found}: {error.msg} at [line:{error.lineno}, column:{error.colno}]"
    except RecursionError:
        message = "The JSON document is nested too deeply at [line:1, column:1]"
    except ValueError as error:
        message = f"{error} at [line:1, column:1]"
    raise ApiError(400, "JSON_PARSER_ERROR", message)


def text_parameter(request: Request, name: str) -> str:
    """A required query parameter, or what Salesforce says where it is missing."""
    value = request.query.get(name)
    if value is None:
        raise ApiError(400, "MALFORMED_QUERY", f"A query string has to be specified in the '{name}' parameter.")
    return value


def spooled(path: Path) -> Iterator[bytes]:
    """A file's bytes in pieces, for a streamed answer."""
    with path.open("rb") as file:
        while piece := file.read(1 << 18):
            yield piece
