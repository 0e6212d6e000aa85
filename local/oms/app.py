"""The FastAPI application: everything wired together, nothing decided here."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

from . import admin, auth, feeds, openapi, problems
from .actions import ACTIONS, Action, Work
from .auth import Clients, allowed
from .calls import CallCounter, CallCounts
from .commands import COMMAND_TABLES
from .database import install
from .delivery import DeliveryFile
from .dispatcher import Dispatcher
from .faults import FaultInjection, FaultState
from .rows import RequestKey, table_router
from .store import Caller, Connection, Store
from .writes import Answer, Key, write

Actor = Annotated[Caller, allowed("oms/actions")]

DESCRIPTION = f"""
The company's order management system: {len(ACTIONS)} domain actions over 23 tables, and the feeds by which others follow it.

Rows: times are UTC with microseconds, `numeric` is a decimal string, money is integer cents. A change needs
`If-Match: "<version>"`; `Idempotency-Key` makes a repeated request answer as the first one did. A `requested_action`
of {" or ".join(COMMAND_TABLES)} is a command: sent alone, with an `Idempotency-Key`, executed once.
"""


@dataclass(frozen=True)
class Settings:
    """What a running OMS needs to know. `dispatch`: deliver the outbox from a thread of this process."""

    database_url: str
    clients: Clients
    delivery: DeliveryFile
    dispatch: bool = True
    connections: int = 16


def create_app(settings: Settings) -> FastAPI:
    """Install the schema if need be, read the catalog, and build the service."""
    install(settings.database_url)
    store = Store(settings.database_url, connections=settings.connections)
    tables = store.read_tables()
    faults = FaultState()
    calls = CallCounts()
    dispatcher = Dispatcher(settings.database_url, settings.delivery) if settings.dispatch else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        store.open()
        thread = threading.Thread(target=dispatcher.run, name="dispatcher", daemon=True) if dispatcher else None
        if thread:
            thread.start()
        yield
        if dispatcher and thread:
            dispatcher.stop()
            thread.join(timeout=10)
        store.close()

    app = FastAPI(title="OMS", version="1.0.0", description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.clients = settings.clients
    app.state.store = store
    app.add_middleware(FaultInjection, state=faults)
    app.add_middleware(CallCounter, counts=calls)
    problems.install(app)
    openapi.install(app, tables)
    app.include_router(auth.router)
    app.include_router(feeds.router(store))
    app.include_router(_actions(store))
    for table in tables.values():
        app.include_router(table_router(table, store))
    app.include_router(admin.router(store, settings.delivery, faults, calls, dispatcher))
    app.include_router(_pages(store))
    return app


def _actions(store: Store) -> APIRouter:
    routes = APIRouter(prefix="/v1/actions", tags=["actions"])
    for one in ACTIONS.values():
        extra = {
            "requestBody": {"content": {"application/json": {"example": dict(one.example)}}},
            "responses": openapi.answers("400", "401", "403", "404", "422", "503", ok_200={"type": "object"}),
        }
        routes.add_api_route(
            f"/{one.name}", _endpoint(store, one), methods=["POST"], name=one.name, summary=one.summary, openapi_extra=extra
        )
    return routes


def _endpoint(store: Store, one: Action) -> Callable[..., Response]:
    def perform(body: one.request, caller: Actor, key: RequestKey) -> Response:  # type: ignore[name-defined]
        def run(connection: Connection) -> Answer:
            work = Work(connection)
            one.run(work, body)
            return Answer(200, work.answer(one.name))

        request_key = Key.of(caller, key, f"ACTION {one.name}", body.model_dump(mode="json"))
        return write(store, caller, request_key, run).response()

    perform.__annotations__ |= {"body": one.request, "caller": Actor, "key": RequestKey}
    return perform


def _pages(store: Store) -> APIRouter:
    """Health, and the OpenAPI page with its assets from an installed package: it works without a network."""
    routes = APIRouter(include_in_schema=False)
    assets = files("aws_lambda_powertools.event_handler.openapi") / "swagger_ui"

    @routes.get("/healthz")
    def health() -> dict[str, str]:
        store.read(lambda c: c.execute("SELECT 1"))
        return {"status": "ok"}

    @routes.get("/docs")
    def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="OMS",
            swagger_js_url="/docs/swagger-ui.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="data:,",
        )

    @routes.get("/docs/swagger-ui.js")
    def script() -> Response:
        return Response((assets / "swagger-ui-bundle.min.js").read_bytes(), media_type="text/javascript")

    @routes.get("/docs/swagger-ui.css")
    def style() -> Response:
        return Response((assets / "swagger-ui.min.css").read_bytes(), media_type="text/css")

    return routes
