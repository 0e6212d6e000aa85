"""Problem details (RFC 9457): the one form in which a door says no."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong in a request: in which event (by id and place), in which field, and how to mend it. Never the value."""

    message: str
    field: str | None = None
    event: str | None = None
    index: int | None = None

    def as_json(self) -> dict[str, object]:
        """Without what is not known."""
        pairs = {"event": self.event, "index": self.index, "field": self.field, "message": self.message}
        return {name: value for name, value in pairs.items() if value is not None}


@dataclass(slots=True)
class Problem(Exception):
    """A request refused. `detail` says what, where and how to mend it."""

    status: int
    title: str
    detail: str
    errors: Sequence[Complaint] = field(default_factory=tuple)

    def body(self) -> str:
        """The response's JSON."""
        problem: dict[str, object] = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        if self.errors:
            problem["errors"] = [complaint.as_json() for complaint in self.errors]
        return json.dumps(problem)
