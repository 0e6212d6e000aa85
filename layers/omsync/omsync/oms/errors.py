"""The OMS's answers as omsync's error types.

Permanent
|-- Rejected   422: the OMS understood and will never take it; `errors` names the columns
`-- NotFound   404
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import requests

from omsync.platform.errors import OmsyncError, Permanent, Retryable, Stale


@dataclass(frozen=True, slots=True)
class ColumnError:
    """One complaint of the OMS. `message` is the OMS's own sentence about the column, without its value."""

    column: str
    message: str


class Rejected(Permanent):
    """Refused for good: a constraint or a state machine says no."""

    def __init__(self, errors: tuple[ColumnError, ...], *, record: str | None = None) -> None:
        named = ", ".join(error.column for error in errors) or "the record"
        super().__init__(f"the OMS refuses {named}", code="oms.rejected", record=record, field=errors[0].column if errors else None)
        self.errors = errors


class NotFound(Permanent):
    """The OMS has no such row."""


def from_response(response: requests.Response, record: str | None = None) -> OmsyncError:
    """A failed answer (status >= 400) -> one of ours; the body's text is kept only where the OMS names columns."""
    status = response.status_code
    match status:
        case 404:
            return NotFound("the OMS has no such row", code="oms.not_found", record=record)
        case 412:
            return Stale("the row changed since it was read", code="oms.precondition", record=record)
        case 422 | 409:
            return Rejected(_column_errors(response), record=record)
        case 401 | 408 | 425 | 429:
            return Retryable(f"the OMS answered {status}", code=f"oms.{status}", record=record, after=_retry_after(response))
        case _ if status >= 500:
            return Retryable(f"the OMS answered {status}", code=f"oms.{status}", record=record, after=_retry_after(response))
    return Permanent(f"the OMS answered {status}", code=f"oms.{status}", record=record)


def _column_errors(response: requests.Response) -> tuple[ColumnError, ...]:
    try:
        found = response.json().get("errors", [])
    except ValueError:
        return ()
    return tuple(ColumnError(str(error.get("column", "?")), str(error.get("message", ""))) for error in found if isinstance(error, Mapping))


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
