"""An org for tests, called in process over ASGI: requests are read, guarded, routed and answered as on the wire.

with open_org(tmp_path, [metadata]) as org:
    record_id = org.create("Account", Name="Acme")
    assert org.get(f"sobjects/Account/{record_id}").json()["Name"] == "Acme"
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from local.salesforce.app import build, close
from local.salesforce.schema import Org
from local.salesforce.server import DROP, Server

BASE = "https://org.example"
DATA = "/services/data/v67.0"
_IN_PATH = "/%:@!$&'()*+,;=~-._"


class ConnectionDropped(Exception):
    """The server closed the connection without an answer."""


@dataclass(slots=True)
class Answer:
    """What came back. `headers` have lower-case names; `body` is decompressed."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class TestOrg:
    """A server and the session its calls carry by default."""

    __test__ = False  # not a test class

    server: Server
    token: str = ""
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content: bytes | Iterable[bytes] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Answer:
        """One call. `path` is below `/services/data/v67.0/` unless it starts with a slash; `body` is sent as JSON."""
        url = path if path.startswith("/") else f"{DATA}/{path}"
        target, _, query = url.partition("?")
        given = {name.lower(): value for name, value in (headers or {}).items()}
        given.setdefault("host", BASE.removeprefix("https://"))
        if token != "":
            given.setdefault("authorization", f"Bearer {token or self.token}")
        if body is not None:
            content = json.dumps(body).encode()
            given.setdefault("content-type", "application/json")
        pieces = [content] if isinstance(content, bytes) else list(content or ())
        scope: dict[str, object] = {
            "type": "http",
            "scheme": "https",
            "method": method,
            "path": target,
            "raw_path": quote(target, safe=_IN_PATH).encode(),
            "query_string": "&".join(part for part in (quote(query, safe=_IN_PATH + "?"), urlencode(params or {})) if part).encode(),
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in given.items()],
        }
        return self.runner.run(self._exchange(scope, pieces))

    async def _exchange(self, scope: dict[str, object], pieces: Sequence[bytes]) -> Answer:
        dropped: list[bool] = []
        scope["extensions"] = {DROP: lambda: dropped.append(True)}
        waiting = [*pieces, b""]
        answer = Answer(0, {}, b"")

        async def receive() -> MutableMapping[str, object]:
            piece = waiting.pop(0) if waiting else b""
            return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self.server(scope, receive, send)
        if dropped:
            raise ConnectionDropped
        if answer.headers.get("content-encoding") == "gzip":
            answer.body = gzip.decompress(answer.body)
        return answer

    def get(self, path: str, **options: Any) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, body: object = None, **options: Any) -> Answer:
        return self.call("POST", path, body=body, **options)

    def patch(self, path: str, body: object = None, **options: Any) -> Answer:
        return self.call("PATCH", path, body=body, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.call("DELETE", path, **options)

    def create(self, object_name: str, **fields: object) -> str:
        """A new record's id."""
        answer = self.post(f"sobjects/{object_name}", fields)
        if answer.status != 201:
            raise AssertionError(f"{object_name} was refused: {answer.text}")
        return str(answer.json()["id"])

    def admin(self, method: str, path: str, body: object = None) -> Answer:
        """A call of the admin API."""
        return self.call(method, f"/_admin/{path}", body=body)

    def login_as(self, user: str) -> str:
        """A session token for one of the set-up's users (`coordinator`) or a username."""
        return str(self.admin("POST", "login-as", {"user": user}).json()["access_token"])


@contextmanager
def open_org(home: Path, metadata: Sequence[Path], *, org: Org | None = None) -> Iterator[TestOrg]:
    """An org of its own, with the administrator's session; fails if the server met an exception it did not expect."""
    server = build(home, metadata, org=org)
    admin = server.state.authority.user_by_name("admin@omsync.example")
    assert admin is not None
    opened = TestOrg(server, server.state.authority.open(admin, "tests").token)
    try:
        yield opened
    finally:
        opened.runner.close()
        close(server)
    if server.errors:
        raise AssertionError(f"the server met {server.errors} exceptions it did not expect: see its log")
