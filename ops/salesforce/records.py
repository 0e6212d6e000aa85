"""Record types, value sets, support processes and the custom metadata records that name the shared fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from omsync.mapping.model import Unit
from omsync.platform.errors import Permanent
from ops.salesforce.fields import default_value, note_of, value_label
from ops.salesforce.org import VALUE_SETS, OrgField, OrgModel, OrgObject
from ops.salesforce.presentation import presentation
from ops.salesforce.xml import Node, Typed

_DEVELOPER_NAME_LENGTH = 40


def record_types(org: OrgModel, obj: OrgObject) -> Iterator[tuple[str, str, dict[str, Node]]]:
    """(folder, developer name, body). A patient is a Person Account: its record type lives in objects/PersonAccount."""
    look = presentation(obj.name)
    named = dict.fromkeys(name for _, target in obj.tables for name in target.record_types)
    for name in dict.fromkeys([*named, *look.record_types]):
        said = look.record_types.get(name)
        if said is None:
            raise Permanent(f"{obj.name}.yaml: record type {name} has no words; add it under record_types", code="salesforce.presentation")
        person = obj.name == "Account" and name in person_record_types(org)
        yield (
            "PersonAccount" if person else obj.name,
            name,
            {
                "fullName": name,
                "active": True,
                "businessProcess": said.business_process,
                "compactLayoutAssignment": said.compact_layout or "SYSTEM",
                "description": said.description,
                "label": said.label,
                "picklistValues": _picklists(org, obj, person=person),
            },
        )


def person_record_types(org: OrgModel) -> frozenset[str]:
    """Account record types of tables that fill Person Account fields."""
    return frozenset(
        name
        for _, target in org.uses("Account")
        if any(field.name.startswith("Person") or field.name.endswith("__pc") for field in target.fields.values())
        for name in target.record_types
    )


def _picklists(org: OrgModel, obj: OrgObject, *, person: bool) -> list[Node]:
    """A record type offers only the values it lists, so every one lists all."""
    offered = {field.name: field for field in obj.fields.values() if field.is_picklist and (obj.name, field.name) != ("Case", "Status")}
    if person:
        contact = org.objects["Contact"].fields.values()
        offered |= {f"{field.name.removesuffix('__c')}__pc": field for field in contact if field.is_picklist and field.custom}
    return [
        {"picklist": name, "values": [{"fullName": quote(value, safe=" "), "default": False} for value in sorted(field.picklist)]}
        for name, field in sorted(offered.items())
    ]


def standard_value_sets(org: OrgModel) -> Iterator[tuple[str, dict[str, Node]]]:
    """(value set, body) for the standard picklists that the mapping fills."""
    for (object_name, field_name), name in sorted(VALUE_SETS.items()):
        field = org.objects[object_name].fields.get(field_name) if object_name in org.objects else None
        if field is not None and field.is_picklist:
            grouped = name == "OrderStatus"
            yield (
                name,
                {"groupingStringEnum": "OrderStatusCode" if grouped else None, "sorted": False, "standardValue": _values(name, field)},
            )


def _values(name: str, field: OrgField) -> list[Node]:
    note = note_of(field)
    values: list[Node] = [
        {
            "fullName": value,
            "default": value == default_value(field),
            "label": value_label(note, value),
            "closed": value == "closed" if name == "CaseStatus" else None,
            "groupingString": "Draft" if name == "OrderStatus" else None,
            "highPriority": value in ("high", "urgent") if name == "CasePriority" else None,
        }
        for value in field.picklist
    ]
    if name == "OrderStatus":
        # Salesforce wants one value in this category; nobody may use it: an activated order freezes.
        values.append({"fullName": "Activated", "default": False, "label": "Activated (not used)", "groupingString": "Activated"})
    return values


def support_process(org: OrgModel) -> dict[str, Node]:
    """The statuses of every Case record type."""
    status = org.objects["Case"].fields["Status"]
    return {
        "fullName": "Care",
        "description": "Every status of a case, for all its record types.",
        "isActive": True,
        "values": [{"fullName": value, "default": value == default_value(status)} for value in status.picklist],
    }


def sync_fields(org: OrgModel) -> Iterator[tuple[str, dict[str, Node]]]:
    """(developer name, body) of a Sync_Field__mdt record for each field whose edits by people are stamped."""
    names: dict[str, str] = {}
    for table in org.mappings:
        for target in table.targets:
            if not target.sync_fields:
                continue
            several = len(list(org.uses(target.object))) > 1 or len(target.record_types) > 1
            kinds = ";".join(sorted(target.record_types)) if several else ""
            for field in stamped(table.units.values(), target.object):
                name = _developer_name(target.object, field)
                if names.setdefault(name, field) != field:
                    raise Permanent(f"Sync_Field.{name} names {names[name]} and {field}; rename one", code="salesforce.sync_field")
                yield (
                    name,
                    {
                        "label": name.replace("_", " ")[:_DEVELOPER_NAME_LENGTH],
                        "protected": False,
                        "values": [
                            {"field": "Field__c", "value": Typed(field)},
                            {"field": "Object__c", "value": Typed(target.object)},
                            {"field": "Record_Type__c", "value": Typed(kinds or None)},
                        ],
                    },
                )


def stamped(units: Iterable[Unit], object_name: str) -> list[str]:
    """Fields of an object that belong to a unit people may edit."""
    return sorted({field for unit in units if unit.owner != "oms" for field in unit.fields.get(object_name, ())})


def _developer_name(object_name: str, field: str) -> str:
    """Letters, digits and single underscores only: `Account`, `Care_Notes__pc` -> `Account_Care_Notes`."""
    name = re.sub(r"_+", "_", f"{re.sub(r'__c$', '', object_name)}_{re.sub(r'__p?c$', '', field)}")
    if len(name) > _DEVELOPER_NAME_LENGTH:
        raise Permanent(f"Sync_Field.{name} is longer than 40 characters; shorten the field's name", code="salesforce.sync_field")
    return name
