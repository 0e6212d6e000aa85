"""What a table's mapping says, resolved: the one description that everything else derives from.

    Mappings -> TableMapping -> Column           one side: the OMS's table
                             -> Target -> Field  other side: the Salesforce object
                             -> Unit             what is merged as one: a field, or an address

Built by `omsync.mapping.load` from `tables/*.yaml` (format: `omsync.mapping.files`). Immutable, pure, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

type Json = str | int | float | bool | list[Json] | dict[str, Json] | None
type Row = Mapping[str, Json]  # an OMS row in the API's JSON shape

type Mode = Literal["mirrored", "shared", "embedded", "matched"]
type Owner = Literal["oms", "salesforce", "both"]
type Policy = Literal["latest", "oms", "salesforce", "manual", "revoked_wins"]
type Phi = Literal["I", "C", "F"]  # identifier (HIPAA's 18), clinical, financial
type FieldType = Literal[
    "Text", "TextArea", "LongTextArea", "Html", "Email", "Phone", "Url", "Picklist", "MultiselectPicklist",
    "Checkbox", "Number", "Currency", "Date", "DateTime", "Lookup", "MasterDetail",
]  # fmt: skip


#: `OMS_Id__c` of the one User ("Migration Owner") that stands in for staff without a User of their own
DEFAULT_OWNER_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds for a row when every named column has one of its values. `born_in` reads the id: see `born_in`."""

    values: Mapping[str, tuple[Json, ...]]

    def __call__(self, row: Row) -> bool:
        return all((born_in(row) if column == "born_in" else row[column]) in values for column, values in self.values.items())

    def __str__(self) -> str:
        parts = (f"{c} is {' or '.join('null' if v is None else str(v).lower() for v in values)}" for c, values in self.values.items())
        return " and ".join(parts)


def born_in(row: Row) -> Literal["oms", "salesforce"]:
    """Where a row was born: the sync gives a record born in Salesforce a version 5 UUID of its Salesforce id; the OMS draws version 4."""
    return "salesforce" if str(row["id"])[14:15] == "5" else "oms"


