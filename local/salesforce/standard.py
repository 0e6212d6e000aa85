"""The standard objects of an org with Person Accounts, as far as the project and its recorded cases use them.

`standard_objects.txt` beside this file lists them, one field a line; this module reads it and adds what follows from rules:
system fields, address parts, and the Contact fields that a Person Account shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from local.salesforce.schema import FieldType, Kind, ObjectType, OnParentDelete, PicklistValue

SOURCE = Path(__file__).with_name("standard_objects.txt")
_FIELD = re.compile(r"(?P<name>\w+)\s+(?P<kind>\w+)(?:\((?P<args>[^)]*)\))?\s*(?P<rest>.*)\Z")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OBJECT_FLAGS = {
    "mergeable": ("mergeable", True),
    "fixed": ("createable", False),
    "noupdate": ("updateable", False),
    "nodelete": ("deletable", False),
}

# A Person Account shows these Contact fields under `Person...`, the address parts included ...
PERSON_PREFIXED = (
    *("MobilePhone", "HomePhone", "OtherPhone", "AssistantPhone", "Email", "Title", "Department", "AssistantName", "LeadSource"),
    *("Birthdate", "HasOptedOutOfEmail", "HasOptedOutOfFax", "DoNotCall", "EmailBouncedReason", "EmailBouncedDate", "IndividualId"),
    *("LastCURequestDate", "LastCUUpdateDate"),
)
PERSON_ADDRESSES = ("Mailing", "Other")
# ... these under their own name ...
PERSON_NAME = ("Salutation", "FirstName", "LastName", "MiddleName", "Suffix")
# ... and these Account fields are the Contact's too.
PERSON_SHARED = ("Phone", "Fax", "Description", "OwnerId")


class StandardObjectsError(ValueError):
    """A line of standard_objects.txt that can't be read."""


def load_standard() -> dict[str, ObjectType]:
    """Fresh ObjectTypes (they are mutated by the custom metadata laid over them)."""
    objects: dict[str, ObjectType] = {}
    current: ObjectType | None = None
    unsecured: set[str] = set()
    for number, line in enumerate(SOURCE.read_text().splitlines(), 1):
        text = line.split("#", 1)[0].rstrip()
        if not text:
            continue
        if not text.startswith(" "):
            current = _object(text)
            objects[current.name] = current
            if "openfields" in text:
                unsecured.add(current.name)
        elif current is None:
            raise StandardObjectsError(f"{SOURCE.name}:{number}: a field before any object")
        else:
            for f in _fields(text.strip(), f"{SOURCE.name}:{number}"):
                f.permissionable = f.permissionable and current.name not in unsecured
                current.fields[f.name] = f
    for obj in objects.values():
        obj.fields |= {f.name: f for f in system_fields() if f.name not in obj.fields}
    add_person_fields(objects["Account"], objects["Contact"])
    return objects


def _object(text: str) -> ObjectType:
    name, prefix, label, plural, *flags = [part.strip() for part in text.split("|")]
    obj = ObjectType(name, label, plural, prefix or None)
    obj.fields["Id"] = id_field(label)
    for flag in flags[0].split() if flags else ():
        if flag == "openfields":
            continue  # applied as the fields are read
        if flag.startswith("name="):
            obj.name_field = None if flag == "name=none" else flag[5:]
        else:
            attribute, value = _OBJECT_FLAGS[flag]
            setattr(obj, attribute, value)
            if flag == "fixed":
                obj.updateable = obj.deletable = False
    return obj


def id_field(label: str) -> FieldType:
    return FieldType(
        "Id", f"{label} ID", Kind.ID, length=18, required=True, id_lookup=True, createable=False, updateable=False, nillable=False,
        permissionable=False,
    )  # fmt: skip


def system_fields() -> Iterator[FieldType]:
    """Set by Salesforce on every record."""
    yield _system(FieldType("IsDeleted", "Deleted", Kind.CHECKBOX, default=False))
    for verb, words in (("Created", "Created"), ("LastModified", "Last Modified")):
        yield _system(FieldType(f"{verb}Date", f"{words} Date", Kind.DATETIME))
        yield _system(FieldType(f"{verb}ById", f"{words} By ID", Kind.LOOKUP, 18, references=("User",), relationship=f"{verb}By"))
    yield _system(FieldType("SystemModstamp", "System Modstamp", Kind.DATETIME))


