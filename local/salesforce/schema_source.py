"""Load an `Org` from a Salesforce DX project: the standard objects with the project's custom metadata laid over them.

Reads, anywhere below the given folder: objects (fields, record types, validation rules), standardValueSets, globalValueSets,
permissionsets, queues, customMetadata, triggers (which events each one handles) and settings.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from local.salesforce import standard
from local.salesforce.ids import base62, make_id
from local.salesforce.schema import (
    FieldType,
    Kind,
    ObjectType,
    OnParentDelete,
    Org,
    PermissionSet,
    PicklistValue,
    RecordType,
    SyncField,
    ValidationRule,
)

_NS = "{http://soap.sforce.com/2006/04/metadata}"
_TRIGGER = re.compile(r"^\s*trigger\s+(\w+)\s+on\s+(\w+)\s*\(([^)]*)\)", re.MULTILINE | re.IGNORECASE)
_VALUE_SETS = {
    "AccountType": ("Account", "Type"),
    "Industry": ("Account", "Industry"),
    "CaseOrigin": ("Case", "Origin"),
    "CasePriority": ("Case", "Priority"),
    "CaseReason": ("Case", "Reason"),
    "CaseStatus": ("Case", "Status"),
    "CaseType": ("Case", "Type"),
    "LeadSource": ("Contact", "LeadSource"),
    "LeadStatus": ("Lead", "Status"),
    "OpportunityStage": ("Opportunity", "StageName"),
    "OrderStatus": ("Order", "Status"),
    "OrderType": ("Order", "Type"),
    "Product2Family": ("Product2", "Family"),
    "QuantityUnitOfMeasure": ("Product2", "QuantityUnitOfMeasure"),
    "Salutation": ("Contact", "Salutation"),
    "TaskPriority": ("Task", "Priority"),
    "TaskStatus": ("Task", "Status"),
    "TaskType": ("Task", "Type"),
}
_DEFAULT_LENGTH = {
    Kind.TEXT: 255,
    Kind.TEXT_AREA: 255,
    Kind.LONG_TEXT: 32768,
    Kind.HTML: 32768,
    Kind.PICKLIST: 255,
    Kind.MULTI_PICKLIST: 4099,
    Kind.EMAIL: 80,
    Kind.PHONE: 40,
    Kind.URL: 255,
    Kind.AUTO_NUMBER: 30,
}
_RIGHTS = {
    "allowCreate": "create",
    "allowRead": "read",
    "allowEdit": "edit",
    "allowDelete": "delete",
    "viewAllRecords": "viewall",
    "modifyAllRecords": "modifyall",
}


class MetadataError(ValueError):
    """A metadata file that can't be loaded: which, what, how to mend."""


class _Node:
    """One XML element, with the namespace and the Nones out of the way."""

    def __init__(self, element: ElementTree.Element, path: Path) -> None:
        self._element = element
        self.path = path

    @classmethod
    def parse(cls, path: Path) -> _Node:
        try:
            return cls(ElementTree.parse(path).getroot(), path)
        except ElementTree.ParseError as error:
            raise MetadataError(f"{path.name}: not well-formed XML ({error}); mend the file") from error

    def text(self, name: str, default: str = "") -> str:
        return (self._element.findtext(_NS + name) or default).strip()

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.text(name)
        return default if not value else value.lower() == "true"

    def number(self, name: str, default: int = 0) -> int:
        value = self.text(name)
        try:
            return int(value) if value else default
        except ValueError as error:
            raise MetadataError(f"{self.path.name}: <{name}> is {value!r}; write a whole number") from error

    def all(self, name: str) -> Iterator[_Node]:
        return (_Node(child, self.path) for child in self._element.findall(_NS + name))

    def first(self, name: str) -> _Node | None:
        return next(self.all(name), None)


def load_org(*sources: Path) -> Org:
    """The org of these DX folders (none: the standard objects alone). Raises MetadataError naming the file."""
    org = Org(objects=standard.load_standard())
    for source in sources:
        if not source.is_dir():
            raise MetadataError(f"{source}: no such folder; give the DX project's root")
        _load_folder(org, source)
    _person_fields(org)
    _custom_prefixes(org)
    _files_beside(org)
    for obj in org:
        for record_type in obj.record_types.values():
            record_type.id = make_id("012", 1 + zlib.crc32(f"{obj.name}.{record_type.developer_name}".encode()))
        if obj.record_types and "RecordTypeId" not in obj.fields and not obj.event:
            obj.fields["RecordTypeId"] = standard.record_type_field()
    org.seal()
    return org


