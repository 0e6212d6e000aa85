"""Answers of functions behind the REST API: JSON, and `application/problem+json` (RFC 9457) where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from omsync.platform import problems

#: No answer of ours may be cached or sniffed.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def answer(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """A proxy integration's response with a JSON body."""
    return _response(status, "application/json", json.dumps(body, ensure_ascii=False, separators=(",", ":")))


def problem(fault: problems.Problem) -> dict[str, Any]:
    """A proxy integration's response that says no."""
    return _response(fault.status, problems.CONTENT_TYPE, fault.body())


def _response(status: int, content_type: str, body: str) -> dict[str, Any]:
    return {"statusCode": status, "headers": {"Content-Type": content_type, **_HEADERS}, "body": body}
