"""Hints from Salesforce: which record changed, never what it holds. They come from our Apex subscriber, or through a partner event bus."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from omsync.platform.problems import Complaint, Problem

MAX_HINTS = 2000

SalesforceId = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9]{15}([a-zA-Z0-9]{3})?$")]
ApiName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]\w{0,79}$")]


class Hint(BaseModel):
    """One changed record. `save` is its Sync_Save__c after the change; `master_id` the winner of a merge; `at` Salesforce's clock."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    sobject: ApiName = Field(alias="object")
    id: SalesforceId
    change: Literal["CREATE", "UPDATE", "DELETE", "UNDELETE", "MERGE"]
    record_type: str | None = Field(default=None, max_length=80)
    save: int | None = Field(default=None, ge=0)
    master_id: SalesforceId | None = None
    at: datetime | None = None


class Hints(BaseModel):
    """The body of `POST /salesforce/changes`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: list[Hint] = Field(min_length=1, max_length=MAX_HINTS)


def parse(body: bytes) -> list[Hint]:
    """The hints of a request, or a `Problem` that names each field."""
    try:
        return Hints.model_validate_json(body).events
    except ValidationError as fault:
        errors = fault.errors(include_input=False, include_url=False, include_context=False)
        complaints = [Complaint(error["msg"], ".".join(map(str, error["loc"])) or None, index=_index(error["loc"])) for error in errors]
        raise Problem(400, "Invalid hints", f"The body is not valid in {len(complaints)} places; nothing was taken.", complaints) from None


def _index(place: tuple[int | str, ...]) -> int | None:
    """Which event is bad, so that the sender can go on with the rest; None for the request as a whole."""
    return place[1] if len(place) > 1 and place[0] == "events" and isinstance(place[1], int) else None
