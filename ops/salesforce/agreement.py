"""Do mapping and metadata agree? Reads the files as they lie there, whoever wrote them, and compares both ways.

mapping -> metadata   every object, field, picklist value and record type is there, none shorter, narrower or looser
metadata -> mapping   every custom field of a mapped object is the mapping's or listed in BY_HAND; whatever a layout, list,
                      page, rule, permission set or Sync_Field record names exists
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from omsync.mapping import load_mappings
from omsync.mapping.model import Field, Mappings, Target
from ops.salesforce.org import VALUE_SETS
from ops.salesforce.project import ROOT
from ops.salesforce.xml import NAMESPACE

#: Custom fields of mapped objects that no column fills.
BY_HAND = frozenset(
    {("Case", name) for name in ("Integration_Key__c", "Integration_Record__c", "Integration_Field__c", "Integration_Count__c")}
)
_NS = f"{{{NAMESPACE}}}"
_CUSTOM = re.compile(r"\b\w+__p?c\b")
#: Kinds that lie in an object's folder -> the elements that name its fields.
_NAMING = {
    "compactLayout": ("fields",),
    "listView": ("columns", "field"),
    "validationRule": ("errorConditionFormula", "errorDisplayField"),
}
_CHECKED_FLAGS = (("unique", "unique"), ("external_id", "externalId"))


@dataclass(frozen=True)
class Metadata:
    """The project's files, by kind (`field`, `layout`) and by object where they have one."""

    root: Path

    def files(self, kind: str) -> list[Path]:
        return sorted(self.root.rglob(f"*.{kind}-meta.xml"))

    def fields(self) -> dict[tuple[str, str], etree._Element]:
        return {(p.parent.parent.name, _stem(p)): etree.parse(p).getroot() for p in self.files("field")}

    def record_types(self) -> set[tuple[str, str]]:
        found = {(p.parent.parent.name, _stem(p)) for p in self.files("recordType")}
        return {("Account" if obj == "PersonAccount" else obj, name) for obj, name in found}

    def objects(self) -> set[str]:
        return {p.parent.name for p in self.files("object")}

    def value_sets(self) -> dict[str, set[str]]:
        return {
            _stem(p): {_text(v, "fullName") for v in etree.parse(p).getroot().findall(_NS + "standardValue")}
            for p in self.files("standardValueSet")
        }


def faults(mappings: Mappings | None = None, root: Path = ROOT) -> list[str]:
    """One line for each disagreement."""
    mappings, metadata = mappings or load_mappings(), Metadata(root)
    return [*_missing(mappings, metadata), *_orphans(mappings, metadata), *_dangling(mappings, metadata)]


def _stem(path: Path) -> str:
    return path.name.removesuffix("-meta.xml").rpartition(".")[0]


def _text(node: etree._Element, name: str) -> str:
    return (node.findtext(_NS + name) or "").strip()


# --- mapping -> metadata ---------------------------------------------------------------------------------------------
def _missing(mappings: Mappings, metadata: Metadata) -> Iterator[str]:
    fields, kinds, objects, sets = metadata.fields(), metadata.record_types(), metadata.objects(), metadata.value_sets()
    for table in mappings:
        for target in table.targets:
            at = f"{table.table} -> {target.object}"
            if target.object.endswith("__c") and target.object not in objects:
                yield f"{at}: the object is missing"
            yield from (f"{at}: record type {kind} is missing" for kind in target.record_types if (target.object, kind) not in kinds)
            for field in target.all_fields.values():
                if field.custom:
                    node = fields.get((field.metadata_object, field.metadata_name))
                    problems = ["is missing"] if node is None else list(_weaker(field, node))
                else:
                    problems = list(_standard_values(target, field, sets))
                yield from (f"{at}.{field.name}: {problem}" for problem in problems)


def _weaker(field: Field, node: etree._Element) -> Iterator[str]:
    """In what the field there is less than the mapping asks for."""
    if _text(node, "type") != field.type:
        yield f"is a {_text(node, 'type')}, not a {field.type}"
        return
    if field.type in ("Text", "LongTextArea", "Html") and int(_text(node, "length") or 0) < (field.length or 0):
        yield f"holds {_text(node, 'length')} characters, not {field.length}"
    if field.precision is not None and field.scale is not None:
        precision, scale = int(_text(node, "precision") or 0), int(_text(node, "scale") or 0)
        if precision - scale < field.precision - field.scale or scale < field.scale:
            yield f"holds ({precision},{scale}) digits, not ({field.precision},{field.scale})"
    for asked, element in _CHECKED_FLAGS:
        if getattr(field, asked) and _text(node, element) != "true":
            yield f"is not {element}"
    if field.unique and _text(node, "caseSensitive") == "true":
        yield "tells upper from lower case"
    values = {_text(value, "fullName") for value in node.iter(_NS + "value")}
    yield from (f"lacks the value {value}" for value in field.picklist if value not in values)
    if field.references is not None:
        if _text(node, "referenceTo") != field.references.object:
            yield f"refers to {_text(node, 'referenceTo')}, not {field.references.object}"
        if field.type == "Lookup" and _text(node, "deleteConstraint") != "SetNull":
            yield "does not clear itself when the parent goes (SetNull)"
        if field.type == "MasterDetail" and _text(node, "reparentableMasterDetail") != "true":
            yield "can't be re-parented"