def _files_beside(org: Org) -> None:
    """A file may lie beside a record of any custom object (object reference, ContentDocumentLink: LinkedEntityId)."""
    custom = tuple(obj.name for obj in org if obj.name.endswith("__c") and not obj.event)
    for name, place in (("ContentVersion", "FirstPublishLocationId"), ("ContentDocumentLink", "LinkedEntityId")):
        org.objects[name].fields[place].references += custom


def _load_folder(org: Org, source: Path) -> None:
    value_sets = {_stem(path): _values(_Node.parse(path), "customValue") for path in _files(source, "globalValueSet")}
    for path in _files(source, "object"):
        _load_object(org, path)
    for path in _files(source, "field"):
        _load_field(org, path, value_sets)
    for path in _files(source, "recordType"):
        _load_record_type(org, path)
    for path in _files(source, "validationRule"):
        _load_rule(org, path)
    for path in _files(source, "standardValueSet"):
        _load_standard_values(org, path)
    for path in _files(source, "permissionset"):
        _load_permissions(org, path)
    for path in _files(source, "queue"):
        node = _Node.parse(path)
        org.queues[_stem(path)] = (node.text("name", _stem(path)), tuple(q.text("sobjectType") for q in node.all("queueSobject")))
    _load_metadata_records(org, source)
    for path in sorted(source.rglob("*.trigger")):
        _load_trigger(org, path)
    org.settings = dict(org.settings) | {_stem(path): path.read_text() for path in _files(source, "settings")}


def _files(source: Path, suffix: str) -> list[Path]:
    return sorted(p for p in source.rglob(f"*.{suffix}-meta.xml") if "node_modules" not in p.parts)


def _stem(path: Path) -> str:
    """`Status__c.field-meta.xml` -> `Status__c`; custom metadata keeps its inner point: `Sync_Field.Order_Status`."""
    return path.name.removesuffix("-meta.xml").rpartition(".")[0]


# --- objects ---------------------------------------------------------------------------------------------------------


def _object_of(org: Org, path: Path) -> ObjectType | None:
    """The object whose folder `path` lies in; `PersonAccount` is Account; custom metadata types are no objects here."""
    name = path.parent.parent.name
    if name.endswith("__mdt"):
        return None
    found = org.objects.get("Account" if name == "PersonAccount" else name)
    if found is None:
        raise MetadataError(f"{path.name}: object {name} is neither standard nor defined by {name}.object-meta.xml; add that file")
    return found


def _load_object(org: Org, path: Path) -> None:
    name = path.parent.name
    if name in org.objects or name.endswith("__mdt") or name == "PersonAccount":
        return
    if not re.search(r"__(c|e)\Z", name):
        raise MetadataError(f"{path.name}: standard object {name} is unknown here; add it to {standard.SOURCE.name}")
    node = _Node.parse(path)
    label = node.text("label", name)
    obj = ObjectType(name, label, node.text("pluralLabel", label), None, custom=True)
    org.objects[name] = obj
    if name.endswith("__e"):
        obj.event, obj.queryable, obj.updateable, obj.deletable, obj.undeletable, obj.name_field = True, False, False, False, False, None
        return
    obj.fields["Id"] = standard.id_field("Record")
    obj.fields["Id"].label = "Record ID"
    if node.text("sharingModel") != "ControlledByParent":
        obj.fields["OwnerId"] = standard.owner_field("Group", "User")
    obj.fields["IsDeleted"] = next(standard.system_fields())
    obj.fields["Name"] = _name_field(node.first("nameField"), path)
    obj.fields |= {f.name: f for f in standard.system_fields()}
    obj.fields["LastActivityDate"] = FieldType(
        "LastActivityDate", "Last Activity Date", Kind.DATE, createable=False, updateable=False, permissionable=False
    )


