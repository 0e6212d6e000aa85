"""What the synchroniser needs of the world. Adapters implement these; simulations too.

Every method takes many and answers in the same order, one answer each: a result or an `OmsyncError`, so that one bad record never
stops its neighbours. A method *raises* only what concerns the whole call (`Retryable`: nobody answers; the caller may not know what
took effect, and the synchroniser does not assume). What an adapter must answer, besides `Retryable` and `Permanent`:

    Stale          a compare-and-set lost: 412, OMSYNC_STALE, DUPLICATE_VALUE on insert, ENTITY_IS_DELETED on update, a ledger revision that moved
    Refused        the OMS will never take this PATCH or create (422); names the columns
    MissingParent  a lookup by external id found nobody
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from omsync.mapping.model import Json
from omsync.mapping.outward import File
from omsync.platform.errors import OmsyncError, Permanent, Retryable
from omsync.sync.records import (
    Command,
    Item,
    OmsRow,
    RecordKey,
    SalesforceRecord,
    SalesforceRef,
    Side,
    Stamp,
    Unit,
    UnitValue,
)

type Answers[T] = Sequence[T | OmsyncError]


class LeftOut(Permanent):
    """The record is where it belongs but for values that Salesforce cannot take. Whoever needs it as a parent may go on."""


class Refused(Permanent):
    """422: the OMS understood and will never take it. `columns` is empty where it named none."""

    def __init__(self, columns: tuple[str, ...], *, record: str | None = None) -> None:
        super().__init__(f"the OMS refuses {', '.join(columns) or 'the row'}", code="oms.refused", record=record)
        self.columns = columns


class MissingParent(Retryable):
    """`field` (`Patient__r.OMS_Id__c` as Salesforce words it) points to `external_id`, which nobody bears yet."""

    def __init__(self, message: str, *, field: str, external_id: str) -> None:
        super().__init__(message, code="MISSING_PARENT")
        self.field = field
        self.external_id = external_id


class DuplicateRecord(Retryable):
    """A record with this unique value came into being between our look and our write. `existing` is its Salesforce id where named."""

    def __init__(self, message: str, *, existing: str | None = None) -> None:
        super().__init__(message, code="DUPLICATE_VALUE")
        self.existing = existing


class CreateOnly(Permanent):
    """A field that only a create may carry was sent with an update, or one that a create needs was left out."""


# ---------------------------------------------------------------------------------------------------------------- the OMS


@dataclass(frozen=True, slots=True)
class Patch:
    """PATCH of one row. `if_match` is None for a command alone."""

    key: RecordKey
    idempotency_key: str
    if_match: int | None
    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Creation:
    """POST under an id that the caller brings: the same id twice is one row."""

    key: RecordKey
    idempotency_key: str
    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What came of the PATCH sent under this key?"""

    key: RecordKey
    idempotency_key: str


class OmsPort(Protocol):
    """The OMS's API. Rows include soft-deleted ones."""

    def read(self, keys: Sequence[RecordKey]) -> Answers[OmsRow | None]: ...

    def patch(self, patches: Sequence[Patch]) -> Answers[OmsRow]:
        """The row as the PATCH left it; a repeated Idempotency-Key gets the first answer (a 412 and a 422 too) and does nothing."""
        ...

    def settle(self, inquiries: Sequence[Inquiry]) -> Answers[OmsRow | None]:
        """The first answer of the PATCH under this key; None if it had no effect.

        Afterwards it cannot have one any more, wherever its request still travels: an unused key is used up by a PATCH that no row can
        match (`If-Match: "0"`), and answered 412 for good. That is how an intent is resolved without the values, which the ledger
        must not hold.
        """
        ...

    def create(self, creations: Sequence[Creation]) -> Answers[OmsRow]:
        """The row of that id as it is now, whoever created it."""
        ...


