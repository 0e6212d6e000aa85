"""What the org's Apex does on save. Lay it beside `SharedRecords.cls`: `count`, `stamps`, `announce`, `hint` do what its methods do.

Before a save of a shared object it counts the save in Sync_Save__c, whoever saves, and stamps the shared fields that a person edits in
Sync_Stamps__c. After a save, delete, undelete or merge by a person it publishes Record_Changed__e. Which objects and events: the triggers
in the metadata. Which fields and record types: the Sync_Field custom metadata. A Case that a person opens, closes or reopens says when
(`CaseTimes.cls`: `tell_case_times`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from local.salesforce.context import Context
from local.salesforce.dml_types import Row, Stored
from local.salesforce.schema import ObjectType, Org
from local.salesforce.store import Transaction

SAVE = "Sync_Save__c"
STAMPS = "Sync_Stamps__c"
EVENT = "Record_Changed__e"
INTEGRATION_CASE = "Integration"
_CHANGE = {"after insert": "CREATE", "after update": "UPDATE", "after delete": "DELETE", "after undelete": "UNDELETE"}


@dataclass(slots=True)
class SharedRecords:
    """The handler of one object's trigger."""

    object: ObjectType
    events: frozenset[str]  # "before insert", ... as in the trigger's header
    fields: tuple[str, ...]  # shared fields (Sync_Field__mdt.Field__c)
    record_types: frozenset[str]  # developer names; empty: every record is shared
    names_by_id: dict[str, str]  # record type id -> developer name

    @property
    def sets(self) -> frozenset[str]:
        """The fields that the before triggers may set."""
        times = {"Opened_At__c", "Closed_At__c"} & self.object.fields.keys() if self.object.name == "Case" else set()
        return frozenset({SAVE, STAMPS} | times) if self.fields else frozenset()

    @property
    def reads(self) -> frozenset[str]:
        """The columns of a stored record that the triggers look at."""
        return frozenset({*self.fields, *self.sets, "RecordTypeId", "MasterRecordId", "Status", "IsClosed", "TotalAmount"})

    # --- before save -------------------------------------------------------------------------------------------------

    def count(self, rows: Iterable[tuple[Row, Row | None]], context: Context, now: str) -> None:
        """(new, old) of each record about to be saved. Both fields follow from the stored record; what a client sent is lost."""
        if not self.fields:
            return
        by_person = context.is_person
        timed = self.object.name == "Case" and "Closed_At__c" in self.object.fields  # CaseTimes
        closed = frozenset(v.value for v in self.object.fields["Status"].picklist if v.closed) if timed else None
        for record, before in rows:
            event = "before insert" if before is None else "before update"
            if event not in self.events:
                continue
            if by_person and closed is not None:
                tell_case_times(record, before, closed, now)
            if not self.is_shared(record) or self.is_roll_up(record, before):
                continue
            saves = int((before and before[SAVE]) or 0) + 1
            record[SAVE] = float(saves)
            record[STAMPS] = self.stamps(record, before, saves, now, by_person=by_person)

    def stamps(self, record: Row, before: Row | None, saves: int, now: str, *, by_person: bool) -> Stored:
        stored = before[STAMPS] if before else None
        if not by_person:
            return stored
        stamps = parsed(stored)
        for name in self.fields:
            if record[name] != (before[name] if before else None):
                stamps[name] = [saves, now]
        return json.dumps(stamps, separators=(",", ":")) if stamps else None

    # --- after save --------------------------------------------------------------------------------------------------

    def announce(self, event: str, rows: Iterable[tuple[Row, Row | None]], context: Context, tx: Transaction) -> None:
        """`event` is "after insert", "after update", "after delete" or "after undelete"; rows are (record, before it)."""
        if event not in self.events or not context.is_person:
            return
        hints = [
            (EVENT, self.hint(record, event, tx.now))
            for record, before in rows
            if self.is_shared(record) or (event == "after update" and self.is_closed_integration_case(record, before))
        ]
        if hints:
            tx.publish_many(hints)

    def hint(self, record: Row, event: str, now: str) -> dict[str, Stored]:
        winner = record.get("MasterRecordId") if event == "after delete" else None
        return {
            "Object__c": self.object.name,
            "Record_Id__c": record["Id"],
            "Change__c": "MERGE" if winner else _CHANGE[event],
            "Record_Type__c": self.record_type(record),
            "Save__c": record[SAVE] if self.fields else None,
            "Master_Id__c": winner,
            "At__c": now,
        }

    def is_closed_integration_case(self, record: Row, before: Row | None) -> bool:
        """Closing one of our own Cases accepts Salesforce's value of the field it was opened for."""
        return (
            self.object.name == "Case"
            and before is not None
            and self.record_type(record) == INTEGRATION_CASE
            and bool(record["IsClosed"])
            and not before["IsClosed"]
        )

    def is_roll_up(self, record: Row, before: Row | None) -> bool:
        """The save of an order that one of its lines caused; nobody edited the order."""
        return self.object.name == "Order" and before is not None and record["TotalAmount"] != before["TotalAmount"]

    def is_shared(self, record: Row) -> bool:
        return not self.record_types or self.record_type(record) in self.record_types

    def record_type(self, record: Row) -> str | None:
        return self.names_by_id.get(str(record.get("RecordTypeId")))


def tell_case_times(record: Row, before: Row | None, closed: frozenset[str], now: str) -> None:
    """CaseTimes.tell: Opened_At__c on insert, Closed_At__c when the status closes, empty again when it reopens."""
    if before is None and record.get("Opened_At__c") is None:
        record["Opened_At__c"] = now
    if before is not None and before["Status"] == record["Status"]:
        return
    if record["Status"] not in closed:
        record["Closed_At__c"] = None
    elif before is None or before["Status"] not in closed:
        record["Closed_At__c"] = now


def parsed(stored: Stored) -> dict[str, list[int | str]]:
    """Only the triggers write it; damaged content counts as none."""
    try:
        stamps = json.loads(stored) if isinstance(stored, str) else {}
    except ValueError:
        return {}
    return stamps if isinstance(stamps, dict) else {}


def shared_records(org: Org) -> dict[str, SharedRecords]:
    """A handler for every object that has a trigger."""
    handlers = {}
    for name, events in org.triggers.items():
        obj = org.objects.get(name)
        if obj is None or obj.event:
            continue
        fields = [s for s in org.sync_fields if s.object == name]
        known = tuple(f.name for f in (obj.field(s.field) for s in fields) if f is not None and f.stored)
        handlers[name] = SharedRecords(
            obj,
            events,
            known if SAVE in obj.fields and STAMPS in obj.fields else (),
            frozenset(t for s in fields for t in s.record_types),
            {r.id: r.developer_name for r in obj.record_types.values()},
        )
    return handlers
