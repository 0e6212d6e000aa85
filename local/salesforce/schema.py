"""The org's schema as data: objects, fields, relationships, record types, rules. Pure; nothing here touches a database.

An `Org` is built once (`schema_source.load_org`) from the standard objects in `standard.py` and the DX project in `salesforce/`.
Names are looked up case-insensitively everywhere, as Salesforce does, and answered in their declared spelling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property


class Kind(StrEnum):
    """A field's type in the words of the metadata API."""

    ID = "Id"
    TEXT = "Text"
    TEXT_AREA = "TextArea"
    LONG_TEXT = "LongTextArea"
    HTML = "Html"
    PICKLIST = "Picklist"
    MULTI_PICKLIST = "MultiselectPicklist"
    CHECKBOX = "Checkbox"
    NUMBER = "Number"
    INTEGER = "Integer"  # standard fields only: `int` in describe
    CURRENCY = "Currency"
    PERCENT = "Percent"
    DATE = "Date"
    DATETIME = "DateTime"
    EMAIL = "Email"
    PHONE = "Phone"
    URL = "Url"
    LOOKUP = "Lookup"
    MASTER_DETAIL = "MasterDetail"
    AUTO_NUMBER = "AutoNumber"
    BASE64 = "Base64"
    ADDRESS = "Address"  # compound: no column of its own
    ID_LIST = "IdList"  # EmailMessage.ToIds: a list of ids, stored joined by `;`


DESCRIBE_TYPE: dict[Kind, str] = {
    Kind.ID: "id",
    Kind.TEXT: "string",
    Kind.TEXT_AREA: "textarea",
    Kind.LONG_TEXT: "textarea",
    Kind.HTML: "textarea",
    Kind.PICKLIST: "picklist",
    Kind.MULTI_PICKLIST: "multipicklist",
    Kind.CHECKBOX: "boolean",
    Kind.NUMBER: "double",
    Kind.INTEGER: "int",
    Kind.CURRENCY: "currency",
    Kind.PERCENT: "percent",
    Kind.DATE: "date",
    Kind.DATETIME: "datetime",
    Kind.EMAIL: "email",
    Kind.PHONE: "phone",
    Kind.URL: "url",
    Kind.LOOKUP: "reference",
    Kind.MASTER_DETAIL: "reference",
    Kind.AUTO_NUMBER: "string",
    Kind.BASE64: "base64",
    Kind.ADDRESS: "address",
    Kind.ID_LIST: "string",
}
SOAP_TYPE: dict[str, str] = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "int": "xsd:int",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "base64": "xsd:base64Binary",
    "address": "urn:address",
}
NUMERIC = frozenset({Kind.NUMBER, Kind.INTEGER, Kind.CURRENCY, Kind.PERCENT})
REFERENCES = frozenset({Kind.LOOKUP, Kind.MASTER_DETAIL})
TEXTUAL = frozenset(
    {
        Kind.TEXT,
        Kind.TEXT_AREA,
        Kind.LONG_TEXT,
        Kind.HTML,
        Kind.PICKLIST,
        Kind.MULTI_PICKLIST,
        Kind.EMAIL,
        Kind.PHONE,
        Kind.URL,
        Kind.AUTO_NUMBER,
        Kind.BASE64,
        Kind.ID_LIST,
    }
)


class OnParentDelete(StrEnum):
    """What deleting a parent does to its children (`deleteConstraint`)."""

    SET_NULL = "SetNull"
    CASCADE = "Cascade"
    RESTRICT = "Restrict"


@dataclass(slots=True, frozen=True)
class PicklistValue:
    """One entry. `closed` and `category` are the extras of CaseStatus and OrderStatus."""

    value: str
    label: str
    active: bool = True
    default: bool = False
    closed: bool = False
    category: str | None = None  # OrderStatus: "Draft", "Activated", ...


