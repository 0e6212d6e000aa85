"""OAuth 2.0 client credentials: `POST /oauth/token` gives a signed bearer token that lives an hour.

Clients come from a JSON file ([{"id", "secret", "scopes": [...]}]) or the environment variable OMS_CLIENTS. Scopes:

    oms/read     rows, feeds           oms/write    create and patch rows
    oms/actions  domain actions        oms/admin    delivery settings, faults
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, unquote_plus

import jwt
from fastapi import APIRouter, Header, Request, Security
from fastapi.responses import JSONResponse, Response
from fastapi.security import OAuth2, SecurityScopes

from omsync.platform.errors import Permanent

from .problems import MEDIA_TYPE, Problem
from .store import Caller

SCOPES = {
    "oms/read": "Read rows and feeds.",
    "oms/write": "Create and patch rows.",
    "oms/actions": "Perform domain actions.",
    "oms/admin": "Change delivery and simulate faults.",
}
TOKEN_SECONDS = 3600
NAME = re.compile(r"[\w:.@/-]{1,100}", re.ASCII)


@dataclass(frozen=True)
class Client:
    id: str
    secret: str
    scopes: frozenset[str]


class Clients:
    """The callers the OMS knows, and the key its tokens are signed with (a restart ends all tokens)."""

    def __init__(self, clients: list[Client]) -> None:
        self.by_id = {client.id: client for client in clients}
        self.signing_key = secrets.token_bytes(32)

    @classmethod
    def parse(cls, text: str, source: str) -> Clients:
        try:
            entries = json.loads(text)
            clients = [Client(str(entry["id"]), str(entry["secret"]), frozenset(entry["scopes"])) for entry in entries]
        except (ValueError, TypeError, KeyError) as fault:
            raise Permanent(f'{source}: expected [{{"id", "secret", "scopes": [...]}}]', code="oms.clients") from fault
        unknown = {scope for client in clients for scope in client.scopes} - set(SCOPES)
        if unknown:
            raise Permanent(f"{source}: unknown scope {min(unknown)}; known are {', '.join(SCOPES)}", code="oms.clients")
        return cls(clients)

    @classmethod
    def load(cls, path: Path) -> Clients:
        """From OMS_CLIENTS, else from `path`; a missing file is written with two clients of random secrets."""
        if text := os.environ.get("OMS_CLIENTS"):
            return cls.parse(text, "OMS_CLIENTS")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = [
                {"id": "omsync", "secret": secrets.token_urlsafe(24), "scopes": ["oms/read", "oms/write"]},
                {"id": "operator", "secret": secrets.token_urlsafe(24), "scopes": sorted(SCOPES)},
            ]
            path.touch(mode=0o600)
            path.write_text(json.dumps(made, indent=2) + "\n")
        return cls.parse(path.read_text(), str(path))

    def issue(self, client: Client, scopes: frozenset[str]) -> str:
        now = int(time.time())
        claims = {"iss": "oms", "sub": client.id, "scope": " ".join(sorted(scopes)), "iat": now, "exp": now + TOKEN_SECONDS}
        return jwt.encode({**claims, "jti": uuid.uuid4().hex}, self.signing_key, algorithm="HS256")

    def verify(self, token: str) -> tuple[str, frozenset[str]]:
        """-> client id, scopes. Raises `Problem` 401."""
        try:
            claims = jwt.decode(token, self.signing_key, algorithms=["HS256"], issuer="oms", options={"require": ["exp", "sub"]})
        except jwt.InvalidTokenError as fault:
            raise _unauthorized("The access token is not valid: ask for another.", "invalid_token") from fault
        return str(claims["sub"]), frozenset(str(claims.get("scope", "")).split())


def _unauthorized(detail: str, error: str | None = None) -> Problem:
    challenge = 'Bearer realm="oms"' + (f', error="{error}"' if error else "")
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})


scheme = OAuth2(flows={"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": SCOPES}}, auto_error=False)


def current_caller(
    request: Request,
    needed: SecurityScopes,
    authorization: Annotated[str | None, Security(scheme)] = None,
    x_changed_by: Annotated[str | None, Header(description="Written to `changed_by`; the client's id if left out.")] = None,
    x_correlation_id: Annotated[str | None, Header(description="Carried by the events that follow.")] = None,
) -> Caller:
    """The authenticated caller, who has the scopes the route asks for."""
    kind, _, token = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise _unauthorized("A bearer token is needed: POST /oauth/token.")
    clients: Clients = request.app.state.clients
    client_id, scopes = clients.verify(token.strip())
    missing = [scope for scope in needed.scopes if scope not in scopes]
    if missing:
        challenge = f'Bearer realm="oms", error="insufficient_scope", scope="{missing[0]}"'
        raise Problem(403, f"The scope {missing[0]} is needed.", headers={"WWW-Authenticate": challenge})
    for header, value in (("X-Changed-By", x_changed_by), ("X-Correlation-Id", x_correlation_id)):
        if value is not None and not NAME.fullmatch(value):
            raise Problem(400, f"{header} must be 1 to 100 letters, digits or any of _ : . @ / -")
    caller = Caller(client_id, scopes, x_changed_by or client_id)
    return Caller(client_id, scopes, x_changed_by or client_id, x_correlation_id) if x_correlation_id else caller


def allowed(scope: str) -> Callable[..., Caller]:
    """The dependency of a route that needs `scope`."""
    return Security(current_caller, scopes=[scope])  # type: ignore[no-any-return]


router = APIRouter(tags=["auth"])
TOKEN_REFUSAL: dict[str, object] = {
    "description": "Refused (RFC 6749, section 5.2)",
    "content": {MEDIA_TYPE: {"schema": {"type": "object", "required": ["error", "error_description"]}}},
}


@router.post(
    "/oauth/token",
    summary="Get an access token (client credentials)",
    responses={400: TOKEN_REFUSAL, 401: TOKEN_REFUSAL},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "required": ["grant_type"],
                        "properties": {
                            "grant_type": {"type": "string", "enum": ["client_credentials"]},
                            "client_id": {"type": "string"},
                            "client_secret": {"type": "string"},
                            "scope": {"type": "string", "description": "Space-separated; all the client's scopes if left out."},
                        },
                    }
                }
            },
        }
    },
)
async def token(request: Request) -> Response:
    """Credentials come by HTTP Basic or in the form (RFC 6749, sections 2.3.1 and 4.4)."""
    form = _form(await request.body())
    clients: Clients = request.app.state.clients
    client = _authenticate(clients, request.headers.get("authorization"), form)
    if client is None:
        return _refuse(401, "invalid_client", "Unknown client, or its secret is wrong.", {"WWW-Authenticate": 'Basic realm="oms"'})
    if form.get("grant_type") != "client_credentials":
        return _refuse(400, "unsupported_grant_type", "grant_type must be client_credentials.")
    scopes = frozenset(form.get("scope", "").split()) or client.scopes
    if not scopes <= client.scopes:
        return _refuse(400, "invalid_scope", "The client has not all of these scopes.")
    content = {
        "access_token": clients.issue(client, scopes),
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
        "scope": " ".join(sorted(scopes)),
    }
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


def _form(body: bytes) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(body.decode(), max_num_fields=20).items()}
    except ValueError:  # not UTF-8, or too many fields
        return {}


def _authenticate(clients: Clients, authorization: str | None, form: Mapping[str, str]) -> Client | None:
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    kind, _, value = (authorization or "").partition(" ")
    if kind.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        client_id, secret = unquote_plus(user), unquote_plus(password)
    client = clients.by_id.get(client_id)
    matches = hmac.compare_digest((client.secret if client else secrets.token_urlsafe(24)).encode(), secret.encode(errors="replace"))
    return client if matches else None


def _refuse(status: int, error: str, description: str, headers: Mapping[str, str] | None = None) -> Response:
    """RFC 6749's error members inside a problem: both kinds of reader find theirs."""
    problem = json.loads(Problem(status, description).body())
    return JSONResponse({**problem, "error": error, "error_description": description}, status, headers, media_type=MEDIA_TYPE)