def _system(f: FieldType) -> FieldType:
    f.createable = f.updateable = f.nillable = f.permissionable = False
    return f


def owner_field(*owners: str) -> FieldType:
    return FieldType(
        "OwnerId", "Owner ID", Kind.LOOKUP, 18, references=owners, relationship="Owner", nillable=False, permissionable=False
    )  # fmt: skip


def record_type_field() -> FieldType:
    return FieldType(
        "RecordTypeId", "Record Type ID", Kind.LOOKUP, 18, references=("RecordType",), relationship="RecordType", permissionable=False
    )  # fmt: skip


_ADDRESS_PARTS = (
    ("Street", Kind.TEXT_AREA, 255, "Street"),
    ("City", Kind.TEXT, 40, "City"),
    ("State", Kind.TEXT, 80, "State/Province"),
    ("PostalCode", Kind.TEXT, 20, "Zip/Postal Code"),
    ("Country", Kind.TEXT, 80, "Country"),
)
_ACCURACY = ("Address", "NearAddress", "Block", "Street", "ExtendedZip", "Zip", "Neighborhood", "City", "County", "State", "Unknown")


def address_fields(prefix: str) -> Iterator[FieldType]:
    """`Billing` -> BillingStreet ... BillingGeocodeAccuracy and the compound BillingAddress."""
    compound = f"{prefix}Address"
    words = _label(prefix)
    for part, kind, length, label in _ADDRESS_PARTS:
        extra = "plaintextarea" if kind is Kind.TEXT_AREA else None
        yield FieldType(prefix + part, f"{words} {label}", kind, length, compound=compound, extra=extra)
    for part in ("Latitude", "Longitude"):
        yield FieldType(prefix + part, f"{words} {part}", Kind.NUMBER, precision=18, scale=15, compound=compound)
    values = tuple(PicklistValue(v, v) for v in _ACCURACY)
    yield FieldType(
        f"{prefix}GeocodeAccuracy", f"{words} Geocode Accuracy", Kind.PICKLIST, 40, compound=compound, restricted=True, picklist=values
    )
    yield FieldType(compound, f"{words} Address", Kind.ADDRESS, createable=False, updateable=False)


def _fields(text: str, where: str) -> Iterator[FieldType]:
    """One line: `Name Kind(args) [flags] [: Label]`; or a macro: `@address Billing`, `@owner User Group`, `@recordtype`, `@viewed`."""
    if text.startswith("@"):
        macro, *args = text[1:].split()
        if macro == "address":
            yield from address_fields("" if args[0] == "-" else args[0])
        elif macro == "owner":
            yield owner_field(*args)
        elif macro == "recordtype":
            yield record_type_field()
        elif macro == "viewed":
            for name in ("LastViewedDate", "LastReferencedDate"):
                yield FieldType(name, _label(name), Kind.DATETIME, createable=False, updateable=False, permissionable=False)
        else:
            raise StandardObjectsError(f"{where}: unknown macro @{macro}")
        return
    body, _, label = text.partition(" : ")
    match = _FIELD.match(body.strip())
    if match is None:
        raise StandardObjectsError(f"{where}: expected `Name Kind(args) flags : Label`, not {text!r}")
    f = FieldType(match["name"], label.strip() or _label(match["name"]), Kind(match["kind"]))
    _arguments(f, (match["args"] or "").strip())
    for flag in match["rest"].split():
        _flag(f, flag, where)
    yield f


def _arguments(f: FieldType, args: str) -> None:
    """Numbers: precision,scale. Lookups: the objects referred to. Picklists: values, `;` between, `*` after the default. Text: length."""
    if f.is_reference:
        f.length, f.references = 18, tuple(args.split(","))
        f.relationship = f.name.removesuffix("Id")
        if f.kind is Kind.MASTER_DETAIL:
            f.on_delete, f.nillable, f.required, f.updateable = OnParentDelete.CASCADE, False, True, False
    elif f.kind in {Kind.PICKLIST, Kind.MULTI_PICKLIST}:
        values = [v.strip() for v in args.split(";") if v.strip()]
        f.length = 40
        f.picklist = tuple(_picklist_value(v) for v in values)
        f.default = next((v.value for v in f.picklist if v.default), None)
    elif f.kind in {Kind.NUMBER, Kind.CURRENCY, Kind.PERCENT}:
        f.precision, f.scale = (int(n) for n in (args or "18,2").split(","))
    elif f.kind is Kind.INTEGER:
        f.precision = int(args or 8)
    elif f.kind is Kind.CHECKBOX:
        f.default, f.nillable = args == "true", False
    elif args:
        f.length = int(args)
    if f.kind in {Kind.TEXT_AREA, Kind.LONG_TEXT}:
        f.extra = "plaintextarea"


