"""Composition root: one org, from its home directory and its metadata, as an ASGI application.

home/org.sqlite      the records
home/auth.json       sessions and registered consumers
home/limits.json     what is used up of the day's allocations
home/credential.json where the org calls out (Named Credential)
home/session.json    the administrator's lasting session
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from local.salesforce.admin import Admin
from local.salesforce.auth import OAuthEndpoints
from local.salesforce.bulk import routes as bulk_routes
from local.salesforce.context import utc_now
from local.salesforce.faults import Faults
from local.salesforce.limits import Limits
from local.salesforce.pages.routes import routes as page_routes
from local.salesforce.publisher import NamedCredential, Publisher
from local.salesforce.rest.collections import Collections
from local.salesforce.rest.composite import Composite
from local.salesforce.rest.http import Route, Router
from local.salesforce.rest.resources import Resources
from local.salesforce.rest.search import Search
from local.salesforce.rest.sobjects import SObjects
from local.salesforce.rest.state import OrgState
from local.salesforce.rest.tree import Tree
from local.salesforce.schema import Org
from local.salesforce.schema_source import load_org
from local.salesforce.server import Server
from local.salesforce.setup import CREDENTIAL_FILE, authority_for, ensure_org
from local.salesforce.soap import Soap
from local.salesforce.soql import routes as soql_routes
from local.salesforce.store import Store


def build(home: Path, metadata: Sequence[Path], *, org: Org | None = None, clock: Callable[[], datetime] = utc_now) -> Server:
    """The org of `home`, created on first use; nothing is started but the store. `org` is the schema, where it is loaded already."""
    home.mkdir(parents=True, exist_ok=True)
    org = org or load_org(*metadata)
    store = Store(home / "org.sqlite", org, clock=clock)
    org_id = ensure_org(store)
    limits = Limits(home / "limits.json")
    limits.load()
    state = OrgState(home, org, store, authority_for(store, home, org_id), limits, Faults())
    state.publisher = Publisher(store, NamedCredential.load(home / CREDENTIAL_FILE), tamper=state.faults.event_delays)
    router = Router(routes_of(state, metadata))
    state.router = router
    return Server(state, router)


def routes_of(state: OrgState, metadata: Sequence[Path]) -> list[Route]:
    """Every route of the org."""

    def table() -> Router:
        assert state.router is not None, "build() sets the router before the first request"
        return state.router

    return [
        *OAuthEndpoints(state.authority).routes(),
        *Resources(state).routes(),
        *SObjects(state, utc_now()).routes(),
        *Collections(state).routes(),
        *Tree(state).routes(),
        *Composite(state, table).routes(),
        *Search(state).routes(),
        *soql_routes(state),
        *bulk_routes(state),
        *Soap(state).routes(),
        *Admin(state).routes(),
        *page_routes(state, metadata),
    ]


def close(server: Server) -> None:
    """Stop what runs and put down what is only in memory."""
    state = server.state
    if state.publisher is not None:
        state.publisher.stop()
    server.pool.shutdown(wait=True, cancel_futures=True)
    for stop in state.on_close:
        stop()
    state.limits.save()
    state.authority.save()
    state.store.close()


def announce(state: OrgState, base: str) -> str:
    """The ready line: one JSON object, for whoever started the process."""
    return json.dumps({"ready": True, "instance_url": base, "org_id": state.org_id, "session": str(state.home / "session.json")})
