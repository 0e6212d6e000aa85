"""What an OMS event means for emails: which facts it changed, reduced to what may leave the row.

A transition holds states as they are and moments and references only as "set": enough for a rule to filter on, nothing of the person.
Only what the OMS itself told counts: what a migration, a sweep or the reconciliation moves is no news, whoever announces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from omsync.emails.flows import Flow, Flows
from omsync.emails.patterns import matches
from omsync.emails.vocabulary import FACTS, HOLD_REASONS, STATES
from omsync.sync.messages import LifecycleMessage

#: writers whose changes are history being moved, not news: the start of `changed_by`
HISTORY = ("migration", "reconciliation", "sweep", "seed", "import")

type Facts = dict[str, str | None]


class Transition(BaseModel):
    """One change of one row, as it travels on the lifecycle bus."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    table: str
    id: str
    version: int
    patient_id: str | None = None
    at: datetime
    correlation_id: str
    changed: tuple[str, ...]
    new: Facts
    old: Facts

    @property
    def key(self) -> str:
        """What makes it one: a row has a version once."""
        return f"{self.table}/{self.id}@{self.version}"

    def detail(self) -> dict[str, Any]:
        """As rules see it."""
        return self.model_dump(mode="json")


def transition_of(message: LifecycleMessage) -> Transition | None:
    """The transition a message tells of, if it is one that emails could hang on."""
    columns = FACTS.get(message.table)
    told_by = str(message.row.get("changed_by") or "")
    if columns is None or message.origin != "oms" or message.operation == "deleted" or told_by.startswith(HISTORY):
        return None
    if message.row.get("deleted_at") is not None or message.committed_at is None:
        return None
    created = message.operation == "created"
    before: Mapping[str, Any] = {} if created else {**message.row, **message.old}
    new = {column: fact(column, message.row.get(column)) for column in columns}
    old = {column: fact(column, before.get(column)) if not created else None for column in columns}
    changed = ["registered"] if created else []
    # a moment that moved is "set" before and after: the raw values tell
    changed += [column for column in columns if message.row.get(column) != before.get(column)]
    if not changed:
        return None
    patient = message.id if message.table == "patients" else message.row.get("patient_id")
    return Transition(
        table=message.table,
        id=message.id,
        version=message.version,
        patient_id=str(patient) if patient else None,
        at=message.committed_at,
        correlation_id=message.correlation_id,
        changed=tuple(changed),
        new=new,
        old=old,
    )


def fact(column: str, value: object) -> str | None:
    """A column's value as a fact."""
    if column == "hold_reason":
        return "none" if value is None else str(value) if value in HOLD_REASONS else "other"
    if value is None:
        return None
    return str(value) if column in STATES else "set"


def flows_for(transition: Transition, flows: Flows) -> list[Flow]:
    """The flows whose rules see it."""
    detail = transition.detail()
    return [flow for flow in flows if matches(flow.trigger, detail)]