def _name_field(node: _Node | None, path: Path) -> FieldType:
    if node is None:
        raise MetadataError(f"{path.name}: <nameField> is missing; a custom object needs one")
    label = node.text("label", "Name")
    if node.text("type") == "AutoNumber":
        pattern = node.text("displayFormat", "{0}")
        return FieldType(
            "Name", label, Kind.AUTO_NUMBER, 80, display_format=pattern, createable=False, updateable=False, nillable=False,
            permissionable=False, id_lookup=True,
        )  # fmt: skip
    # A text Name may be left out: Salesforce then stores the record's id.
    return FieldType("Name", label, Kind.TEXT, 80, permissionable=False, id_lookup=True)


def _load_field(org: Org, path: Path, value_sets: dict[str, tuple[PicklistValue, ...]]) -> None:
    obj = _object_of(org, path)
    if obj is None:
        return
    node = _Node.parse(path)
    name = node.text("fullName", _stem(path))
    existing = obj.field(name)
    if existing is not None and not name.endswith("__c"):
        return  # a standard field's settings (help text, tracking) don't change how it behaves
    obj.fields[name] = _field(node, name, path, value_sets)


def _field(node: _Node, name: str, path: Path, value_sets: dict[str, tuple[PicklistValue, ...]]) -> FieldType:
    try:
        kind = Kind(node.text("type"))
    except ValueError as error:
        raise MetadataError(f"{path.name}: field type {node.text('type')!r} is not supported; use one of {', '.join(Kind)}") from error
    if node.text("formula"):
        raise MetadataError(f"{path.name}: formula fields are not supported; drop <formula> or teach schema_source")
    f = FieldType(
        name,
        node.text("label", name),
        kind,
        length=node.number("length", _DEFAULT_LENGTH.get(kind, 0)),
        precision=node.number("precision"),
        scale=node.number("scale"),
        required=node.flag("required"),
        unique=node.flag("unique"),
        external_id=node.flag("externalId"),
        case_sensitive=node.flag("caseSensitive"),
        custom=True,
        help=node.text("inlineHelpText") or None,
        description=node.text("description") or None,
    )
    f.permissionable = not f.required
    f.id_lookup = f.external_id
    if kind is Kind.CHECKBOX:
        f.default, f.nillable = node.text("defaultValue", "false").lower() == "true", False
    elif node.text("defaultValue") and kind not in {Kind.PICKLIST, Kind.MULTI_PICKLIST}:
        f.default = node.text("defaultValue")  # a formula; dml_defaults compiles it
    if kind in {Kind.PICKLIST, Kind.MULTI_PICKLIST}:
        _picklist(f, node.first("valueSet"), path, value_sets)
    elif f.is_reference:
        _reference(f, node)
    elif kind is Kind.AUTO_NUMBER:
        f.createable = f.updateable = f.nillable = False
        f.display_format = node.text("displayFormat", "{0}")
    if f.required:
        f.nillable = False
    return f


def _picklist(f: FieldType, node: _Node | None, path: Path, value_sets: dict[str, tuple[PicklistValue, ...]]) -> None:
    if node is None:
        raise MetadataError(f"{path.name}: a picklist needs a <valueSet>; add one")
    f.restricted = node.flag("restricted")
    shared = node.text("valueSetName")
    if shared:
        if shared not in value_sets:
            raise MetadataError(f"{path.name}: global value set {shared} is not there; add {shared}.globalValueSet-meta.xml")
        f.picklist, f.restricted = value_sets[shared], True
    else:
        definition = node.first("valueSetDefinition")
        f.picklist = _values(definition, "value") if definition else ()
    f.default = next((v.value for v in f.picklist if v.default), None)


def _values(node: _Node, tag: str) -> tuple[PicklistValue, ...]:
    return tuple(
        PicklistValue(
            v.text("fullName"),
            v.text("label") or v.text("fullName"),
            active=v.flag("isActive", default=True),
            default=v.flag("default"),
            closed=v.flag("closed"),
            category=v.text("groupingStringEnum") or v.text("groupingString") or None,
        )
        for v in node.all(tag)
    )


def _reference(f: FieldType, node: _Node) -> None:
    f.length = 18
    f.references = (node.text("referenceTo"),)
    f.relationship = f.name.removesuffix("__c") + "__r"
    child = node.text("relationshipName")
    f.child_relationship = f"{child}__r" if child else None
    if f.kind is Kind.MASTER_DETAIL:
        f.required, f.nillable, f.permissionable = True, False, False
        f.on_delete = OnParentDelete.CASCADE
        f.reparentable = f.updateable = node.flag("reparentableMasterDetail")
    else:
        f.on_delete = OnParentDelete(node.text("deleteConstraint", "SetNull"))