@dataclass
class FieldType:
    """One field. `length` counts UTF-16 units; `scale` digits after the point; `precision` all digits.

    `read_only` fields are set by the system alone (`createable` and `updateable` are both false). `person` names, on Account,
    the Contact field of which this one is the same value (`PersonEmail` -> `Email`, `X__pc` -> `X__c`).
    """

    name: str
    label: str
    kind: Kind
    length: int = 0
    precision: int = 0
    scale: int = 0
    required: bool = False
    unique: bool = False
    external_id: bool = False
    case_sensitive: bool = False
    id_lookup: bool = False
    picklist: tuple[PicklistValue, ...] = ()
    restricted: bool = False
    default: str | bool | float | None = None
    references: tuple[str, ...] = ()
    relationship: str | None = None  # parent relationship: `Account`, `Patient__r`
    child_relationship: str | None = None  # its name on the parent: `Orders`, `Consents__r`
    on_delete: OnParentDelete = OnParentDelete.SET_NULL
    reparentable: bool = True
    createable: bool = True
    updateable: bool = True
    nillable: bool = True
    custom: bool = False
    compound: str | None = None
    extra: str | None = None  # describe's extraTypeInfo
    display_format: str | None = None  # AutoNumber: `C-{0000}`
    person: str | None = None
    permissionable: bool = True  # field-level security applies
    help: str | None = None
    description: str | None = None

    @property
    def describe_type(self) -> str:
        return DESCRIBE_TYPE[self.kind]

    @property
    def soap_type(self) -> str:
        return SOAP_TYPE.get(DESCRIBE_TYPE[self.kind], "xsd:string")

    @property
    def read_only(self) -> bool:
        return not (self.createable or self.updateable)

    @property
    def stored(self) -> bool:
        """Whether the object's table has a column of this name (compound fields have none)."""
        return self.kind is not Kind.ADDRESS

    @property
    def is_reference(self) -> bool:
        return self.kind in REFERENCES

    @property
    def is_number(self) -> bool:
        return self.kind in NUMERIC

    @property
    def is_text(self) -> bool:
        return self.kind in TEXTUAL

    @property
    def filterable(self) -> bool:
        """Long text can't stand in a WHERE, ORDER BY or GROUP BY."""
        return not (self.kind in {Kind.LONG_TEXT, Kind.HTML, Kind.BASE64} or (self.kind is Kind.TEXT_AREA and self.length > 255))

    @property
    def groupable(self) -> bool:
        ungroupable = {Kind.NUMBER, Kind.CURRENCY, Kind.PERCENT, Kind.DATETIME, Kind.ADDRESS, Kind.MULTI_PICKLIST, Kind.AUTO_NUMBER}
        return self.filterable and self.kind not in ungroupable

    @property
    def upsert_key(self) -> bool:
        """Whether an upsert may name this field."""
        return self.external_id or self.id_lookup or self.kind is Kind.ID

    @cached_property
    def values(self) -> dict[str, str]:
        """Active picklist values by lower case (Salesforce compares without case and stores the declared spelling)."""
        return {v.value.lower(): v.value for v in self.picklist if v.active}


@dataclass(slots=True, frozen=True)
class ChildRelationship:
    """Seen from the parent: `child.field` points here; `name` is how SOQL subqueries call it (None: it can't be queried)."""

    child: str
    field: str
    name: str | None
    on_delete: OnParentDelete


@dataclass(slots=True)
class RecordType:
    """A record type; `id` is the same in every store, derived from its order in the org."""

    object: str
    developer_name: str
    label: str
    active: bool = True
    person: bool = False  # person-account record types make Account rows people
    description: str | None = None
    id: str = ""


@dataclass(slots=True, frozen=True)
class ValidationRule:
    """A rule refuses a save when its formula is true."""

    object: str
    name: str
    formula: str
    message: str
    field: str | None = None  # errorDisplayField
    active: bool = True


