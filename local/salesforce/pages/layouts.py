"""Page layouts, compact layouts and layout assignments of the DX project, as the pages use them.

A record's layout: the one assigned to its record type by a profile, else the one named after the record type, else the object's
own, else every field there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from local.salesforce.schema import ObjectType, Org

_NS = "{http://soap.sforce.com/2006/04/metadata}"
#: standard related lists by the name layouts give them -> (child object, lookup)
_STANDARD_LISTS = {
    "RelatedCaseList": ("Case", "AccountId"),
    "RelatedContactList": ("Contact", "AccountId"),
    "RelatedOrderList": ("Order", "AccountId"),
    "RelatedOrderItemList": ("OrderItem", "OrderId"),
    "RelatedLineItemList": ("OrderItem", "OrderId"),
    "RelatedEmailMessageList": ("EmailMessage", "RelatedToId"),
    "RelatedActivityList": ("Task", "WhatId"),
    "RelatedHistoryList": ("Task", "WhatId"),
    "RelatedPricebookEntryList": ("PricebookEntry", "Product2Id"),
    "RelatedCaseCommentsList": ("CaseComment", "ParentId"),
    "RelatedOpportunityList": ("Opportunity", "AccountId"),
}


@dataclass(slots=True)
class Section:
    """A titled block; its columns hold field names."""

    label: str
    columns: list[list[str]] = field(default_factory=list)
    read_only: frozenset[str] = frozenset()


@dataclass(slots=True)
class RelatedList:
    """Children through one lookup, and which of their fields to show."""

    child: str
    lookup: str
    label: str
    fields: list[str]
    sort: str | None = None
    descending: bool = False


@dataclass(slots=True)
class Layout:
    """One page."""

    name: str
    sections: list[Section]
    related: list[RelatedList]


class Layouts:
    """Every layout of the metadata, found by object and record type."""

    def __init__(self, org: Org, sources: list[Path]) -> None:
        self.org = org
        self._layouts: dict[str, Layout] = {}
        self._assigned: dict[str, str] = {}  # "Account.Patient" -> layout name
        self._compact: dict[str, dict[str, list[str]]] = {}
        for source in sources:
            self._load(source)

    def _load(self, source: Path) -> None:
        for path in sorted(source.rglob("*.layout-meta.xml")):
            name = unquote(path.name.removesuffix(".layout-meta.xml"))
            obj = self.org.object(_object_name(name.partition("-")[0]))
            if obj is not None:
                self._layouts[name] = self._parse(name, obj, ElementTree.parse(path).getroot())
        for path in sorted([*source.rglob("*.profile-meta.xml")]):
            for assignment in ElementTree.parse(path).getroot().iter(f"{_NS}layoutAssignments"):
                record_type = assignment.findtext(f"{_NS}recordType") or ""
                layout = unquote(assignment.findtext(f"{_NS}layout") or "")
                object_name, _, kind = (record_type or layout.partition("-")[0]).partition(".")
                self._assigned.setdefault(f"{_object_name(object_name)}.{kind}", layout)
        for path in sorted(source.rglob("*.compactLayout-meta.xml")):
            names = [node.text or "" for node in ElementTree.parse(path).getroot().iter(f"{_NS}fields")]
            self._compact.setdefault(_object_name(path.parent.parent.name), {})[path.name.removesuffix(".compactLayout-meta.xml")] = names

    def _parse(self, name: str, obj: ObjectType, root: ElementTree.Element) -> Layout:
        sections = [section for node in root.iter(f"{_NS}layoutSections") if (section := _section(node))]
        related = [children for node in root.iter(f"{_NS}relatedLists") if (children := self._related(obj, node))]
        return Layout(name, sections, related)

    def _related(self, obj: ObjectType, node: ElementTree.Element) -> RelatedList | None:
        name = node.findtext(f"{_NS}relatedList") or ""
        child_name, _, lookup = name.partition(".")
        if not lookup:
            standard = _STANDARD_LISTS.get(name)
            relation = obj.child(name)
            child_name, lookup = standard or ((relation.child, relation.field) if relation else ("", ""))
        child = self.org.object(child_name)
        key = child.field(lookup) if child else None
        if child is None or key is None:
            return None
        fields = [_plain(child, item.text or "") for item in node.findall(f"{_NS}fields")]
        sort = _plain(child, node.findtext(f"{_NS}sortField") or "") or None
        descending = (node.findtext(f"{_NS}sortOrder") or "").lower() == "desc"
        return RelatedList(child.name, key.name, child.plural, [name for name in fields if name], sort, descending)

    def layout(self, obj: ObjectType, record_type: str | None) -> Layout:
        """The page of a record of this type."""
        name = self._assigned.get(f"{obj.name}.{record_type}") if record_type else None
        kind = obj.record_types.get(record_type or "")
        if name is None and kind is not None:
            words = {kind.label.lower(), kind.developer_name.lower(), kind.developer_name.replace("_", " ").lower()}
            name = next((known for known in self._of(obj) if known.lower().removesuffix(" layout").partition("-")[2] in words), None)
        name = name or self._assigned.get(f"{obj.name}.") or next(iter(self._of(obj)), None)
        return self._layouts[name] if name in self._layouts else self._everything(obj)

    def _of(self, obj: ObjectType) -> list[str]:
        return [name for name in self._layouts if _object_name(name.partition("-")[0]) == obj.name]

    def _everything(self, obj: ObjectType) -> Layout:
        """Without a layout: all fields, all children."""
        system = {
            "Id",
            "IsDeleted",
            "CreatedById",
            "CreatedDate",
            "LastModifiedById",
            "LastModifiedDate",
            "SystemModstamp",
            "MasterRecordId",
        }
        names = [f.name for f in obj.fields.values() if f.name not in system and not f.compound]
        half = (len(names) + 1) // 2
        related = [
            RelatedList(child.child, child.field, self.org.objects[child.child].plural, self.columns(self.org.objects[child.child], None))
            for child in obj.children
            if child.name and not self.org.objects[child.child].event and self.org.objects[child.child].layoutable
        ]
        return Layout(obj.label, [Section("Details", [names[:half], names[half:]])], related)

    def columns(self, obj: ObjectType, record_type: str | None) -> list[str]:
        """The fields that name a record in a list or at the top of its page: its compact layout's, else a few telling ones."""
        known = self._compact.get(obj.name, {})
        chosen = next((fields for name, fields in known.items() if record_type and record_type.lower() in name.lower()), None)
        names = chosen or next(iter(known.values()), [])
        fields = [f.name for name in names if (f := obj.field(name))]
        if not fields:
            telling = ("Status", "Status__c", "Type", "Email", "PersonEmail", "Phone", "Subject", "IsActive")
            fields = [obj.name_field] if obj.name_field else []
            fields += [f.name for name in telling if (f := obj.field(name)) and f.name not in fields]
        return fields[:7]


