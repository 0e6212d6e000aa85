"""OAuth and sessions."""

from __future__ import annotations

import base64
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from local.salesforce.auth import JWT_GRANT
from local.salesforce.testing import BASE, Answer
from local.salesforce.testing import TestOrg as Org

ADMIN = "admin@omsync.example"
CLIENT = "CK"
INVALID = [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def register(org: Org, key: rsa.RSAPrivateKey, **more: object) -> None:
    answer = org.admin("POST", "keys", {"client_id": CLIENT, "public_key": pem(key), "client_secret": "hush", "run_as": ADMIN, **more})
    assert answer.status == 200, answer.text


def token(org: Org, form: dict[str, str], **headers: str) -> Answer:
    content = "&".join(f"{name}={value}" for name, value in form.items()).encode()
    given = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return org.post("/services/oauth2/token", content=content, headers=given, token="")


def bearer(org: Org, key: rsa.RSAPrivateKey, **claims: object) -> Answer:
    whole = {"iss": CLIENT, "sub": ADMIN, "aud": "https://login.salesforce.com", "exp": int(time.time()) + 180} | claims
    return token(org, {"grant_type": JWT_GRANT, "assertion": jwt.encode(whole, key, algorithm="RS256")})


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": "https://test.salesforce.com/"},
        {"aud": BASE},
        {"aud": f"{BASE}/"},
        {"exp": "milliseconds"},
        {"exp": "text"},
    ],
)
def test_jwt_bearer_is_accepted_in_every_form_clients_send(org: Org, key: rsa.RSAPrivateKey, claims: dict[str, object]) -> None:
    register(org, key)
    soon = time.time() + 180  # now, not when the tests were collected: an assertion lives for three minutes
    forms = {"milliseconds": int(soon * 1000), "text": str(int(soon))}
    answer = bearer(org, key, **{name: forms.get(str(value), value) for name, value in claims.items()})
    assert answer.status == 200, answer.text
    assert answer.json()["instance_url"] == BASE
    assert answer.json()["token_type"] == "Bearer"
    assert org.get("limits", token=answer.json()["access_token"]).status == 200


@pytest.mark.parametrize(
    ("claims", "error", "description"),
    [
        ({"iss": "nobody"}, "invalid_client_id", "client identifier invalid"),
        ({"sub": "nobody@omsync.example"}, "invalid_grant", "user hasn't approved this consumer"),
        ({"sub": "load@omsync.example"}, "invalid_grant", "user hasn't approved this consumer"),
        ({"aud": "https://elsewhere.example"}, "invalid_grant", "audience is invalid"),
        ({"exp": int(time.time()) - 10}, "invalid_grant", "invalid assertion"),
    ],
)
def test_jwt_bearer_is_refused_in_salesforces_words(
    org: Org, key: rsa.RSAPrivateKey, claims: dict[str, object], error: str, description: str
) -> None:
    register(org, key, users=[ADMIN])
    answer = bearer(org, key, **claims)
    assert (answer.status, answer.json()) == (400, {"error": error, "error_description": description})


def test_an_assertion_signed_with_another_key_is_invalid(org: Org, key: rsa.RSAPrivateKey) -> None:
    register(org, key)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert bearer(org, other).json() == {"error": "invalid_grant", "error_description": "invalid assertion"}


def test_client_credentials_act_as_their_user_and_take_form_or_basic(org: Org, key: rsa.RSAPrivateKey) -> None:
    register(org, key)
    form = token(org, {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "hush"})
    basic = token(org, {"grant_type": "client_credentials"}, Authorization="Basic " + base64.b64encode(b"CK:hush").decode())
    for answer in (form, basic):
        assert answer.status == 200, answer.text
        assert {"access_token", "instance_url", "id", "issued_at", "signature", "token_type", "scope"} == set(answer.json())
    wrong = token(org, {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "x"})
    assert (wrong.status, wrong.json()["error"]) == (400, "invalid_client")


def test_a_weak_key_is_not_registered(org: Org) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    answer = org.admin("POST", "keys", {"client_id": CLIENT, "public_key": pem(weak)})
    assert (answer.status, answer.json()) == (400, {"error": "the RSA key has 1024 bits: register one of at least 2048"})


@pytest.mark.parametrize("given", ["nonsense", "00D!x"])
def test_an_unknown_session_is_401_and_counts_nothing(org: Org, given: str) -> None:
    before = org.server.state.limits.used()
    answer = org.get("limits", token=given)
    assert (answer.status, answer.json(), answer.headers["www-authenticate"]) == (401, INVALID, "Token")
    assert "sforce-limit-info" not in answer.headers
    assert org.server.state.limits.used() == before


def test_a_header_of_another_kind_is_named(org: Org) -> None:
    answer = org.get("limits", headers={"Authorization": "Digest abc"})
    assert (answer.status, answer.json()) == (401, [{"message": "INVALID_HEADER_TYPE", "errorCode": "INVALID_AUTH_HEADER"}])


def test_a_session_ends_by_time_and_lives_on_by_use(org: Org, key: rsa.RSAPrivateKey) -> None:
    register(org, key, session_seconds=100)
    now = time.time()
    authority = org.server.state.authority
    authority.clock = lambda: now
    used = bearer(org, key, exp=int(now) + 180).json()["access_token"]
    idle = bearer(org, key, exp=int(now) + 180).json()["access_token"]
    authority.clock = lambda: now + 60
    assert org.get("limits", token=used).status == 200
    authority.clock = lambda: now + 120
    assert org.get("limits", token=used).status == 200
    assert org.get("limits", token=idle).status == 401


def test_revoke_ends_a_session_once(org: Org) -> None:
    session = org.login_as("coordinator")
    assert org.post("/services/oauth2/revoke", content=f"token={session}".encode(), token="").status == 200
    assert org.get("limits", token=session).status == 401
    assert org.post("/services/oauth2/revoke", content=f"token={session}".encode(), token="").status == 400


def test_userinfo_and_identity_say_who_it_is(org: Org) -> None:
    info = org.get("/services/oauth2/userinfo").json()
    assert info["preferred_username"] == ADMIN
    identity = org.get(info["sub"].removeprefix(BASE)).json()
    assert (identity["user_id"], identity["username"], identity["asserted_user"]) == (info["user_id"], ADMIN, True)
    refused = org.get("/services/oauth2/userinfo", token="x")
    assert (refused.status, refused.text) == (403, "Bad_OAuth_Token")


def test_sessions_and_consumers_outlive_a_restart(org: Org, key: rsa.RSAPrivateKey) -> None:
    register(org, key)
    session = org.login_as("coordinator")
    authority = org.server.state.authority
    authority.consumers.clear()
    authority.sessions.clear()
    authority.load()
    assert org.get("limits", token=session).status == 200
    assert bearer(org, key).status == 200