# ------------------------------------------------------------------------------------------------------------- Salesforce


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A write by the integration user. `id` None inserts. `fields` are JSON-ready, lookups as `{relationship: {external id: ..}}`.

    `seen` (Sync_Seen__c) is the save count that was read: Salesforce refuses the update if it has another one. None: the object keeps no
    count. `write` goes into Sync_Write__c, `version` into OMS_Version__c, `oms_id` into OMS_Id__c; each is left out if None.
    """

    object: str
    id: str | None
    fields: Mapping[str, Json]
    seen: int | None = None
    write: str | None = None
    version: int | None = None
    oms_id: str | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """The record of `object` with this OMS_Id__c."""

    object: str
    id: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """Texts that are too long for their fields, to be kept as files beside a record."""

    record: SalesforceRef
    files: tuple[File, ...]


class SalesforcePort(Protocol):
    """Salesforce's API, as the integration user."""

    def look(self, wanted: Sequence[SalesforceRef | Lookup]) -> Answers[SalesforceRecord | None]:
        """Records as they are now, those in the recycle bin included (`deleted`, `master_id`); None: purged, or never there.

        By OMS_Id__c it is the live one, else the one deleted last.
        """
        ...

    def write(self, writes: Sequence[Write]) -> Answers[str]:
        """The record's id. Grouped into Collections, allOrNone false."""
        ...

    def attach(self, attachments: Sequence[Attachment]) -> Answers[None]:
        """The same text again adds no second file."""
        ...

    def undelete(self, refs: Sequence[SalesforceRef]) -> Answers[None]:
        """Permanent: not in the recycle bin."""
        ...


# ------------------------------------------------------------------------------------------------ what Salesforce is sent
#: records in one Collections request
RECORDS_PER_COLLECTION = 200

type Verb = Literal["upsert", "update", "create", "delete"]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one record. `error` is None on success; `created` tells an insert from an update."""

    id: str | None
    created: bool
    error: OmsyncError | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """At most 200 records for one verb, as JSON-ready field maps; a delete's hold only `Id`.

    They are of one object, except that those of a create or update may say their own (`typed`), in at most ten runs. Runs are saved one
    after the other, so a record may name one of an earlier run by its external id. `singly`: each record is a subrequest of its own.
    """

    sobject: str
    verb: Verb
    records: Sequence[Mapping[str, object]]
    external_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    singly: bool = False

    def __post_init__(self) -> None:
        if len(self.records) > RECORDS_PER_COLLECTION:
            raise Permanent(f"a collection holds {RECORDS_PER_COLLECTION} records, not {len(self.records)}", code="omsync.batch")
        if (self.verb == "upsert") != (self.external_id is not None):
            raise Permanent("an upsert, and only an upsert, names its external id", code="omsync.batch")


@dataclass(frozen=True, slots=True)
class DeletedPage:
    """Ids deleted in a window; `covered` is where the next window starts."""

    ids: tuple[str, ...]
    covered: datetime


# ----------------------------------------------------------------------------------------------------------- our own stores


class LedgerPort(Protocol):
    """The ledger. Reads are strongly consistent."""

    def read(self, keys: Sequence[RecordKey]) -> Answers[Item | None]: ...

    def find(self, salesforce_ids: Sequence[str]) -> Answers[RecordKey | None]: ...

    def save(self, items: Sequence[Item]) -> Answers[Item]:
        """Save if the stored revision is still the item's (0: absent); the answer has the next one. Stale if it moved."""
        ...


type CaseStatus = Literal["none", "open", "closed"]


@dataclass(frozen=True, slots=True)
class CaseRequest:
    """A Case that asks a human about one record. `key` makes it one Case however often it is asked for. `unit` names the field: no PHI."""

    key: str
    record: RecordKey
    reason: Literal["conflict", "refused", "merged"]
    salesforce: SalesforceRef | None = None
    unit: str | None = None
    into: RecordKey | None = None  # merged: the winner


class CasePort(Protocol):
    """Service Cloud Cases for what needs a human."""

    def status(self, keys: Sequence[str]) -> Answers[CaseStatus]: ...

    def open(self, requests: Sequence[CaseRequest]) -> Answers[None]: ...

    def close(self, keys: Sequence[str]) -> Answers[None]:
        """Nothing is left to do. A Case that was never opened, or is closed, is none's concern."""
        ...


