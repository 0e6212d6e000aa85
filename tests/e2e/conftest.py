"""The embedded stack, once per test session, in a directory and on ports of its own.

`OMSYNC_E2E_HOME=<dir>` uses the stack that is up there instead (quick while developing); it is left up.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from local.stack.deploy import Aws, outputs
from local.stack.home import ROOT, Home
from omsync.platform.http import TimeoutSession
from tests.e2e.world import World

_MINUTES = 10


def pytest_itemcollected(item: pytest.Item) -> None:
    """Every test here needs the stack, and the first waits for it."""
    item.add_marker(pytest.mark.e2e)
    if not item.get_closest_marker("timeout"):
        item.add_marker(pytest.mark.timeout(_MINUTES * 60))


_SCOPES = {"oms": "oms/write", "salesforce": "salesforce/write", "ops": "ops/read"}


def omsync(home: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the `omsync` command on a stack."""
    environment = {**os.environ, "OMSYNC_HOME": str(home), "PYTHONPATH": f"{ROOT / 'layers' / 'omsync'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "ops.main", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert not check or done.returncode == 0, f"omsync {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


@dataclass
class Stack:
    """A running stack: its addresses, and a session for each side."""

    home: Path
    endpoints: Mapping[str, str]
    outputs: Mapping[str, str]
    http: TimeoutSession = field(default_factory=TimeoutSession)
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def aws(self) -> Aws:
        """`stack.aws.client("sqs")`; names of things are in `outputs`."""
        return Aws(self.endpoints["aws_endpoint_url"])

    def token(self, client: str) -> str:
        """An access token of the client "oms", "salesforce" or "ops"."""
        if client not in self._tokens:
            form = {"grant_type": "client_credentials", "scope": _SCOPES[client]}
            account = (self.endpoints[f"{client}_client_id"], self.endpoints[f"{client}_client_secret"])
            self._tokens[client] = self.http.post(self.endpoints["token_url"], data=form, auth=account).json()["access_token"]
        return self._tokens[client]

    def call(self, method: str, path: str, client: str | None = None, **more: Any) -> requests.Response:
        """Call our API as one of the machines, or as nobody."""
        headers = dict(more.pop("headers", {}))
        if client:
            headers["Authorization"] = f"Bearer {self.token(client)}"
        return self.http.request(method, f"{self.endpoints['api_url']}{path}", headers=headers, **more)

    def omsync(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the `omsync` command on this stack."""
        return omsync(self.home, *arguments, check=check)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack of this test session."""
    borrowed = os.environ.get("OMSYNC_E2E_HOME")
    with contextlib.nullcontext(Path(borrowed).absolute()) if borrowed else own_home() as home:
        if not borrowed:
            omsync(home, "local", "up")
        endpoints = Home(home).endpoints()
        yield Stack(home, endpoints, outputs(Aws(endpoints["aws_endpoint_url"])))


@contextlib.contextmanager
def own_home() -> Iterator[Path]:
    """A directory for a stack, which is down and gone afterwards. Not pytest's: PostgreSQL's own user must get through."""
    with tempfile.TemporaryDirectory(prefix="omsync-") as folder:
        try:
            yield Path(folder)
        finally:
            omsync(Path(folder), "local", "down")


@pytest.fixture(scope="session")
def world(stack: Stack) -> World:
    """Both systems, and omsync between them, all migrations certified: support cases are Salesforce's."""
    world = World(stack)
    world.certify(4)
    for queue in ("Mirror", "Sync", "Isolation"):  # what an earlier session left on a borrowed stack
        world.exhume(queue)
    return world
