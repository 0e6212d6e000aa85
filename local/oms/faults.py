"""Simulated outages and brown-outs: `PUT /admin/faults`. What is under `/admin` itself always answers.

down         every request: 503
latency      every request waits `latency_ms` first
error_rate   this share of requests (0..1) answers `status`
lost_answer  this share of requests is carried out, and then answers `status`: the caller cannot know
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import Problem


class Faults(BaseModel):
    """The faults in force. `paths` limits them to requests whose path starts so, `writes` to those that create or change a row for a client
    that may repeat them (they bring an Idempotency-Key); `seconds` ends them by itself."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"mode": "down"}, {"mode": "latency", "latency_ms": 800}, {"mode": "error_rate", "rate": 0.3}]},
    )
    mode: Literal["none", "down", "latency", "error_rate", "lost_answer"] = "none"
    latency_ms: int = Field(1000, ge=0, le=120_000)
    rate: float = Field(1.0, ge=0, le=1)
    status: int = Field(503, ge=400, le=599)
    paths: list[str] = Field(default_factory=lambda: ["/"], max_length=50)
    writes: bool = False
    seconds: float | None = Field(None, gt=0, le=86_400)


class FaultInjection:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, state: FaultState) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        faults = self.state.for_path(scope["path"]) if scope["type"] == "http" else None
        if faults is not None and faults.writes and not any(name == b"idempotency-key" for name, _ in scope["headers"]):
            faults = None
        if faults is None:
            await self.app(scope, receive, send)
        elif faults.mode == "latency":
            await asyncio.sleep(faults.latency_ms / 1000)
            await self.app(scope, receive, send)
        elif faults.mode == "lost_answer":
            await self.app(scope, receive, _nowhere)
            await _broken(faults)(scope, receive, send)
        else:
            await _broken(faults)(scope, receive, send)


class FaultState:
    """What `PUT /admin/faults` set last."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.until = float("inf")

    def set(self, faults: Faults) -> None:
        self.faults = faults
        self.until = time.monotonic() + faults.seconds if faults.seconds else float("inf")

    def for_path(self, path: str) -> Faults | None:
        """The fault that hits a request for `path` now, if one does."""
        faults = self.faults
        if faults.mode == "none" or path.startswith("/admin") or time.monotonic() > self.until or not _any(path, faults.paths):
            return None
        always = faults.mode in ("down", "latency")
        return faults if always or random.random() < faults.rate else None


def _any(path: str, prefixes: Iterable[str]) -> bool:
    return any(path.startswith(prefix) for prefix in prefixes)


def _broken(faults: Faults) -> ASGIApp:
    status = 503 if faults.mode == "down" else faults.status
    return Problem(status, "Simulated fault.", headers={"Retry-After": "1"} if status in (429, 503) else {}).response()


async def _nowhere(_: Message) -> None:
    """Swallow the real answer."""