type ConflictReason = Literal["contested", "base_unknown", "owned", "altered", "deleted", "accepted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A decided conflict: who lost, and by which rule. Hashes, never values. The same `id` is the same conflict."""

    id: str
    record: RecordKey
    unit: str
    reason: ConflictReason
    policy: str
    winner: Side
    winner_digest: str
    loser_digest: str
    save: int
    edited_at: int | None


class ConflictLog(Protocol):
    def log(self, conflicts: Sequence[Conflict]) -> Answers[None]: ...


class FamilyPort(Protocol):
    """A record's relatives, where they are not the synchroniser's own business."""

    def ensure(self, parents: Sequence[RecordKey]) -> Answers[None]:
        """Write mirrored parents to Salesforce from a fresh read. Permanent: the OMS has no such row, or it is not sent by rule."""
        ...

    def relink(self, parents: Sequence[RecordKey]) -> Answers[None]:
        """Enqueue the children, shared and mirrored: their lookups were cleared, or now mean another record."""
        ...


class Clock(Protocol):
    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        ...

    def new_id(self) -> str:
        """A fresh, unguessable id (a UUID)."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    oms: OmsPort
    salesforce: SalesforcePort
    ledger: LedgerPort
    cases: CasePort
    conflicts: ConflictLog
    family: FamilyPort
    clock: Clock


# ------------------------------------------------------------------------------------------------------------- the mapping


class TableRules(Protocol):
    """A shared table's mapping, as the synchroniser uses it. Pure. Methods that carry values raise `TransformError` (Permanent)."""

    @property
    def table(self) -> str: ...
    @property
    def fingerprint(self) -> str:
        """Changes when the mapping changes."""
        ...

    @property
    def units(self) -> Mapping[str, Unit]:
        """All that is written but id and version; the command's own unit left out."""
        ...

    @property
    def guarded(self) -> bool:
        """Do its objects keep Sync_* fields? If not, records are inserted once (communications)."""
        ...

    @property
    def born_in_salesforce(self) -> bool: ...

    @property
    def record_owner(self) -> Side:
        """Who decides that a record is deleted."""
        ...

    @property
    def command(self) -> Command | None: ...

    def object_for(self, row: OmsRow) -> str: ...

    def skip_reason(self, row: OmsRow) -> str | None:
        """Why a row that is not in Salesforce is not created there."""
        ...

    def unfit(self, row: OmsRow) -> Mapping[str, Permanent]:
        """Units whose value Salesforce's field cannot hold, and why."""
        ...

    def locked(self, row: OmsRow) -> frozenset[str]:
        """Units that only the OMS may change in this row: a signed note's, a shipped order's, what is withheld or cut."""
        ...

    def merged_into(self, row: OmsRow) -> str | None:
        """The winner, of a row that was merged in the OMS."""
        ...

    def row_values(self, row: OmsRow, sobject: str) -> Mapping[str, UnitValue]: ...

    def record_values(self, record: SalesforceRecord) -> Mapping[str, UnitValue]: ...

    def edited_at(self, row: OmsRow, unit: str) -> int | None:
        """The unit's latest edit in the OMS; 0: never; None: the OMS keeps no times."""
        ...

    def stamp(self, record: SalesforceRecord, unit: str) -> Stamp | None:
        """The unit's last edit by a person in Salesforce."""
        ...

    def is_revoked(self, unit: str, value: UnitValue) -> bool: ...

    def fields(self, row: OmsRow, sobject: str, units: frozenset[str] | None) -> Mapping[str, Json]:
        """Salesforce's fields of these units, JSON-ready; None: of an insert, constants included."""
        ...

    def files(self, row: OmsRow) -> tuple[File, ...]:
        """The row's texts that their fields hold the beginning of only."""
        ...

    def columns(self, record: SalesforceRecord, units: frozenset[str]) -> Mapping[str, Json]:
        """The OMS's columns of these units, for a PATCH."""
        ...

    def birth(self, record: SalesforceRecord) -> Mapping[str, Json]:
        """The OMS's columns of a record born in Salesforce, for a create."""
        ...

    def birth_units(self, record: SalesforceRecord) -> frozenset[str]:
        """The units that a birth carries."""
        ...

    def unit_of(self, column: str) -> str | None: ...

    def parent_of(self, field: str) -> str | None:
        """The table that a lookup field points to."""
        ...

    def unit_of_field(self, field: str) -> str | None: ...

    def reference(self, unit: str, row: OmsRow) -> str | None:
        """The OMS id that a lookup's unit holds in this row."""
        ...

    def with_reference(self, unit: str, row: OmsRow, parent_id: str) -> OmsRow:
        """The row with the lookup pointing to another parent."""
        ...


class Registry(Protocol):
    """The shared tables."""

    def shared(self, table: str) -> TableRules | None:
        """None: a mirrored table."""
        ...

    def for_record(self, record: SalesforceRecord) -> TableRules | None:
        """None: no mapping names its record type, or it is mirrored."""
        ...
