"""The admin API (`/_admin/...`): what in a real org is done in Setup, and what no real org offers. Never counted, no session.

It is meant for whoever runs the stack: answers only requests that carry no foreign `Origin`. Errors are `{"error": "..."}`.

    GET    /_admin/health
    GET    /_admin/faults            POST (add: see faults.py)     DELETE [?id=]
    GET    /_admin/keys              POST {client_id, public_key?, client_secret?, users?, run_as?, session_seconds?}
    GET    /_admin/named-credential  PUT (see publisher.NamedCredential)
    GET    /_admin/calls             DELETE (start counting anew)
    GET    /_admin/limits            POST {name?, maximum?, used?}
    GET    /_admin/events            what became of platform events
    POST   /_admin/login-as          {user: admin|integration|load|coordinator|clinician or a username}
    POST   /_admin/sessions/expire   {username?}
    POST   /_admin/permission-sets   {username, name}: assign one more
    POST   /_admin/automation        {kind: trigger|validation_rule|flow|duplicate_rule, object, name, active?}: as Setup lists it
    POST   /_admin/reset             delete every record but the set-up's; counters, faults and limits too. {objects: [...]}: only theirs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from local.salesforce.auth import Consumer
from local.salesforce.publisher import NamedCredential, Publisher
from local.salesforce.rest.http import ApiError, Request, Response, Route
from local.salesforce.rest.state import OrgState
from local.salesforce.setup import CREDENTIAL_FILE, PEOPLE, Setup, ensure_org

#: what `reset` keeps
SETUP_OBJECTS = frozenset(
    {
        "Organization",
        "User",
        "UserRole",
        "Profile",
        "PermissionSet",
        "PermissionSetAssignment",
        "RecordType",
        "Group",
        "GroupMember",
        "QueueSobject",
    }
)


@dataclass
class Admin:
    """Handlers of the admin API."""

    state: OrgState

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Callable[[Request], object]]] = [
            ("GET", "health", self.health),
            ("GET", "faults", lambda _: self.state.faults.list()),
            ("POST", "faults", self.add_fault),
            ("DELETE", "faults", self.remove_faults),
            ("GET", "keys", self.keys),
            ("POST", "keys", self.register),
            ("GET", "named-credential", self.credential),
            ("PUT", "named-credential", self.configure),
            ("GET", "calls", self.calls),
            ("DELETE", "calls", self.reset_calls),
            ("GET", "limits", lambda _: self.state.limits.report()),
            ("POST", "limits", self.set_limit),
            ("GET", "events", self.events),
            ("POST", "login-as", self.login_as),
            ("POST", "sessions/expire", self.expire),
            ("POST", "permission-sets", self.assign),
            ("POST", "automation", self.automate),
            ("POST", "reset", self.reset),
        ]
        return [Route(method, f"/_admin/{name}", self._answer(handler), auth=False, counts=False) for method, name, handler in table]

    def _answer(self, handler: Callable[[Request], object]) -> Callable[[Request], Response]:
        """JSON out; what can't be done is one clear line."""

        def answering(request: Request) -> Response:
            if request.headers.get("origin") not in {None, request.base}:
                return Response(403, {"error": "this request was sent by another site"})
            try:
                return Response(200, handler(request))
            except ValueError as error:
                return Response(400, {"error": str(error)})
            except ApiError as error:
                return Response(error.status, {"error": error.message})

        return answering

    def _publisher(self) -> Publisher:
        assert self.state.publisher is not None
        return self.state.publisher

    def health(self, request: Request) -> object:
        return {"status": "ok", "org_id": self.state.org_id, "objects": len(self.state.org.objects)}

    # -- faults, limits, counts --------------------------------------------------------------------------------------

    def add_fault(self, request: Request) -> object:
        fault = self.state.faults.add(request.object())
        return {"id": fault.id}

    def remove_faults(self, request: Request) -> object:
        given = request.query.get("id")
        if given is not None and not given.isdigit():
            raise ValueError(f"id is '{given}': give a fault's number, or none to end all")
        return {"ended": self.state.faults.remove(None if given is None else int(given))}

    def set_limit(self, request: Request) -> object:
        body = request.object()
        name = _text(body, "name") or "DailyApiRequests"
        if name not in self.state.limits.maxima:
            raise ValueError(f"no such allocation: {name}; there are {', '.join(sorted(self.state.limits.maxima))}")
        self.state.limits.set(name, maximum=_count(body, "maximum"), used=_count(body, "used"))
        return self.state.limits.report()[name]

    def calls(self, request: Request) -> object:
        calls = self.state.calls
        return {
            "api": self.state.limits.used(),
            "calls": dict(calls.counts),
            "records": dict(calls.records),
        }

    def reset_calls(self, request: Request) -> object:
        self.state.calls.reset()
        return {}

    def events(self, request: Request) -> object:
        publisher = self._publisher()
        return asdict(publisher.deliveries) | {"waiting": publisher.backlog(), "problem": publisher.credential.problem()}

    # -- who ---------------------------------------------------------------------------------------------------------

    def keys(self, request: Request) -> object:
        return [
            {
                "client_id": c.client_id,
                "has_key": c.public_key is not None,
                "has_secret": c.client_secret is not None,
                "users": c.users,
                "run_as": c.run_as,
            }
            for c in self.state.authority.consumers.values()
        ]

    def register(self, request: Request) -> object:
        """Register a client app, or change it."""
        body = request.object()
        client_id = _text(body, "client_id")
        if not client_id:
            raise ValueError("client_id is missing: give the app's consumer key")
        users = body.get("users")
        if users is not None and not (isinstance(users, list) and all(isinstance(user, str) for user in users)):
            raise ValueError("users must be a list of usernames, or null for everybody")
        consumer = Consumer(
            client_id,
            _text(body, "public_key"),
            _text(body, "client_secret"),
            None if users is None else tuple(users),
            _text(body, "run_as"),
            _count(body, "session_seconds") or 7200,
        )
        if not consumer.public_key and not consumer.client_secret:
            raise ValueError("give public_key (PEM, for JWT bearer), client_secret (for client credentials), or both")
        self.state.authority.register(consumer)
        return {"client_id": client_id}

    def login_as(self, request: Request) -> object:
        """A session for a user, without a password: as an administrator's "Login" does."""
        name = _text(request.object(), "user") or ""
        username = next((person.username for person in PEOPLE if person.key == name), name)
        user = self.state.authority.user_by_name(username)
        if user is None:
            raise ValueError(f"no user '{name}': use {', '.join(person.key for person in PEOPLE)} or a username")
        session = self.state.authority.open(user, "login-as")
        return {"access_token": session.token, "instance_url": request.base, "user_id": user.id, "username": user.username}

    def expire(self, request: Request) -> object:
        return {"ended": self.state.authority.expire(_text(request.object(), "username"))}

    def assign(self, request: Request) -> object:
        body = request.object()
        user = self.state.authority.user_by_name(_text(body, "username") or "")
        name = _text(body, "name") or ""
        if user is None or name not in self.state.org.permission_sets:
            raise ValueError(f"needs a known username and one of these names: {', '.join(self.state.org.permission_sets)}")
        with self.state.store.write() as tx:
            Setup(self.state.store, tx).assign(user.id, name)
        return {"username": user.username, "permission_sets": self.state.granted(user.id)}

    # -- the org -----------------------------------------------------------------------------------------------------

    def credential(self, request: Request) -> object:
        shown = asdict(self._publisher().credential)
        shown["client_secret"] = "***" if shown["client_secret"] else ""
        return shown

    def configure(self, request: Request) -> object:
        credential = NamedCredential.of(request.object())
        problem = credential.problem()
        if problem:
            raise ValueError(problem)
        credential.save(self.state.home / CREDENTIAL_FILE)
        self._publisher().configure(credential)
        return {"configured": True}

    def automate(self, request: Request) -> object:
        """An automation that somebody sets up or switches off; until `reset`."""
        body = request.object()
        kind, name, object_name = (_text(body, key) or "" for key in ("kind", "name", "object"))
        obj = self.state.org.object(object_name)
        if obj is None or not name:
            raise ValueError(f"object is '{object_name}', name is '{name}': give an object of the org, and a name")
        with self.state.store.write() as tx:
            return {"id": Setup(self.state.store, tx).automate(kind, obj.name, name, active=body.get("active") is not False)}

    def reset(self, request: Request) -> object:
        """An org as on its first day; users, sessions, consumers and the Named Credential stay. Or without the records of some objects."""
        named = request.object().get("objects") if request.body else None
        if named is not None:
            return self._empty(named)
        with self.state.store.write() as tx:
            for obj in self.state.org:
                if not obj.event and obj.name not in SETUP_OBJECTS:
                    tx.connection.execute(f'DELETE FROM "{obj.name}"')
            for own in ("_deleted", "_platform_events"):
                tx.connection.execute(f"DELETE FROM {own}")
        ensure_org(self.state.store)
        self.state.calls.reset()
        self.state.faults.remove()
        for name in self.state.limits.maxima:
            self.state.limits.set(name, used=0)
        return {"reset": True}

    def _empty(self, named: object) -> object:
        """Nothing else notices: children keep what they refer to."""
        found = [self.state.org.object(str(name)) for name in named] if isinstance(named, list) else []
        wanted = [obj.name for obj in found if obj is not None and not obj.event and obj.name not in SETUP_OBJECTS]
        if not wanted or len(wanted) < len(found):
            raise ValueError("objects must be a list of the org's objects that hold records")
        with self.state.store.write() as tx:
            for name in wanted:
                tx.connection.execute(f'DELETE FROM "{name}"')
        return {"reset": wanted}


def _text(body: Mapping[str, object], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text")
    return value


def _count(body: Mapping[str, object], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a whole number, 0 or more")
    return value
