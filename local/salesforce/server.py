"""The ASGI application: reads requests, guards them (session, limit, faults), runs handlers in threads, writes answers.

Plain ASGI on uvicorn: one process, handlers in a pool of threads, SQLite's one writer behind them.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import logging
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from local.salesforce.auth import expired_session
from local.salesforce.faults import Kind
from local.salesforce.rest.http import JSON, ApiError, Headers, Request, Response, Route, Router
from local.salesforce.rest.resources import check_version
from local.salesforce.rest.state import OrgState

type Scope = MutableMapping[str, object]
type Receive = Callable[[], Awaitable[MutableMapping[str, object]]]
type Send = Callable[[MutableMapping[str, object]], Awaitable[None]]

log = logging.getLogger("salesforce")

LARGEST_BODY = 50 << 20  # a REST body; uploads (spool=True) are bounded by their handler
LARGEST_UPLOAD = 150 << 20
IN_MEMORY = 1 << 20
GZIP_FROM = 1024
DROP = "omsync.drop"  # scope extension: closes the client's connection without an answer
THREADS = 24

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1; mode=block",
    "X-Robots-Tag": "none",
}
_SERVICE = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "Cache-Control": "no-cache,must-revalidate,max-age=0,no-store,private",
}


class Dropped(Exception):
    """Close the connection instead of answering (a fault on demand)."""


class TooLarge(Exception):
    """The body is larger than any resource takes."""


@dataclass
class Server:
    """The application uvicorn runs."""

    state: OrgState
    router: Router
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="call"))
    errors: int = 0  # unknown exceptions so far; the fuzz test wants none
    _error_ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        request, refused = await self._read(scope, receive)
        loop = asyncio.get_running_loop()
        try:
            response = await loop.run_in_executor(self.pool, self.handle, request, refused)
            await self._write(response, send)
        except Dropped:
            drop = scope.get("extensions", {}).get(DROP)  # type: ignore[attr-defined]
            if drop is None:
                raise
            drop()
        finally:
            if request.upload is not None:
                request.upload.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, scope: Scope, receive: Receive) -> tuple[Request, Response | None]:
        """The whole request; and an answer right away where it is too large or its compression is broken."""
        request = request_of(scope)
        route = self._spooled_route(request)
        inflate = zlib.decompressobj(31) if request.headers.get("content-encoding", "").lower() == "gzip" else None
        spool = tempfile.SpooledTemporaryFile(IN_MEMORY) if route else None  # noqa: SIM115 - the caller closes it
        pieces: list[bytes] = []
        size, refused = 0, None
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            piece = message.get("body", b"")
            if refused is None and isinstance(piece, bytes) and piece:
                try:
                    piece = inflate.decompress(piece) if inflate else piece
                except zlib.error:
                    refused = ApiError(400, "INVALID_CONTENT_ENCODING", "The request entity is not valid gzip.").response()
                size += len(piece)
                if size > (LARGEST_UPLOAD if spool else LARGEST_BODY):
                    refused = ApiError(413, "REQUEST_ENTITY_TOO_LARGE", "The request entity is too large.").response()
                elif spool:
                    spool.write(piece)
                else:
                    pieces.append(piece)
            if not message.get("more_body"):
                break
        if spool:
            spool.seek(0)
            request.upload = spool  # type: ignore[assignment]
        request.body = b"".join(pieces)
        return request, refused

    def _spooled_route(self, request: Request) -> bool:
        try:
            return self.router.find(request.method, request.path)[0].spool
        except ApiError:
            return False

    # -- answering ---------------------------------------------------------------------------------------------------

    def handle(self, request: Request, refused: Response | None = None) -> Response:
        """Guard, route and run one request; every failure becomes an answer, encoded and ready to send."""
        try:
            response = refused or self._guarded(request)
        except ApiError as error:
            response = error.response()
        except Dropped:
            raise
        except Exception:  # the border: anything unforeseen is Salesforce's UNKNOWN_EXCEPTION, and logged
            self.errors += 1
            number = next(self._error_ids)
            log.exception("error %d in %s %s", number, request.method, request.path)
            message = f"An unexpected error occurred. Please include this ErrorId if you contact support: {number}-00000"
            response = ApiError(500, "UNKNOWN_EXCEPTION", message).response()
        self._head(request, response)
        body = response.encoded()
        if isinstance(body, bytes):
            if len(body) >= GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
                body = gzip.compress(body, 1, mtime=0)
                response.headers["Content-Encoding"] = "gzip"
            if response.status not in {204, 304}:
                response.headers["Content-Length"] = str(len(body))
        response.body = body
        return response

    def _guarded(self, request: Request) -> Response:
        route, missing = self._find(request)
        service = request.path.lower().startswith("/services/data/")
        if route.auth if route else service:
            request.session = self.state.authority.authenticate(request)
        counts = route.counts if route else service
        if counts and request.session is not None:
            self._count(request)
        strikes = counts and bool(self.state.faults)
        if strikes:
            self._before(request)
        if missing is not None:
            raise missing
        assert route is not None
        response = route.handler(request)
        if strikes and self.state.faults.strike(Kind.DROP, _subject(request)):
            raise Dropped
        return response

    def _before(self, request: Request) -> None:
        """Faults that strike before a call is carried out."""
        faults, subject = self.state.faults, _subject(request)
        if pause := faults.pause(subject):
            time.sleep(pause)
        if faults.strike(Kind.REFUSE, subject):
            raise Dropped
        if faults.strike(Kind.SESSION, subject) and request.session is not None:
            if request.session.expires is not None:  # the set-up's own session is only refused
                self.state.authority.revoke(request.session.token)
            request.session = None
            raise expired_session()
        if faults.strike(Kind.LIMIT, subject):
            raise limit_exceeded()
        if faults.strike(Kind.UNAVAILABLE, subject):
            raise ApiError(503, "SERVER_UNAVAILABLE", "The server is temporarily unable to respond to the request.")
        if faults.strike(Kind.ERROR, subject):
            raise ApiError(
                500, "UNKNOWN_EXCEPTION", "An unexpected error occurred. Please include this ErrorId if you contact support: 0-00000"
            )

    def _find(self, request: Request) -> tuple[Route | None, ApiError | None]:
        """The route, or why there is none; raised only after the session has been looked at."""
        try:
            route, request.params = self.router.find(request.method, request.path)
            if "version" in request.params and request.path.lower().startswith("/services/data/"):
                check_version(request.params["version"])
        except ApiError as error:
            return None, error
        return route, None

    def _count(self, request: Request) -> None:
        if not self.state.limits.take():
            raise limit_exceeded()

    def _head(self, request: Request, response: Response) -> None:
        """The headers every answer carries."""
        headers = response.headers
        service = request.path.startswith(("/services/", "/id/"))
        for name, value in (_ALWAYS | _SERVICE if service else _ALWAYS).items():
            headers.setdefault(name, value)
        if request.session is not None and service:
            headers["Sforce-Limit-Info"] = self.state.limits.header()
        if response.body is None:
            if response.status == 204:
                headers["Content-Security-Policy"] = "upgrade-insecure-requests"
            return
        headers.setdefault("Content-Type", JSON)
        if response.status < 300:
            headers.setdefault("Vary", "Accept-Encoding")

    async def _write(self, response: Response, send: Send) -> None:
        raw = [(name.lower().encode("latin-1"), _header_value(value)) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": raw})
        if isinstance(response.body, Iterator):
            loop = asyncio.get_running_loop()
            while (piece := await loop.run_in_executor(self.pool, next, response.body, None)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        await send({"type": "http.response.body", "body": response.body})


def limit_exceeded() -> ApiError:
    return ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


def _subject(request: Request) -> str:
    """What a fault's pattern is searched in."""
    return f"{request.method} {request.path}"


def _header_value(value: str) -> bytes:
    return value.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace")


def request_of(scope: Scope) -> Request:
    """The ASGI scope as a Request, without its body. `?_HttpMethod=PATCH` on a POST counts as the method."""
    raw_headers: list[tuple[bytes, bytes]] = scope["headers"]  # type: ignore[assignment]
    headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw_headers)
    raw_path: bytes = scope.get("raw_path") or str(scope["path"]).encode()  # type: ignore[assignment]
    query_string: bytes = scope.get("query_string", b"")  # type: ignore[assignment]
    query = dict(parse_qsl(query_string.decode("utf-8", "replace"), keep_blank_values=True))
    method = str(scope["method"]).upper()
    if method == "POST" and "_HttpMethod" in query:
        method = query["_HttpMethod"].upper()
    return Request(
        method=method,
        # A doubled slash is 404 but right after the host, where `sf` puts one when the instance URL ends in a slash.
        path="/" + raw_path.partition(b"?")[0].decode("latin-1").lstrip("/"),
        query=query,
        headers=headers,
        base=f"{scope['scheme']}://{headers.get('host', 'localhost')}",
    )
