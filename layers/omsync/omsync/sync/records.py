"""What the synchroniser knows of a shared record: both sides as read, and the ledger's item about it.

    RecordKey    table and OMS id: the record's name everywhere
    OmsRow       the OMS's row, with the time each shared column was last edited
    SalesforceRecord  the Salesforce record, with save count and the stamps of people's edits
    Item         the ledger's knowledge: base (a `Mark` per unit), intent, holds, revision. No values: hashes, counts, times

Times are whole microseconds since 1970, UTC; 0 is "never".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from omsync.mapping.model import Json, Owner, Policy
from omsync.platform.errors import OmsyncError

#: the OMS's time in the base of a unit that it edited since: unlike any real one, so that it counts as moved
EDITED_SINCE = -1

type Side = Literal["oms", "salesforce"]
#: a unit's value: Salesforce field -> normal form; a lookup's normal form is its parent's OMS id
type UnitValue = Mapping[str, Json]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: who the OMS notes in `changed_by` for our writes
CHANGED_BY = "sync:salesforce"


class RecordKey(NamedTuple):
    """A record by its OMS id."""

    table: str
    id: str

    def __str__(self) -> str:
        return f"{self.table}/{self.id}"


class SalesforceRef(NamedTuple):
    """A record by its Salesforce id, as a hint from Salesforce names it."""

    object: str
    id: str

    def __str__(self) -> str:
        return f"{self.object}/{self.id}"


def to_iso(micros: int) -> str:
    """Microseconds -> `YYYY-MM-DDTHH:MM:SS.ffffffZ`, the OMS's timestamps."""
    return (EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_iso(text: str) -> int:
    """Any ISO 8601 time with an offset -> microseconds."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


type RecordRef = RecordKey | SalesforceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What is merged as one: a field, or an address as a whole."""

    name: str
    owner: Owner
    policy: Policy
    parent: str | None = None  # the table a lookup points to
    insert_only: bool = False  # append-only objects: written with the insert, never again


@dataclass(frozen=True, slots=True)
class Command:
    """A request that Salesforce's people set and the OMS executes once."""

    column: str
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OmsRow:
    """A row as the OMS's API gives it. `edited_at` is None where the OMS keeps no times per column."""

    key: RecordKey
    version: int
    values: Mapping[str, Json]
    edited_at: Mapping[str, int] | None = None
    changed_by: str = ""
    deleted: bool = False

    def with_values(self, values: Mapping[str, Json]) -> OmsRow:
        return replace(self, values={**self.values, **values})


class Stamp(NamedTuple):
    """A person's last edit of a field: the save that made it, and when."""

    save: int
    at: int


class Parent(NamedTuple):
    """Whom a lookup names: its Salesforce id, and its OMS id unless it has none yet."""

    object: str
    salesforce_id: str
    oms_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SalesforceRecord:
    """A record as Salesforce's API gives it; `deleted` ones (recycle bin) included. `fields` are raw, `parents` per lookup field."""

    object: str
    id: str
    oms_id: str | None
    fields: Mapping[str, Json]
    parents: Mapping[str, Parent] = field(default_factory=dict)
    record_type: str | None = None
    version: int | None = None  # OMS_Version__c
    save: int = 0  # Sync_Save__c
    write: str | None = None  # Sync_Write__c: the intent whose write it took last
    stamps: Mapping[str, Stamp] = field(default_factory=dict)  # Sync_Stamps__c
    deleted: bool = False
    master_id: str | None = None  # the winner it was merged into


class Mark(NamedTuple):
    """A unit's base: what both sides agreed on, and where each side stood then. Each side is compared only with its own part."""

    digest: str
    save: int  # Salesforce's save count of a person's last edit of the unit
    edited_at: int | None  # the OMS's time of its last edit there


@dataclass(frozen=True, slots=True)
class Hold:
    """A unit that waits for a human. `case` is the key of its Case; save and time tell whether a side moved since."""

    case: str
    reason: Literal["conflict", "refused"]
    save: int
    edited_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is about to be written, saved before the first effect. Its id is the PATCH's Idempotency-Key and Salesforce's Sync_Write__c."""

    id: str
    patches: bool = False  # a PATCH goes out under `id`
    to_oms: Mapping[str, Mark] = field(default_factory=dict)  # units that the PATCH carries, as they were read
    to_salesforce: Mapping[str, Mark] = field(default_factory=dict)  # base of the units that Salesforce will have taken
    seen: int = 0  # the save count without which Salesforce refuses the write; 0: it is an insert
    gone: bool | None = None  # the PATCH deletes (True) or restores (False) the row
    births: tuple[Mapping[str, Mark], ...] = ()  # a create goes out; one entry for each attempt: what it carried


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to insert where Salesforce has no unique key to refuse a second insert."""

    holder: str
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """The ledger's item. `revision` counts its saves; 0 is not saved yet."""

    key: RecordKey
    revision: int = 0
    object: str | None = None
    salesforce_id: str | None = None
    buried: str | None = None  # a former Salesforce id that no undelete brings back
    version: int | None = None  # the OMS version that Salesforce has
    save: int = 0  # Salesforce's save count after our last look or write: tells the sweep what is new
    base: Mapping[str, Mark] = field(default_factory=dict)
    held: Mapping[str, Hold] = field(default_factory=dict)
    intent: Intent | None = None
    afloat: tuple[Intent, ...] = ()  # given up, but their write to Salesforce may still land
    gone: bool = False  # deleted in Salesforce, which owns it: so we soft-deleted the row
    merged_into: str | None = None  # OMS id of the winner of a merge in Salesforce: this item is retired
    relink: bool = False  # its children's lookups are to be written again
    lease: Lease | None = None
    files: str = ""  # digest of the texts that were attached as files, being too long for their fields
    mapping: str = ""  # fingerprint of the mapping that wrote it

    @property
    def known(self) -> bool:
        return self.revision > 0

    def moved_to(self, record_id: str | None) -> Item:
        """The item with another record in Salesforce, or none yet. Its counts start anew."""
        base = {unit: mark._replace(save=0) for unit, mark in self.base.items()}
        afloat = tuple(intent for intent in self.afloat if intent.seen == 0)
        buried = self.salesforce_id if record_id is None else None
        return replace(self, salesforce_id=record_id, buried=buried, save=0, base=base, afloat=afloat, files="")


type OutcomeKind = Literal["in_step", "written", "skipped", "ignored", "retired", "retryable", "permanent"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one ref. `error` for retryable and permanent; `reason` says why a record was skipped or ignored.

    `brought`: the sides whose changes were carried to the other one, and since when those had waited (None: it cannot be told).
    """

    kind: OutcomeKind
    key: RecordKey | None = None
    reason: str = ""
    error: OmsyncError | None = None
    brought: Mapping[Side, int | None] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.error is None