def _picklist_value(text: str) -> PicklistValue:
    """`Closed!` is a closed status, `New*` the default, `Activated@Activated` has a category."""
    name, _, category = text.partition("@")
    default, closed = "*" in name, "!" in name
    name = name.rstrip("*!")
    return PicklistValue(name, name, default=default, closed=closed, category=category or None)


_FLAGS: dict[str, dict[str, object]] = {
    "req": {"required": True, "nillable": False, "permissionable": False},
    "ro": {"createable": False, "updateable": False, "permissionable": False},
    "system": {"createable": False, "updateable": False, "nillable": False, "permissionable": False},  # set by Salesforce, never null
    "createonly": {"updateable": False},
    "open": {"permissionable": False},
    "idlookup": {"id_lookup": True},
    "unique": {"unique": True},
    "restricted": {"restricted": True},
    "cascade": {"on_delete": OnParentDelete.CASCADE},
    "restrict": {"on_delete": OnParentDelete.RESTRICT},
}
_VALUED_FLAGS = {
    "rel": "relationship",
    "child": "child_relationship",
    "extra": "extra",
    "format": "display_format",
    "len": "length",
    "comp": "compound",
}


def _flag(f: FieldType, flag: str, where: str) -> None:
    key, _, value = flag.partition("=")
    if key in _VALUED_FLAGS:
        setattr(f, _VALUED_FLAGS[key], int(value) if key == "len" else value)
    elif key in _FLAGS:
        for attribute, setting in _FLAGS[key].items():
            setattr(f, attribute, setting)
    else:
        raise StandardObjectsError(f"{where}: unknown flag {flag!r}")


def _label(name: str) -> str:
    words = _WORDS.sub(" ", name)
    return words[:-3] + " ID" if words.endswith(" Id") else words


def add_person_fields(account: ObjectType, contact: ObjectType) -> None:
    """What Person Accounts add to Account. `person` on a field names the Contact field that holds the same value."""
    account.fields["PersonContactId"] = FieldType(
        "PersonContactId", "Contact ID", Kind.LOOKUP, 18, references=("Contact",), relationship="PersonContact", createable=False,
        updateable=False, permissionable=False,
    )  # fmt: skip
    for obj in (account, contact):
        obj.fields["IsPersonAccount"] = FieldType(
            "IsPersonAccount", "Is Person Account", Kind.CHECKBOX, default=False, createable=False, updateable=False, nillable=False,
            permissionable=False,
        )  # fmt: skip
    for name in PERSON_NAME:
        source = contact.fields[name]
        account.fields[name] = replace(source, person=name, required=False, nillable=True, compound="Name")
    for name in PERSON_SHARED:
        account.fields[name].person = name
    parts = [f.name for prefix in PERSON_ADDRESSES for f in address_fields(prefix) if f.stored]
    for name in [*PERSON_PREFIXED, *parts]:
        source = contact.fields[name]
        account.fields[f"Person{name}"] = replace(
            source,
            name=f"Person{name}",
            label=source.label.removeprefix("Contact "),
            person=name,
            id_lookup=False,
            relationship=f"Person{source.relationship}" if source.relationship else None,
            child_relationship=None,
            compound=f"Person{source.compound}" if source.compound else None,
        )
    for prefix in PERSON_ADDRESSES:
        account.fields[f"Person{prefix}Address"] = replace(contact.fields[f"{prefix}Address"], name=f"Person{prefix}Address")


def person_field(source: FieldType) -> FieldType:
    """A custom Contact field as Account shows it: `X__c` -> `X__pc`, its relationship `X__r` -> `X__pr`."""
    name = source.name.removesuffix("__c") + "__pc"
    relationship = source.relationship.removesuffix("__r") + "__pr" if source.relationship else None
    return replace(
        source,
        name=name,
        person=source.name,
        relationship=relationship,
        required=False,
        nillable=True,
        child_relationship=None,
        unique=False,
    )
