"""The two doors: what the OMS and Salesforce tell us is checked whole, put into queues whole, and only then answered.

Both say 202 when, and only when, SQS has everything; a failure in between makes the sender repeat, which is harmless: a version is
applied once, and looking at a record twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from omsync.oms import events, signature
from omsync.oms.events import CloudEvent, RowModels
from omsync.platform.problems import Problem
from omsync.sync import hints
from omsync.sync.messages import LifecycleMessage, MirrorMessage, SyncMessage
from omsync.sync.portions import row_length


class Outbound(Protocol):
    """A queue's sending end. Returns only when the queue has every message, else raises Retryable."""

    def send(self, messages: Sequence[BaseModel]) -> None:
        """Send all."""


class Routes(Protocol):
    """Which tables and objects are whose; answered by the mappings."""

    def is_mirrored(self, table: str) -> bool:
        """One way and blind?"""

    def shared_owner(self, table: str, row: Mapping[str, object]) -> tuple[str, str] | None:
        """The shared record that a row belongs to, as (table, id): an address belongs to its patient. None for a mirrored row."""

    def is_shared_object(self, sobject: str, record_type: str | None) -> bool:
        """Does a record of this object and type take part in the sync from Salesforce?"""


@dataclass(frozen=True, slots=True)
class OmsDoor:
    """`POST /oms/events` and `POST /oms/{table}`."""

    mirror: Outbound
    sync: Outbound
    lifecycle: Outbound
    routes: Routes
    rows: RowModels
    secrets: Callable[[], Sequence[str]]
    now: Callable[[], float]

    def accept(self, headers: Mapping[str, str], body: bytes, *, table: str | None = None) -> list[str]:
        """Take a request's events and return their ids. Raises `Problem`, with nothing enqueued."""
        try:
            signature.verify(headers, body, self.secrets(), now=self.now())
        except signature.BadSignature as fault:
            raise Problem(401, "Signature refused", fault.message) from None
        if table is not None:
            self._know(table)
        lower = {name.lower(): value for name, value in headers.items()}
        accepted = events.parse(body, lower.get("content-type", ""), self.rows, table=table)
        self._enqueue(accepted)
        return [event.id for event in accepted]

    def _know(self, table: str) -> None:
        try:
            self.rows(table)
        except KeyError:
            raise Problem(404, "Unknown table", f"No mapping knows the table {table[:60]!r}.") from None

    def _enqueue(self, accepted: Sequence[CloudEvent]) -> None:
        mirrored: list[MirrorMessage] = []
        shared: dict[tuple[str, str], SyncMessage] = {}  # one look at a record is enough, however many events of a batch name it
        for event in accepted:
            data = event.data
            owner = self.routes.shared_owner(data.table, data.row)
            common = {"correlation_id": event.correlation_id, "origin": "oms", "committed_at": event.time}
            if owner is not None:
                known = shared.get(owner)
                length = max(row_length(data.row), known.length or 0 if known is not None else 0)
                first = known or SyncMessage(table=owner[0], id=owner[1], **common)
                shared[owner] = first.model_copy(update={"length": length})
            if self.routes.is_mirrored(data.table):
                mirrored.append(MirrorMessage(table=data.table, id=data.id, version=data.version, row=data.row, **common))
        self.mirror.send(mirrored)
        self.sync.send(list(shared.values()))
        self.lifecycle.send([_lifecycle(event) for event in accepted])


def _lifecycle(event: CloudEvent) -> LifecycleMessage:
    data = event.data
    return LifecycleMessage(
        correlation_id=event.correlation_id,
        origin="oms",
        committed_at=event.time,
        event_id=event.id,
        table=data.table,
        id=data.id,
        version=data.version,
        operation=event.operation,
        row=data.row,
        old=data.old,
    )


@dataclass(frozen=True, slots=True)
class SalesforceDoor:
    """`POST /salesforce/changes`, and the same hints from a partner event bus."""

    sync: Outbound
    routes: Routes

    def accept(self, body: bytes, *, correlation_id: str) -> int:
        """Take a request's hints and return how many there were. Raises `Problem`, with nothing enqueued.

        Records no mapping names (our integration's own Cases, another team's) are counted and left alone.
        """
        found = hints.parse(body)
        self.take(found, correlation_id=correlation_id)
        return len(found)

    def take(self, found: Sequence[hints.Hint], *, correlation_id: str) -> None:
        """Enqueue valid hints."""
        wanted = [hint for hint in found if self.routes.is_shared_object(hint.sobject, hint.record_type)]
        self.sync.send([_look(hint, correlation_id) for hint in wanted])


def _look(hint: hints.Hint, correlation_id: str) -> SyncMessage:
    return SyncMessage(
        correlation_id=f"{correlation_id}.{hint.id}",
        origin="salesforce",
        committed_at=hint.at,
        sobject=hint.sobject,
        salesforce_id=hint.id,
        change=hint.change,
        record_type=hint.record_type,
        master_id=hint.master_id,
    )
