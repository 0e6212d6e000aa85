"""OAuth as an org speaks it: consumers, sessions, JWT bearer and client credentials, revoke, userinfo and identity.

What is refused, and in which words, follows recorded answers; password and refresh grants are always refused (an org of
this age has them blocked). Consumers (External Client Apps) are registered through the admin API or the simulator's start.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import string
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from local.salesforce.rest.http import ApiError, Request, Response, Route

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LOGIN_HOSTS = ("https://login.salesforce.com", "https://test.salesforce.com")
SCOPE = "api id web"
SESSION_SECONDS = 2 * 3600
TOKEN_ALPHABET = string.ascii_letters + string.digits + "._"  # what clients take for an access token
CHALLENGE = {"WWW-Authenticate": "Token"}


@dataclass(frozen=True, slots=True)
class User:
    """What auth needs to know of a User record."""

    id: str
    username: str
    name: str
    first_name: str | None
    last_name: str
    email: str
    active: bool
    alias: str = ""
    language: str = "en_US"
    locale: str = "en_US"
    zone: str = "America/New_York"
    modified: str = ""
    user_type: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class Consumer:
    """A registered client app. `users=None` lets every active user in by JWT; `run_as` is who client credentials act for."""

    client_id: str
    public_key: str | None = None  # PEM: certificate or public key
    client_secret: str | None = None
    users: tuple[str, ...] | None = None
    run_as: str | None = None
    session_seconds: int = SESSION_SECONDS

    def key(self) -> RSAPublicKey | None:
        return load_public_key(self.public_key) if self.public_key else None


@dataclass(frozen=True, slots=True)
class Session:
    """A logged-in user. `expires` is in epoch seconds, renewed by use; None never expires (the set-up token)."""

    token: str
    user_id: str
    username: str
    client_id: str
    expires: float | None
    seconds: int = SESSION_SECONDS


class GrantRefused(Exception):
    """The token endpoint's own error form: HTTP 400 `{"error", "error_description"}`."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


def expired_session() -> ApiError:
    return ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid", headers=CHALLENGE)


def load_public_key(pem: str) -> RSAPublicKey:
    """An RSA public key from PEM (certificate or key), or ValueError naming what is wrong."""
    data = pem.encode()
    key = load_pem_x509_certificate(data).public_key() if "BEGIN CERTIFICATE" in pem else load_pem_public_key(data)
    if not isinstance(key, RSAPublicKey):
        raise ValueError("the key is not RSA: register an RSA certificate or public key of at least 2048 bits")
    if key.key_size < 2048:
        raise ValueError(f"the RSA key has {key.key_size} bits: register one of at least 2048")
    return key