def _standard_values(target: Target, field: Field, sets: dict[str, set[str]]) -> Iterator[str]:
    name = VALUE_SETS.get((target.object, field.name))
    if name is not None:
        yield from (f"value set {name} lacks {value}" for value in field.picklist if value not in sets.get(name, set()))


# --- metadata -> mapping ---------------------------------------------------------------------------------------------
def _mapped(mappings: Mappings) -> set[tuple[str, str]]:
    return {
        (field.metadata_object, field.metadata_name)
        for table in mappings
        for target in table.targets
        for field in target.all_fields.values()
        if field.custom
    }


def _orphans(mappings: Mappings, metadata: Metadata) -> Iterator[str]:
    mapped = _mapped(mappings)
    ours = {target.object for table in mappings for target in table.targets}
    for obj, name in sorted(metadata.fields()):
        if (obj in ours or obj.endswith("__c")) and (obj, name) not in mapped | BY_HAND:
            yield f"{obj}.{name}: no column fills it; map it, or list it in BY_HAND with the reason"
    yield from (f"{obj}: no table is written to it" for obj in sorted(metadata.objects()) if obj.endswith("__c") and obj not in ours)


def _dangling(mappings: Mappings, metadata: Metadata) -> Iterator[str]:
    """Custom fields that some file names and no file defines."""
    defined = {(obj, name) for obj, name in metadata.fields()}
    defined |= {("Account", f"{name.removesuffix('__c')}__pc") for obj, name in defined if obj == "Contact"}
    for kind, obj, path, names in _named(metadata):
        for name in sorted(names):
            if (obj, name) not in defined:
                yield f"{path.name} ({kind}): {obj}.{name} does not exist"
    yield from _rivals(metadata)
    lookups = {f"{obj}.{name}" for obj, name in defined}
    for path in metadata.files("layout"):
        for node in etree.parse(path).getroot().iter(_NS + "relatedList"):
            listed = (node.text or "").strip()
            if "__c" in listed and listed not in lookups:
                yield f"{path.name}: related list {listed} does not exist"


def _rivals(metadata: Metadata) -> Iterator[str]:
    """A parent's child relationships have names of their own."""
    names: dict[tuple[str, str], str] = {}
    for (obj, name), node in sorted(metadata.fields().items()):
        relationship = _text(node, "relationshipName")
        if relationship:
            other = names.setdefault((_text(node, "referenceTo"), relationship), f"{obj}.{name}")
            if other != f"{obj}.{name}":
                yield f"{obj}.{name}: {_text(node, 'referenceTo')} already has a relationship {relationship} ({other})"


def _named(metadata: Metadata) -> Iterator[tuple[str, str, Path, set[str]]]:
    """(kind, object, file, custom fields it names)."""
    for kind, elements in (
        ("compactLayout", ("fields",)),
        ("listView", ("columns", "field")),
        ("validationRule", ("errorConditionFormula", "errorDisplayField")),
    ):
        for path in metadata.files(kind):
            yield kind, _owner(path.parent.parent.name), path, _names(path, elements)
    for path in metadata.files("layout"):
        yield "layout", _owner(path.name.partition("-")[0]), path, _names(path, ("field",))
        for related in etree.parse(path).getroot().findall(_NS + "relatedLists"):
            child = _text(related, "relatedList").partition(".")[0]
            child = {"RelatedOrderList": "Order", "RelatedOrderItemList": "OrderItem", "RelatedCaseList": "Case"}.get(child, child)
            columns = {name for node in related.findall(_NS + "fields") for name in _CUSTOM.findall(node.text or "")}
            yield "related list", child, path, columns
    for path in [*metadata.files("permissionset"), *metadata.files("profile")]:
        for node in etree.parse(path).getroot().findall(_NS + "fieldPermissions"):
            obj, _, name = _text(node, "field").partition(".")
            if name.endswith("__c"):
                yield "field permission", obj, path, {name}
    for path in metadata.files("md"):
        values = {_text(v, "field"): _text(v, "value") for v in etree.parse(path).getroot().findall(_NS + "values")}
        yield "stamped field", values.get("Object__c", ""), path, set(_CUSTOM.findall(values.get("Field__c", "")))


def _owner(folder: str) -> str:
    return "Account" if folder == "PersonAccount" else folder


def _names(path: Path, elements: tuple[str, ...]) -> set[str]:
    root = etree.parse(path).getroot()
    return {name for element in elements for node in root.iter(_NS + element) for name in _CUSTOM.findall(node.text or "")}
