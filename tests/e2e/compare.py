"""Every mapped value of a row against what Salesforce holds for it: the product's own mapping judges, both sides in their normal form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omsync.mapping import load_mappings
from omsync.mapping.compiled import compile_mapping
from omsync.mapping.outward import Record

type Difference = tuple[object, object]  # (wanted, found)


def select(record: Record) -> str:
    """The SELECT list that reads all of a record's mapped fields, parents by their OMS id."""
    names = ["Id", "IsDeleted", "OMS_Id__c"]
    for name, field in record.target.fields.items():
        reference = field.references
        if field.match_only or field.feature is not None:
            continue
        if reference is None or reference.many or reference.polymorphic:
            names.append(name)
        else:
            names.append(f"{reference.relationship}.{reference.external_id}")
    return ", ".join(dict.fromkeys(names))


def wanted(table: str, row: Mapping[str, Any]) -> list[Record]:
    """The records that a row is in Salesforce; none if it is not sent by rule."""
    return compile_mapping(load_mappings()[table]).to_salesforce(dict(row), existing=False)


def differences(table: str, record: Record, found: Mapping[str, Any] | None) -> dict[str, Difference]:
    """field -> (wanted, found) where the two differ; {"record": ...} if there is none. Polymorphic lookups and lists are not compared."""
    if found is None:
        return {"record": (record.external_id, None)}
    normal = compile_mapping(load_mappings()[table]).normal_record(record.object, dict(found))
    differing: dict[str, Difference] = {}
    for name, value in record.values.items():
        field = record.target.fields[name]
        reference = field.references
        if name in record.held or field.insert_only or (reference is not None and (reference.many or reference.polymorphic)):
            continue
        if field.omit_null and value is None:
            continue
        if normal.get(name) != value:
            differing[name] = (value, normal.get(name, "absent"))
    return differing


def pick(records: Sequence[Mapping[str, Any]], external_id: str) -> Mapping[str, Any] | None:
    """The record of an OMS id in a query's answer."""
    return next((record for record in records if str(record["OMS_Id__c"]).lower() == external_id), None)
