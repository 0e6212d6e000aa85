"""The OMS's CloudEvents: parsing and validating what arrives at the door, all of it before any of it is used.

Source: CloudEvents 1.0.2 with its JSON format and HTTP binding (structured and batched mode). `data` is ours: the full row as the OMS's API
gives it, its version, and the old values of the columns that changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from omsync.platform.problems import Complaint, Problem

SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MAX_EVENTS = 500
MAX_BYTES = 4 * 1024 * 1024
_SPLIT = "Split the batch in two and send both."

type Operation = Literal["created", "updated", "deleted"]

_TYPE = re.compile(r"com\.upscript\.oms\.(?P<table>[a-z_]{1,40})\.(?P<operation>created|updated|deleted)")
_Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class Data(BaseModel):
    """What an event says of its row. `old` holds the former values of the columns that changed; empty for a new row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    id: _Uuid
    version: int = Field(gt=0)
    changed_by: str = Field(max_length=200)
    row: dict[str, Any]
    old: dict[str, Any] = Field(default_factory=dict)


class CloudEvent(BaseModel):
    """One change of one row. Unknown extension attributes are ignored, as the specification asks."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    specversion: Literal["1.0"]
    id: str = Field(min_length=1, max_length=64)
    source: str = Field(min_length=1, max_length=200)
    type: str = Field(pattern=f"^{_TYPE.pattern}$")
    subject: str | None = None
    time: datetime
    correlationid: str | None = Field(default=None, max_length=64, pattern=r"^[\w.:-]+$")
    data: Data

    @property
    def operation(self) -> str:
        """created, updated or deleted."""
        return self.type.rpartition(".")[2]

    @property
    def correlation_id(self) -> str:
        """The sender's, or the event's own id: what every log line on its way bears."""
        return self.correlationid or self.id


#: table -> the model of its full row; raises KeyError for a table no mapping names
type RowModels = Callable[[str], type[BaseModel]]


def parse(body: bytes, content_type: str, rows: RowModels, *, table: str | None = None) -> list[CloudEvent]:
    """The events of a request, or a `Problem` that names each bad event and field. `table`: the only one this door takes."""
    if len(body) > MAX_BYTES:
        raise Problem(413, "Too large", f"The body has {len(body)} bytes; at most {MAX_BYTES} are taken. {_SPLIT}")
    items = _items(body, content_type.partition(";")[0].strip().lower())
    events: list[CloudEvent] = []
    complaints: list[Complaint] = []
    for index, item in enumerate(items):
        event, wrong = _check(item, index, rows, table)
        complaints += wrong
        if event is not None:
            events.append(event)
    if complaints:
        bad = len({complaint.index for complaint in complaints})
        detail = f"{bad} of {len(items)} events are not valid; none was taken. Park those named and send the rest."
        raise Problem(400, "Invalid events", detail, complaints)
    return events


def _items(body: bytes, media_type: str) -> Sequence[object]:
    if media_type not in (SINGLE, BATCH):
        raise Problem(415, "Unsupported media type", f"Send {SINGLE} for one event or {BATCH} for an array of them.")
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "Not JSON", "The body could not be read as JSON in UTF-8.") from None
    if media_type == SINGLE:
        return [parsed]
    if not isinstance(parsed, list):
        raise Problem(400, "Not a batch", f"{BATCH} is a JSON array of events.")
    if not parsed:
        raise Problem(400, "Empty batch", "The array holds no event.")
    if len(parsed) > MAX_EVENTS:
        raise Problem(413, "Too many events", f"{len(parsed)} events; at most {MAX_EVENTS} are taken. {_SPLIT}")
    return parsed


def _check(item: object, index: int, rows: RowModels, table: str | None) -> tuple[CloudEvent | None, list[Complaint]]:
    named = item.get("id") if isinstance(item, Mapping) else None
    event_id = named if isinstance(named, str) else None
    try:
        event = CloudEvent.model_validate(item)
    except ValidationError as fault:
        return None, _complaints(fault, index, event_id, ())
    wrong = [Complaint(message, field, event_id, index) for field, message in _contradictions(event, table)]
    try:
        rows(event.data.table).model_validate(event.data.row)
    except KeyError:
        wrong.append(Complaint("no mapping knows this table", "data.table", event_id, index))
    except ValidationError as fault:
        wrong += _complaints(fault, index, event_id, ("data", "row"))
    return (None, wrong) if wrong else (event, [])


def _contradictions(event: CloudEvent, table: str | None) -> list[tuple[str, str]]:
    """Where an event says two things at once: (field, message)."""
    data, named = event.data, _TYPE.fullmatch(event.type)
    found = []
    if named is not None and named["table"] != data.table:
        found.append(("data.table", "is another table than the one in `type`"))
    if table is not None and data.table != table:
        found.append(("data.table", f"this address takes {table} alone; send mixed batches to /oms/events"))
    if data.row.get("id") != data.id:
        found.append(("data.row.id", "is another id than data.id"))
    if data.row.get("version") != data.version:
        found.append(("data.row.version", "is another version than data.version"))
    if event.time.tzinfo is None:
        found.append(("time", "needs a time zone (RFC 3339)"))
    return found


def _complaints(fault: ValidationError, index: int, event_id: str | None, prefix: tuple[str, ...]) -> list[Complaint]:
    """pydantic's findings, without the values it would quote."""
    return [
        Complaint(error["msg"], ".".join(map(str, (*prefix, *error["loc"]))) or None, event_id, index)
        for error in fault.errors(include_input=False, include_url=False, include_context=False)
    ]
