"""Reading a REST API proxy event: its body as bytes, its headers as a plain mapping."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from omsync.platform.problems import Problem


def body_of(event: Mapping[str, Any]) -> bytes:
    """The body's bytes; a missing one is empty."""
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        try:
            return base64.b64decode(body, validate=True)
        except binascii.Error:
            raise Problem(400, "Not readable", "The body is not valid base64.") from None
    return str(body).encode()


def headers_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Header -> value, names in lower case."""
    return {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
