"""What travels in our queues. A mirrored record's message holds its row; a shared record's says only which one to look at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

#: who noticed the change; latency is measured for pushes, not for what a sweep or reconciliation found
type Origin = Literal["oms", "salesforce", "sweep", "reconciliation", "migration", "parent", "case"]

#: what an input transformer makes of an absent value, and of one that is null, where its template has quotes
_NOTHING = ("", "null")


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    correlation_id: str
    origin: Origin
    #: when the change was committed on its side, for the lag metric
    committed_at: datetime | None = None

    @field_validator("committed_at", mode="before")
    @classmethod
    def _none_for_nothing(cls, value: object) -> object:
        """A partner event bus's transformer writes `_NOTHING` for what is absent; Salesforce gives milliseconds since 1970 for a moment."""
        if isinstance(value, str) and value.isdigit():
            return datetime.fromtimestamp(int(value) / 1000, UTC)
        return None if value in _NOTHING else value

    #: how often a Retryable outcome has sent it again
    attempt: int = 0


class MirrorMessage(_Message):
    """Write this row of a mirrored table. `row` is None where only the id is known: the writer reads it from the OMS."""

    table: str
    id: str
    version: int
    row: dict[str, Any] | None = None

    @field_validator("row")
    @classmethod
    def _is_a_row(cls, row: dict[str, Any] | None) -> dict[str, Any] | None:
        """What is no row is one bad message; unnoticed it would end its whole batch."""
        if row is not None and not {"id", "version"} <= set(row):
            raise ValueError("the row has no id or no version")
        return row


class SyncMessage(_Message):
    """Look at this shared record, named by either side's id."""

    table: str | None = None
    id: str | None = None
    sobject: str | None = None
    salesforce_id: str | None = None
    change: str | None = None
    record_type: str | None = None
    master_id: str | None = None
    #: about so many characters its row has, where that is known
    length: int | None = None

    @field_validator("record_type", "master_id", mode="before")
    @classmethod
    def _none_for_empty(cls, value: object) -> object:
        return None if value in _NOTHING else value


class LifecycleMessage(_Message):
    """An accepted OMS event as it came, for the transitions that emails hang on; never collapsed."""

    event_id: str
    table: str
    id: str
    version: int
    operation: str
    row: dict[str, Any]
    old: dict[str, Any]
