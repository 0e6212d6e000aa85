"""Requests counted by who asks (the client's `User-Agent`) and for what: `GET /admin/calls`."""

from __future__ import annotations

import re
from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

type Calls = dict[str, dict[str, int]]


class CallCounter:
    """ASGI middleware around the whole application. Requests that fail are counted, too."""

    def __init__(self, app: ASGIApp, counts: CallCounts) -> None:
        self.app = app
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
            self.counts.note(agent.decode("latin-1"), f"{scope['method']} {_ID.sub('{id}', scope['path'])}")
        await self.app(scope, receive, send)


class CallCounts:
    """Since the start, or since they were last taken. Counted in the event loop alone."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, agent: str, what: str) -> None:
        self._counts[agent, what] += 1

    def read(self) -> Calls:
        """Agent -> `METHOD /path/{id}` -> requests."""
        found: Calls = {}
        for (agent, what), number in self._counts.copy().items():
            found.setdefault(agent, {})[what] = number
        return found

    def clear(self) -> None:
        self._counts.clear()
