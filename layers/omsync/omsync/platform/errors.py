"""The three ways work can fail, and nothing else.

    OmsyncError
    |-- Retryable          try again later; nobody needs to look
    |   `-- BreakerOpen    the system is known to be down: do not call it
    |-- Permanent          will fail the same way every time: a person decides
    `-- Stale              somebody else wrote first: read again and decide anew

Adapters translate a vendor's errors into these once, at the border. `code` is the vendor's or our own stable
token (`UNABLE_TO_LOCK_ROW`, `oms.precondition`); `message` may be logged, so it never holds a record's values.
"""

from __future__ import annotations


class OmsyncError(Exception):
    """Base of everything omsync raises on purpose."""

    def __init__(self, message: str, *, code: str = "omsync", record: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.record = record  # `table/id`, never a value

    def __str__(self) -> str:
        where = f" ({self.record})" if self.record else ""
        return f"{self.code}: {self.message}{where}"


class Retryable(OmsyncError):
    """Transient. `after` is the earliest useful retry in seconds, where the other side said so."""

    def __init__(self, message: str, *, code: str = "retryable", record: str | None = None, after: float | None = None) -> None:
        super().__init__(message, code=code, record=record)
        self.after = after


class BreakerOpen(Retryable):
    """A circuit breaker is open; no call was made."""


class Permanent(OmsyncError):
    """Repeating changes nothing. `field` names the culprit where the other side did."""

    def __init__(self, message: str, *, code: str = "permanent", record: str | None = None, field: str | None = None) -> None:
        super().__init__(message, code=code, record=record)
        self.field = field


class Stale(OmsyncError):
    """A compare-and-set lost: resolve, read and merge again."""