def _load_record_type(org: Org, path: Path) -> None:
    obj = _object_of(org, path)
    if obj is None:
        return
    node = _Node.parse(path)
    name = node.text("fullName", _stem(path))
    obj.record_types[name] = RecordType(
        obj.name,
        name,
        node.text("label", name),
        active=node.flag("active", default=True),
        person=path.parent.parent.name == "PersonAccount",
        description=node.text("description") or None,
    )


def _load_rule(org: Org, path: Path) -> None:
    obj = _object_of(org, path)
    if obj is None:
        return
    node = _Node.parse(path)
    obj.rules.append(
        ValidationRule(
            obj.name,
            node.text("fullName", _stem(path)),
            node.text("errorConditionFormula"),
            node.text("errorMessage"),
            node.text("errorDisplayField") or None,
            node.flag("active", default=True),
        )
    )


def _load_standard_values(org: Org, path: Path) -> None:
    target = _VALUE_SETS.get(_stem(path))
    if target is None:
        return
    f = org.objects[target[0]].fields[target[1]]
    f.picklist = _values(_Node.parse(path), "standardValue")
    f.default = next((v.value for v in f.picklist if v.default), None)


# --- everything else -------------------------------------------------------------------------------------------------


def _load_permissions(org: Org, path: Path) -> None:
    node, name = _Node.parse(path), _stem(path)
    org.permission_sets[name] = PermissionSet(
        name,
        node.text("label", name),
        fields={f.text("field").lower(): (f.flag("readable"), f.flag("editable")) for f in node.all("fieldPermissions")},
        objects={
            o.text("object").lower(): frozenset(right for tag, right in _RIGHTS.items() if o.flag(tag))
            for o in node.all("objectPermissions")
        },
        custom_permissions=frozenset(c.text("name") for c in node.all("customPermissions") if c.flag("enabled")),
        user_permissions=frozenset(u.text("name") for u in node.all("userPermissions") if u.flag("enabled")),
        record_types=frozenset(r.text("recordType") for r in node.all("recordTypeVisibilities") if r.flag("visible")),
    )


def _load_metadata_records(org: Org, source: Path) -> None:
    records = dict(org.metadata_records)
    for path in _files(source, "md"):
        values: dict[str, str | float | bool | None] = {}
        for value in _Node.parse(path).all("values"):
            values[value.text("field")] = value.text("value") or None
        records[_stem(path)] = values
    org.metadata_records = records
    org.sync_fields = tuple(
        SyncField(str(v.get("Object__c")), str(v.get("Field__c")), frozenset(_split(v.get("Record_Type__c"))))
        for name, v in sorted(records.items())
        if name.startswith("Sync_Field.")
    )


def _split(value: str | float | bool | None) -> list[str]:
    return [part for part in str(value or "").split(";") if part]


def _load_trigger(org: Org, path: Path) -> None:
    match = _TRIGGER.search(path.read_text())
    if match is None:
        raise MetadataError(f"{path.name}: no `trigger X on Object (events)` found; mend the file")
    events = frozenset(" ".join(event.lower().split()) for event in match[3].split(","))
    org.triggers[match[2]] = org.triggers.get(match[2], frozenset()) | events
    org.trigger_names[match[1]] = match[2]


def _person_fields(org: Org) -> None:
    """Custom Contact fields show on Account as `X__pc`."""
    account, contact = org.objects["Account"], org.objects["Contact"]
    for f in list(contact.fields.values()):
        if f.custom:
            shown = standard.person_field(f)
            account.fields[shown.name] = shown


def _custom_prefixes(org: Org) -> None:
    """Key prefixes `aXY` from the name, so that another object's coming or going leaves the rest alone."""
    taken: set[str] = set()
    for name in sorted(name for name, obj in org.objects.items() if obj.custom):
        number = zlib.crc32(name.encode())
        prefix = ("e" if org.objects[name].event else "a") + base62(number % 3844, 2)
        while prefix in taken:
            number += 1
            prefix = prefix[0] + base62(number % 3844, 2)
        taken.add(prefix)
        org.objects[name].key_prefix = prefix