def _object_name(name: str) -> str:
    """Layouts call a person's Account `PersonAccount`."""
    return "Account" if name == "PersonAccount" else name


def _section(node: ElementTree.Element) -> Section | None:
    columns: list[list[str]] = []
    read_only: set[str] = set()
    for column in node.findall(f"{_NS}layoutColumns"):
        names: list[str] = []
        for item in column.findall(f"{_NS}layoutItems"):
            name = item.findtext(f"{_NS}field")
            if name:
                names.append(name)
                if item.findtext(f"{_NS}behavior") == "Readonly":
                    read_only.add(name)
        columns.append(names)
    if not any(columns):
        return None
    return Section(node.findtext(f"{_NS}label") or "Details", columns, frozenset(read_only))


_LAYOUT_NAMES = {"NAME": "Name", "ORDER_NUMBER": "OrderNumber", "CASE_NUMBER": "CaseNumber", "CASES.CASE_NUMBER": "CaseNumber"}


def _plain(child: ObjectType, name: str) -> str:
    """A related list's column as a field: layouts spell standard ones `CASES.SUBJECT`, `ORDERS.STATUS`, `CREATED_DATE`."""
    if child.field(name):
        return name
    if name in _LAYOUT_NAMES:
        candidate = child.name_field or ""
        return candidate if child.field(candidate) else ""
    words = name.rpartition(".")[2].removesuffix("_DATE_ONLY").split("_")
    found = child.field("".join(words)) or child.field("".join(words) + "Id")
    return found.name if found else ""