@dataclass
class Authority:
    """Consumers and sessions, kept in `auth.json` of the simulator's home."""

    path: Path
    org_id: str
    user_by_name: Callable[[str], User | None]
    user_by_id: Callable[[str], User | None]
    clock: Callable[[], float] = time.time
    consumers: dict[str, Consumer] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        if not self.path.exists():
            return
        kept = json.loads(self.path.read_text())
        for item in kept["consumers"]:
            users = item.pop("users")
            consumer = Consumer(**item, users=None if users is None else tuple(users))
            self.consumers[consumer.client_id] = consumer
        now = self.clock()
        for item in kept["sessions"]:
            session = Session(**item)
            if session.expires is None or session.expires > now:
                self.sessions[session.token] = session

    def save(self) -> None:
        with self._lock:
            now = self.clock()
            kept = {
                "consumers": [asdict(consumer) for consumer in self.consumers.values()],
                "sessions": [asdict(s) for s in self.sessions.values() if s.expires is None or s.expires > now],
            }
            draft = self.path.with_suffix(".new")
            draft.write_text(json.dumps(kept, indent=1))
            draft.replace(self.path)

    def register(self, consumer: Consumer) -> None:
        consumer.key()  # refuses a bad key now, not at the first login
        self.consumers[consumer.client_id] = consumer
        self.save()

    def open(self, user: User, client_id: str, *, seconds: int | None = SESSION_SECONDS, token: str | None = None) -> Session:
        """A new session. `seconds=None` never expires."""
        expires = None if seconds is None else self.clock() + seconds
        token = token or f"{self.org_id[:15]}!{''.join(secrets.choice(TOKEN_ALPHABET) for _ in range(96))}"
        session = Session(token, user.id, user.username, client_id, expires, seconds or SESSION_SECONDS)
        with self._lock:
            self.sessions[token] = session
        self.save()
        return session

    def session(self, token: str) -> Session | None:
        """The live session of a token; using it within its second half prolongs it."""
        session = self.sessions.get(token)
        if session is None:
            return None
        now = self.clock()
        if session.expires is None:
            return session
        if session.expires <= now:
            with self._lock:
                self.sessions.pop(token, None)
            return None
        if session.expires - now < session.seconds / 2:
            session = replace(session, expires=now + session.seconds)
            with self._lock:
                self.sessions[token] = session
        return session

    def revoke(self, token: str) -> bool:
        with self._lock:
            found = self.sessions.pop(token, None) is not None
        if found:
            self.save()
        return found

    def expire(self, username: str | None = None) -> int:
        """End every session (of a user) but the ones that never expire; how many ended."""
        with self._lock:
            ended = [s.token for s in self.sessions.values() if s.expires is not None and username in {None, s.username}]
            for token in ended:
                del self.sessions[token]
        self.save()
        return len(ended)

    def authenticate(self, request: Request) -> Session:
        """The caller's session from `Authorization: Bearer|OAuth <token>`, or 401 as Salesforce words it."""
        header = request.headers.get("authorization", "").strip()
        scheme, _, token = header.partition(" ")
        if header and scheme.lower() not in {"bearer", "oauth", "token"}:
            raise ApiError(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", headers=CHALLENGE)
        session = self.session(token.strip()) if token else None
        if session is None:
            raise expired_session()
        return session

    # -- grants ------------------------------------------------------------------------------------------------------

    def grant(self, request: Request) -> dict[str, object]:
        """The token endpoint's answer, or GrantRefused."""
        form = request.form()
        kind = form.get("grant_type", "")
        if kind == JWT_GRANT:
            return self._grant_jwt(form.get("assertion", ""), request.base)
        if kind == "client_credentials":
            return self._grant_client(request, form)
        if kind == "password":
            raise GrantRefused("invalid_grant", "authentication failure - Invalid Password")
        if kind in {"refresh_token", "authorization_code"}:
            raise GrantRefused("invalid_grant", "expired access/refresh token" if kind == "refresh_token" else "expired authorization code")
        raise GrantRefused("unsupported_grant_type", "grant type not supported")

    def _grant_jwt(self, assertion: str, base: str) -> dict[str, object]:
        claims = self._claims(assertion)
        consumer = self.consumers.get(str(claims.get("iss", "")))
        if consumer is None:
            raise GrantRefused("invalid_client_id", "client identifier invalid")
        if (key := consumer.key()) is None:
            raise GrantRefused("invalid_grant", "invalid assertion")
        options = {"verify_exp": False, "verify_aud": False, "verify_iat": False, "verify_nbf": False, "verify_sub": False}
        try:
            jwt.decode(assertion, key, algorithms=["RS256"], options=options)  # type: ignore[arg-type]
        except jwt.InvalidTokenError:
            raise GrantRefused("invalid_grant", "invalid assertion") from None
        audience = str(claims.get("aud", "")).rstrip("/")
        if audience not in {*LOGIN_HOSTS, base}:
            raise GrantRefused("invalid_grant", "audience is invalid")
        if _epoch(claims.get("exp")) <= self.clock():
            raise GrantRefused("invalid_grant", "invalid assertion")
        user = self.user_by_name(str(claims.get("sub") or claims.get("prn") or ""))
        if user is None or (consumer.users is not None and user.username not in consumer.users):
            raise GrantRefused("invalid_grant", "user hasn't approved this consumer")
        if not user.active:
            raise GrantRefused("invalid_grant", "inactive user")
        session = self.open(user, consumer.client_id, seconds=consumer.session_seconds)
        return {
            "access_token": session.token,
            "scope": SCOPE,
            "instance_url": base,
            "id": f"{base}/id/{self.org_id}/{user.id}",
            "token_type": "Bearer",
        }

    def _claims(self, assertion: str) -> dict[str, object]:
        try:
            header = jwt.get_unverified_header(assertion)
            claims = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            raise GrantRefused("invalid_grant", "invalid assertion") from None
        if header.get("alg") != "RS256":
            raise GrantRefused("invalid_grant", "invalid assertion")
        return claims

    def _grant_client(self, request: Request, form: dict[str, str]) -> dict[str, object]:
        client_id, secret = _basic(request.headers.get("authorization", "")) or (form.get("client_id", ""), form.get("client_secret", ""))
        consumer = self.consumers.get(client_id)
        if consumer is None:
            raise GrantRefused("invalid_client_id", "client identifier invalid")
        if consumer.client_secret is None or not hmac.compare_digest(consumer.client_secret.encode(), secret.encode()):
            raise GrantRefused("invalid_client", "invalid client credentials")
        user = self.user_by_name(consumer.run_as or "")
        if user is None or not user.active:
            raise GrantRefused("invalid_grant", "no client credentials user enabled")
        session = self.open(user, client_id, seconds=consumer.session_seconds)
        identity = f"{request.base}/id/{self.org_id}/{user.id}"
        issued = str(int(self.clock() * 1000))
        signature = hmac.new(secret.encode(), (identity + issued).encode(), hashlib.sha256).digest()
        return {
            "access_token": session.token,
            "signature": base64.b64encode(signature).decode(),
            "scope": SCOPE,
            "instance_url": request.base,
            "id": identity,
            "token_type": "Bearer",
            "issued_at": issued,
        }


def _epoch(value: object) -> float:
    """`exp` in seconds; clients send seconds or milliseconds, as a number or a string."""
    try:
        seconds = float(str(value))
    except ValueError:
        return 0.0
    return seconds / 1000 if seconds > 1e11 else seconds


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, colon, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (client_id, secret) if colon else None


NO_STORE = {"Cache-Control": "no-cache,must-revalidate,max-age=0,no-store,private"}


@dataclass(frozen=True)
class OAuthEndpoints:
    """The routes under `/services/oauth2` and `/id`."""

    authority: Authority

    def routes(self) -> list[Route]:
        def open_route(method: str, pattern: str, handler: Callable[[Request], Response]) -> Route:
            return Route(method, pattern, handler, auth=False, counts=False)

        return [
            open_route("POST", "/services/oauth2/token", self.token),
            open_route("POST", "/services/oauth2/revoke", self.revoke),
            open_route("GET", "/services/oauth2/revoke", self.revoke),
            open_route("GET", "/services/oauth2/userinfo", self.userinfo),
            open_route("POST", "/services/oauth2/userinfo", self.userinfo),
            open_route("GET", "/id/{org}/{user}", self.identity),
            open_route("POST", "/id/{org}/{user}", self.identity),
        ]

    def token(self, request: Request) -> Response:
        try:
            return Response(200, self.authority.grant(request), dict(NO_STORE))
        except GrantRefused as refused:
            return Response(400, {"error": refused.error, "error_description": refused.description}, dict(NO_STORE))

    def revoke(self, request: Request) -> Response:
        if self.authority.revoke(request.form().get("token", "")):
            return Response(200, "", {"Content-Type": "text/html;charset=UTF-8"})
        return Response(400, {"error": "invalid_token", "error_description": "the token was invalid"})

    def _caller(self, request: Request) -> User | None:
        token = request.headers.get("authorization", "").partition(" ")[2].strip() or request.form().get("access_token", "")
        session = self.authority.session(token)
        return None if session is None else self.authority.user_by_id(session.user_id)

    def userinfo(self, request: Request) -> Response:
        user = self._caller(request)
        if user is None:
            return Response(403, "Bad_OAuth_Token", {"Content-Type": "text/html;charset=UTF-8"})
        base, org = request.base, self.authority.org_id
        return Response(
            200,
            {
                "sub": f"{base}/id/{org}/{user.id}",
                "user_id": user.id,
                "organization_id": org,
                "preferred_username": user.username,
                "nickname": user.alias,
                "name": user.name,
                "email": user.email,
                "email_verified": True,
                "given_name": user.first_name,
                "family_name": user.last_name,
                "zoneinfo": user.zone,
                "photos": {"picture": f"{base}/profilephoto/005/F", "thumbnail": f"{base}/profilephoto/005/T"},
                "profile": f"{base}/{user.id}",
                "picture": f"{base}/profilephoto/005/F",
                "address": {},
                "urls": _urls(base, org),
                "active": user.active,
                "user_type": user.user_type,
                "language": user.language,
                "locale": user.locale,
                "utcOffset": -18000000,
                "updated_at": user.modified,
            },
        )

    def identity(self, request: Request) -> Response:
        caller = self._caller(request)
        user = self.authority.user_by_id(request.params["user"])
        if caller is None or user is None or request.params["org"][:15] != self.authority.org_id[:15]:
            return Response(403, "Bad_OAuth_Token" if caller is None else "Bad_Id", {"Content-Type": "text/html;charset=UTF-8"})
        base, org = request.base, self.authority.org_id
        return Response(
            200,
            {
                "id": f"{base}/id/{org}/{user.id}",
                "asserted_user": user.id == caller.id,
                "user_id": user.id,
                "organization_id": org,
                "username": user.username,
                "nick_name": user.alias,
                "display_name": user.name,
                "email": user.email,
                "email_verified": True,
                "first_name": user.first_name,
                "last_name": user.last_name,
                "timezone": user.zone,
                "photos": {"picture": f"{base}/profilephoto/005/F", "thumbnail": f"{base}/profilephoto/005/T"},
                "addr_street": None,
                "addr_city": None,
                "addr_state": None,
                "addr_country": None,
                "addr_zip": None,
                "mobile_phone": None,
                "mobile_phone_verified": False,
                "is_lightning_login_user": False,
                "status": {"created_date": None, "body": None},
                "urls": _urls(base, org),
                "active": user.active,
                "user_type": user.user_type,
                "language": user.language,
                "locale": user.locale,
                "utcOffset": -18000000,
                "last_modified_date": user.modified,
                "is_app_installed": True,
            },
        )


def _urls(base: str, org: str) -> dict[str, str]:
    data = f"{base}/services/data/v{{version}}"
    return {
        "enterprise": f"{base}/services/Soap/c/{{version}}/{org[:15]}",
        "metadata": f"{base}/services/Soap/m/{{version}}/{org[:15]}",
        "partner": f"{base}/services/Soap/u/{{version}}/{org[:15]}",
        "rest": f"{data}/",
        "sobjects": f"{data}/sobjects/",
        "search": f"{data}/search/",
        "query": f"{data}/query/",
        "recent": f"{data}/recent/",
        "tooling_soap": f"{base}/services/Soap/T/{{version}}/{org[:15]}",
        "tooling_rest": f"{data}/tooling/",
        "profile": f"{base}/{{user_id}}",
        "custom_domain": base,
    }