@dataclass(frozen=True, slots=True)
class Birth:
    """A column's value in a row that is born in Salesforce without one: by another column's value."""

    column: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of an OMS table. `type`, `default` and `check` are PostgreSQL's words."""

    name: str
    type: str  # text, char(n), uuid, boolean, integer, bigint, numeric(p,s), date, timestamptz, text[], jsonb, inet, xid8
    nullable: bool = True
    default: str | None = None
    unique: bool = False
    choices: tuple[str, ...] | None = None  # CHECK (column IN (...))
    check: str | None = None  # any other CHECK
    references: str | None = None  # table
    phi: Phi | None = None
    owner: Owner = "oms"
    policy: Policy = "oms"
    unit: str = ""
    revoked: bool | Literal["set"] | None = None  # the value that means "revoked", for policy revoked_wins; "set" = any but null
    not_sent: str | None = None  # why, if no Salesforce field carries it
    command: bool = False  # Salesforce asks, the OMS executes once, then clears
    generated: bool = False  # the OMS fills it in a row that is born in Salesforce
    birth: Birth | None = None
    only: tuple[str, ...] | None = None  # any other value is refused on its way to Salesforce
    common: bool = False

    @property
    def length(self) -> int | None:
        """n of char(n), else None (text is unbounded)."""
        return int(self.type[5:-1]) if self.type.startswith("char(") else None

    @property
    def required(self) -> bool:
        """A create must bring it: NOT NULL, no default, filled by nobody else."""
        return not self.nullable and self.default is None and not self.generated and self.birth is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """How a record names its parent: `{relationship: {external_id: <the parent's OMS id>}}`."""

    object: str
    relationship: str  # Patient__r, Account
    external_id: str = "OMS_Id__c"
    table: str | None = None  # the OMS table the id is of
    many: bool = False  # the field is a list of Salesforce ids (EmailMessage.ToIds): the writer resolves it, only REST takes it
    polymorphic: bool = False  # JSON needs attributes.type, CSV the prefix `Account:`
    missing: Literal["wait", "default_owner"] = "wait"  # no such parent: it is still to come, or (staff) the default owner stands in


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """A Salesforce field and how it is filled. `sources` are columns, or paths such as `shipping_address.line1`, `attribution.source`."""

    name: str
    object: str
    label: str
    type: FieldType
    length: int | None = None  # UTF-16 units, as Salesforce counts
    precision: int | None = None
    scale: int | None = None
    sources: tuple[str, ...] = ()
    transform: str = "text"
    values: Mapping[str, Json] | None = None  # of the transform `map`: OMS value -> Salesforce value
    owner: Owner = "oms"
    policy: Policy = "oms"
    unit: str = ""
    phi: Phi | None = None
    required: bool = False
    unique: bool = False
    external_id: bool = False
    picklist: tuple[str, ...] = ()
    restricted: bool = False
    references: Reference | None = None
    create_only: bool = False  # sent when the record is created, never again
    insert_only: bool = False  # only a plain insert takes it (audit fields): neither upsert nor update
    second_pass: bool = False  # a reference to its own table: written once all of the table's records are there
    history: bool = True  # False: live writes only; the migration leaves it out and nothing compares it
    compare: bool = True  # False: Salesforce may change it by itself
    omit_null: bool = False  # null is left out instead of written (OwnerId)
    back: bool = False  # flows to the OMS as well
    match_only: bool = False  # read to find the record, never written
    feature: str | None = None  # only in orgs that have it: multi_currency
    withheld_when: Condition | None = None  # the row's text stays in the OMS: null is sent, nothing flows back
    overflow_file: bool = False  # text beyond `length` goes into a file, the field holds its beginning and never flows back
    guards: tuple[str, ...] = ()  # checkboxes that tell, in Salesforce, that this field is withheld or cut
    system: bool = False  # derived for every target, not written in its file

    @property
    def custom(self) -> bool:
        return self.name.endswith(("__c", "__pc"))

    @property
    def metadata_object(self) -> str:
        """Where the field is created: a Person Account's `X__pc` is Contact's `X__c`."""
        return "Contact" if self.name.endswith("__pc") else self.object

    @property
    def metadata_name(self) -> str:
        return f"{self.name[:-4]}__c" if self.name.endswith("__pc") else self.name

    @property
    def compared(self) -> bool:
        """Does reconciliation compare it? Not what history leaves out, nor copies only an insert or an org's feature fills."""
        return self.compare and self.history and not self.insert_only and not self.match_only

    @property
    def path(self) -> str:
        """How SOQL and Bulk name it: `Patient__r.OMS_Id__c` for a reference, else the field's name."""
        if self.references is None or self.references.polymorphic:
            return self.name
        return f"{self.references.relationship}.{self.references.external_id}"

    @property
    def type_text(self) -> str:
        """As Setup shows it: Text(40), Number(5,1), Lookup(Account)."""
        if self.references is not None:
            return f"{self.type}({self.references.object})"
        if self.precision is not None:
            return f"{self.type}({self.precision},{self.scale})"
        return f"{self.type}({self.length})" if self.length and self.type in ("Text", "LongTextArea", "Html") else self.type


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A field with the same value in every record: a literal, a parent by external id, or an id that only the org knows."""

    field: str
    value: Json = None
    reference: Reference | None = None  # `value` is the parent's external id
    org: str | None = None  # `record_type:Account.Patient`, `standard_price_book`: resolved by the writer
    create_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """A Salesforce object that rows of a table are written to."""

    object: str
    label: str
    plural_label: str
    external_id: str = "OMS_Id__c"
    record_types: tuple[str, ...] = ()  # empty: the object has none of ours
    record_type_column: str | None = None  # the column that chooses among several
    record_type_values: Mapping[str, str] = field(default_factory=dict)
    when: Condition | None = None
    constants: tuple[Constant, ...] = ()
    fields: Mapping[str, Field] = field(default_factory=dict)  # the common columns' fields included
    sync_fields: Mapping[str, Field] = field(default_factory=dict)  # Sync_Save__c ...: kept by triggers and the synchroniser
    match: tuple[str, ...] = ()  # matched tables: fields that identify the record, best first
    auto_number: str | None = None  # display format of Name, where no column fills it
    sharing: Literal["Private", "ReadWrite", "Read", "ControlledByParent"] = "Private"

    @property
    def all_fields(self) -> Mapping[str, Field]:
        return {**self.fields, **self.sync_fields}

    def record_type(self, row: Row) -> str | None:
        """Developer name of the row's record type."""
        if self.record_type_column is None:
            return self.record_types[0] if self.record_types else None
        return self.record_type_values[str(row[self.record_type_column])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What is merged as one: a column with its fields, or an address as a whole."""

    name: str
    owner: Owner
    policy: Policy
    columns: tuple[str, ...]  # top-level names in the row and in a PATCH; `edited_at` of the unit is their latest
    fields: Mapping[str, tuple[str, ...]]  # object -> fields whose values are compared and stamped
    command: bool = False
    lock: Condition | None = None  # while it holds for the OMS's row, the OMS owns the unit whatever `owner` says
    revoked: Mapping[str, Json] = field(default_factory=dict)  # field -> normal value that means revoked ("set": any but null)

    def owner_for(self, row: Row) -> Owner:
        return "oms" if self.lock is not None and self.lock(row) else self.owner

    def is_revoked(self, values: Mapping[str, Json]) -> bool:
        """Do these normal values (field -> value) say revoked? For policy `revoked_wins`."""
        return any(values.get(name) is not None if mark == "set" else values.get(name) == mark for name, mark in self.revoked.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Rows that are not sent by rule."""

    when: Condition
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A row of another table that travels inside this one's: the default shipping address inside its patient."""

    name: str
    table: str
    where: Condition


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableMapping:
    """Everything about one OMS table."""

    table: str
    number: int  # as listed in the schema; load order within a wave
    purpose: str
    mode: Mode
    run: int
    wave: str
    policy: Policy
    columns: Mapping[str, Column]
    targets: tuple[Target, ...]
    units: Mapping[str, Unit] = field(default_factory=dict)
    embedded: Mapping[str, Embedded] = field(default_factory=dict)
    skips: tuple[Skip, ...] = ()
    born_in: tuple[str, ...] = ("oms",)
    cutover_run: int | None = None  # until this run's certificate the OMS owns every column
    patient_keyed: bool = False  # a row as a whole is PHI
    notes: tuple[str, ...] = ()

    def skip_reason(self, row: Row) -> str | None:
        """Why a row is not sent by rule; None if it is sent."""
        return next((skip.reason for skip in self.skips if skip.when(row)), None)

    def targets_for(self, row: Row) -> tuple[Target, ...]:
        """The objects a row is written to, in the order they must be written; none if it is not sent by rule."""
        if self.skip_reason(row) is not None:
            return ()
        return tuple(target for target in self.targets if target.when is None or target.when(row))

    def target_for(self, row: Row) -> Target | None:
        """The first of `targets_for`, or None."""
        return next(iter(self.targets_for(row)), None)

    def target(self, object_name: str) -> Target:
        return next(target for target in self.targets if target.object == object_name)

    @property
    def own_columns(self) -> dict[str, Column]:
        return {name: column for name, column in self.columns.items() if not column.common}

    @property
    def shared_columns(self) -> tuple[str, ...]:
        """Columns that Salesforce may write (owner salesforce or both): `edited_at` holds a time for each."""
        return tuple(name for name, column in self.columns.items() if column.owner != "oms")

    @property
    def command(self) -> Column | None:
        return next((column for column in self.columns.values() if column.command), None)

    @property
    def has_sync_fields(self) -> bool:
        return any(target.sync_fields for target in self.targets)


class Mappings:
    """All tables. Iterating gives the `TableMapping`s in load order (run, wave, number): parents before children."""

    def __init__(self, tables: Iterable[TableMapping]) -> None:
        self._tables = {mapping.table: mapping for mapping in sorted(tables, key=lambda mapping: (mapping.wave, mapping.number))}

    def __getitem__(self, table: str) -> TableMapping:
        return self._tables[table]

    def __contains__(self, table: object) -> bool:
        return table in self._tables

    def __iter__(self) -> Iterator[TableMapping]:
        return iter(self._tables.values())

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def tables(self) -> tuple[str, ...]:
        """Names in load order."""
        return tuple(self._tables)

    def for_record(self, object_name: str, record_type: str | None = None) -> TableMapping | None:
        """The table a Salesforce record belongs to; None: a record type that no mapping names, never synced."""
        for mapping in self:
            for target in mapping.targets:
                if target.object == object_name and (not target.record_types or record_type in target.record_types):
                    return mapping
        return None

    def objects(self) -> dict[str, list[tuple[TableMapping, Target]]]:
        """object -> the tables written to it (Account: patients and pharmacies)."""
        found: dict[str, list[tuple[TableMapping, Target]]] = {}
        for mapping in self:
            for target in mapping.targets:
                found.setdefault(target.object, []).append((mapping, target))
        return found
