"""Logger, metrics and tracer: one of each per process.

A log line carries only what `ALLOWED` names (invariant 6: no PHI in logs). The list holds identifiers, counts, durations, codes and
names of things in our own code; a key that is not in it is dropped and its name reported under `dropped`, so that a mistake shows
without leaking. Exceptions are logged by type, code and place; their text only where the type is ours, whose messages hold no values.
"""

from __future__ import annotations

import re
import traceback
from types import TracebackType
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics import MetricUnit

from omsync.platform.errors import OmsyncError

__all__ = ["ALLOWED", "MetricUnit", "allow", "correlate", "logger", "metrics", "tracer"]

#: What Powertools itself writes.
_POWERTOOLS = {
    "level", "location", "message", "timestamp", "service", "sampling_rate", "cold_start", "function_name", "function_memory_size",
    "function_arn", "function_request_id", "correlation_id", "xray_trace_id", "exception", "exception_name",
}  # fmt: skip

#: Ours. Identifiers are the systems' own opaque ids.
_OURS = {
    "accepted", "account_id", "action", "after", "age_seconds", "attempt", "batch", "before", "breaker", "budget", "build_id", "cause",
    "change", "change_xid", "chunk", "claim", "code", "count", "counts", "cursor", "delay_seconds", "different", "dropped",
    "duration_ms", "email_id", "entity", "errors", "event_id", "event_type", "external_id", "failed", "field", "fields", "flow",
    "function", "held", "index", "job_id", "key_id", "lag_ms", "limit", "loser", "master_id", "message_id", "missing", "object",
    "operation", "outcome", "policy", "queue", "reason", "record", "record_type", "records", "rejected", "request_id", "requests",
    "retries", "revision", "run", "salesforce_id", "save", "seconds", "sent", "skipped", "source", "stage", "stale", "state", "status",
    "superseded", "system", "table", "target", "unit", "units", "url_path", "version", "winner", "written", "xmin",
}  # fmt: skip

ALLOWED = frozenset(_POWERTOOLS | _OURS)

#: What a value of an allowed key may look like; anything longer is no identifier, count or code.
_LONGEST = 400

_EMAIL = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+\.[^\s@<>\"']+")
_PHONE = re.compile(r"\+\d[\d\s().-]{7,}\d|\(?\b\d{3}\)?[\s.-]{1,2}\d{3}[\s.-]\d{4}\b")


def allow(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with what may be logged; the names of the rest under `dropped`."""
    kept = {key: _plain(value) for key, value in entry.items() if key in ALLOWED}
    dropped = sorted(key for key in entry if key not in ALLOWED)
    if dropped:
        kept["dropped"] = dropped
    return kept


def _plain(value: Any) -> Any:
    """Numbers and flags as they are, text without what looks like an address or a telephone number, containers member by member."""
    if isinstance(value, str):
        text = _PHONE.sub("<number>", _EMAIL.sub("<address>", value))
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}<cut>"
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(member) for member in value]
    return value if value is None or isinstance(value, bool | int | float) else _plain(str(value))


class AllowListFormatter(LambdaPowertoolsFormatter):
    """Powertools' JSON lines, reduced to what `ALLOWED` names."""

    def serialize(self, log: dict[str, Any]) -> str:  # type: ignore[override]
        """The last step before a line is written: nothing gets around it."""
        # Powertools' own form of a traceback holds texts and source lines.
        return super().serialize(allow({key: value for key, value in log.items() if key != "stack_trace"}))

    def formatException(  # noqa: N802 (logging's name)
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        """Type and places; the text only of our own errors."""
        kind, fault, trace = ei
        if kind is None:
            return ""
        told = str(fault) if isinstance(fault, OmsyncError) else "(text withheld)"
        places = [f"{frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})" for frame in traceback.extract_tb(trace)[-6:]]
        return f"{kind.__name__}: {told} at {' > '.join(places)}"


logger = Logger(logger_formatter=AllowListFormatter(), utc=True, log_uncaught_exceptions=False)
metrics = Metrics()
tracer = Tracer(auto_patch=False)


def correlate(correlation_id: str | None) -> None:
    """Carry an id through everything this invocation logs and traces; None leaves what is there."""
    if correlation_id:
        logger.set_correlation_id(correlation_id)
        tracer.put_annotation("correlation_id", correlation_id)
