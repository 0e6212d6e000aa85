"""Where a stack lives: one directory (`.local`, or OMSYNC_HOME), its ports, its endpoints. Two homes are two stacks."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omsync.platform.errors import OmsyncError

ROOT = Path(__file__).resolve().parents[2]

#: What a stack listens on, all on 127.0.0.1.
PORTS = ("aws", "oms", "salesforce", "postgres")


class StackFault(OmsyncError):
    """The stack can't do what was asked; the message says what is wrong and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="stack")


@dataclass(frozen=True, slots=True)
class Home:
    """A stack's directory."""

    path: Path

    @classmethod
    def here(cls) -> Home:
        """As OMSYNC_HOME says, else `.local` in the project."""
        return cls(Path(os.environ.get("OMSYNC_HOME") or ROOT / ".local").absolute())

    @property
    def cache(self) -> Path:
        """What stacks share: builds and unpacked layers."""
        return Path(os.environ.get("OMSYNC_CACHE") or ROOT / ".local" / "cache").absolute()

    def folder(self, name: str) -> Path:
        """A subdirectory, made if missing."""
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, part: str) -> Path:
        """Where a part writes."""
        return self.folder("logs") / f"{part}.log"

    @property
    def endpoints_file(self) -> Path:
        """`endpoints.json`: there while the stack is up."""
        return self.path / "endpoints.json"

    def endpoints(self) -> dict[str, str]:
        """The running stack's addresses; a fault if it is not up."""
        try:
            return dict(json.loads(self.endpoints_file.read_text()))
        except FileNotFoundError:
            raise StackFault(f"no stack is up in {self.path}: run `make up`") from None

    def write(self, path: Path, content: object, *, private: bool = False) -> None:
        """JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600 if private else 0o644)
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.replace(path)

    def read(self, path: Path) -> dict[str, object]:
        """JSON written by `write`; empty if there is none."""
        try:
            return dict(json.loads(path.read_text()))
        except FileNotFoundError:
            return {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` at a time."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackFault(f"another `up` or `down` is at work in {self.path}: wait for it") from None
            yield

    def forget(self) -> None:
        """Remove what a stack that is down has left: data, ports, secrets, logs."""
        for name in ("aws", "ca", "logs", "oms", "postgres", "run", "salesforce", "sam"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("ports.json", "secrets.json", "postgres.password", "endpoints.json", "sam-local.json"):
            (self.path / name).unlink(missing_ok=True)

    def ports(self, running: frozenset[str]) -> dict[str, int]:
        """The stack's ports, kept from run to run as long as they are free; `running` names those in our own use."""
        path = self.path / "ports.json"
        kept = {name: port for name, port in self.read(path).items() if isinstance(port, int)}
        ports: dict[str, int] = {}
        for name in PORTS:
            port = kept.get(name)
            ports[name] = port if port and (name in running or _is_free(port)) else _free(set(ports.values()))
        if ports != kept:
            self.write(path, ports)
        return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