@dataclass
class ObjectType:
    """One object: fields in describe's order, keyed by declared name. Use `field()` for a lookup without case."""

    name: str
    label: str
    plural: str
    key_prefix: str | None
    fields: dict[str, FieldType] = field(default_factory=dict)
    children: list[ChildRelationship] = field(default_factory=list)
    record_types: dict[str, RecordType] = field(default_factory=dict)  # by developer name
    rules: list[ValidationRule] = field(default_factory=list)
    custom: bool = False
    event: bool = False  # a platform event (`__e`): published, never stored
    queryable: bool = True
    createable: bool = True
    updateable: bool = True
    deletable: bool = True
    undeletable: bool = True
    mergeable: bool = False
    searchable: bool = True
    layoutable: bool = True
    replicateable: bool = True
    triggerable: bool = True
    name_field: str | None = "Name"

    @cached_property
    def _by_lower(self) -> dict[str, FieldType]:
        return {name.lower(): f for name, f in self.fields.items()}

    @cached_property
    def _relationships(self) -> dict[str, FieldType]:
        return {f.relationship.lower(): f for f in self.fields.values() if f.relationship and f.references}

    @cached_property
    def _children_by_name(self) -> dict[str, ChildRelationship]:
        return {c.name.lower(): c for c in self.children if c.name}

    def field(self, name: str) -> FieldType | None:
        """The field of this name in any case."""
        return self._by_lower.get(name.lower())

    def relationship(self, name: str) -> FieldType | None:
        """The lookup whose parent relationship has this name (`Patient__r`, `Account`)."""
        return self._relationships.get(name.lower())

    def child(self, name: str) -> ChildRelationship | None:
        """The child relationship of this name (`Contacts`, `Orders__r`)."""
        return self._children_by_name.get(name.lower())

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the table's columns, `Id` first."""
        return tuple(f.name for f in self.fields.values() if f.stored)

    @cached_property
    def external_ids(self) -> tuple[FieldType, ...]:
        return tuple(f for f in self.fields.values() if f.external_id)

    @cached_property
    def unique_fields(self) -> tuple[FieldType, ...]:
        return tuple(f for f in self.fields.values() if f.unique)

    @cached_property
    def compounds(self) -> dict[str, tuple[FieldType, ...]]:
        """`BillingAddress` -> its parts (`BillingStreet`, ...)."""
        return {
            f.name: tuple(p for p in self.fields.values() if p.compound == f.name) for f in self.fields.values() if f.kind is Kind.ADDRESS
        }

    def record_type_by_id(self, record_id: str) -> RecordType | None:
        return next((r for r in self.record_types.values() if r.id == record_id), None)

    def seal(self) -> None:
        """Forget what was derived, after fields were added."""
        for name in ("_by_lower", "_relationships", "_children_by_name", "columns", "external_ids", "unique_fields", "compounds"):
            self.__dict__.pop(name, None)


@dataclass(slots=True)
class PermissionSet:
    """What a permission set grants. `fields` and `objects` are keyed by lower-case API name."""

    name: str
    label: str
    fields: dict[str, tuple[bool, bool]] = field(default_factory=dict)  # "account.phone" -> (readable, editable)
    objects: dict[str, frozenset[str]] = field(
        default_factory=dict
    )  # "account" -> {"create", "read", "edit", "delete", "viewall", "modifyall"}
    custom_permissions: frozenset[str] = frozenset()
    user_permissions: frozenset[str] = frozenset()
    record_types: frozenset[str] = frozenset()
    all: bool = False  # System Administrator: everything but custom permissions


@dataclass(slots=True, frozen=True)
class SyncField:
    """A shared field: custom metadata `Sync_Field.<Object>_<Field>`; a person's edit of it is stamped."""

    object: str
    field: str
    record_types: frozenset[str]  # developer names; empty: every record type


@dataclass
class Org:
    """Everything the metadata says. Objects are keyed by declared name."""

    objects: dict[str, ObjectType] = field(default_factory=dict)
    permission_sets: dict[str, PermissionSet] = field(default_factory=dict)
    queues: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)  # developer name -> (label, object names)
    sync_fields: tuple[SyncField, ...] = ()
    triggers: dict[str, frozenset[str]] = field(default_factory=dict)  # object -> {"before insert", "after delete", ...}
    trigger_names: dict[str, str] = field(default_factory=dict)  # trigger -> object
    metadata_records: Mapping[str, Mapping[str, str | float | bool | None]] = field(default_factory=dict)  # "Sync_Field.X" -> values
    settings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _by_lower(self) -> dict[str, ObjectType]:
        return {name.lower(): o for name, o in self.objects.items()}

    @cached_property
    def _by_prefix(self) -> dict[str, ObjectType]:
        return {o.key_prefix: o for o in self.objects.values() if o.key_prefix}

    def object(self, name: str) -> ObjectType | None:
        """The object of this API name in any case."""
        return self._by_lower.get(name.lower())

    def object_of_id(self, record_id: str) -> ObjectType | None:
        """The object an id belongs to, by its key prefix."""
        return self._by_prefix.get(record_id[:3])

    def __iter__(self) -> Iterator[ObjectType]:
        return iter(self.objects.values())

    def seal(self) -> None:
        """Derive child relationships, key prefixes and record type ids; call once, after all is loaded."""
        self.__dict__.pop("_by_lower", None)
        self.__dict__.pop("_by_prefix", None)
        for obj in self.objects.values():
            obj.children.clear()
        for obj in self.objects.values():
            for f in obj.fields.values():
                for target in f.references if not obj.event else ():
                    parent = self.objects.get(target)
                    if parent is not None:
                        parent.children.append(ChildRelationship(obj.name, f.name, f.child_relationship, f.on_delete))
        for obj in self.objects.values():
            obj.seal()
