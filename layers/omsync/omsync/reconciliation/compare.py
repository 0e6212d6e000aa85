"""Two systems' records of one table, value by value, in the mapping's normal form. Pure: rows and records in, what differs out.

    compiled = compile_mapping(load_mappings()["orders"])
    for target in compiled.mapping.targets:
        records = query(f"SELECT {', '.join(select(compiled, target.object))} FROM {target.object}")
        compare(compiled, target.object, rows, records).differences

Names of fields are told, values never: what differs is a patient's.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from omsync.mapping.compiled import Compiled
from omsync.mapping.digest import differences
from omsync.mapping.errors import TransformError
from omsync.mapping.inward import Ids, SalesforceRecord
from omsync.mapping.model import Row
from omsync.mapping.outward import Record

type Kind = Literal["missing_in_salesforce", "missing_in_oms", "different", "duplicate", "unreadable"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One record in which the systems don't agree. `record` is `table/id`, the id being Salesforce's where the OMS has none."""

    kind: Kind
    record: str
    object: str
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class Comparison:
    """What was compared: records found on both sides, and the values in them."""

    table: str
    object: str
    records: int = 0
    values: int = 0
    not_sent: int = 0
    differences: list[Difference] = field(default_factory=list)


def comparable(compiled: Compiled, object_name: str) -> tuple[str, ...]:
    """The fields whose values are compared: all but those that the mapping takes out, and lists of Salesforce ids, which only a writer resolves."""
    fields = compiled.fields(object_name)
    return tuple(name for name, one in fields.items() if one.compared and not (one.references is not None and one.references.many))


def select(compiled: Compiled, object_name: str) -> list[str]:
    """What a query must ask for: `Id`, `OMS_Id__c`, and every compared field, parents by their OMS id."""
    fields = compiled.fields(object_name)
    return list(dict.fromkeys(["Id", "OMS_Id__c", *(fields[name].path for name in comparable(compiled, object_name))]))


def compare(
    compiled: Compiled,
    object_name: str,
    rows: Iterable[Row],
    records: Iterable[SalesforceRecord],
    *,
    staff: Container[str] | None = None,
    ids: Ids | None = None,
) -> Comparison:
    """Every row against its record, and every record against the rows. Rows that are not sent by rule need no record.

    `rows` as the OMS's API gives them; `records` as a query of `select` does, all of the table's and no others; `staff`: OMS ids
    that have a User; `ids` names the parents that a query can only give as Salesforce ids.
    """
    table = compiled.mapping.table
    made = Comparison(table, object_name)
    held = _by_oms_id(table, object_name, records, made)
    names = comparable(compiled, object_name)
    for row in rows:
        oms_id = str(row["id"])
        found = held.pop(oms_id, None)
        try:
            wanted = _wanted(compiled.to_salesforce(row, existing=found is not None, staff=staff), object_name)
        except TransformError as fault:
            made.differences.append(Difference("unreadable", f"{table}/{oms_id}", object_name, (str(fault.code),)))
            continue
        if wanted is None and found is None:
            made.not_sent += 1
        elif wanted is None:
            made.differences.append(Difference("different", f"{table}/{oms_id}", object_name, ("record",)))
        elif found is None:
            made.differences.append(Difference("missing_in_salesforce", f"{table}/{oms_id}", object_name))
        else:
            _values(compiled, wanted, compiled.normal_record(object_name, found, ids=ids), names, made)
    made.differences += [Difference("missing_in_oms", f"{table}/{oms_id}", object_name) for oms_id in held]
    return made


def _by_oms_id(table: str, object_name: str, records: Iterable[SalesforceRecord], made: Comparison) -> dict[str, SalesforceRecord]:
    held: dict[str, SalesforceRecord] = {}
    for record in records:
        oms_id = str(record.get("OMS_Id__c") or "").lower()
        if not oms_id:
            made.differences.append(Difference("missing_in_oms", f"{table}/{record.get('Id')}", object_name))
        elif oms_id in held:
            made.differences.append(Difference("duplicate", f"{table}/{oms_id}", object_name))
        else:
            held[oms_id] = record
    return held


def _wanted(records: Sequence[Record], object_name: str) -> Record | None:
    return next((record for record in records if record.object == object_name), None)


def _values(compiled: Compiled, wanted: Record, found: Mapping[str, object], names: Sequence[str], made: Comparison) -> None:
    """One record's values. What is withheld, cut, or left out when null says nothing about the other side."""
    ours = wanted.values
    fields = compiled.fields(wanted.object)
    told = [name for name in names if name in ours and name not in wanted.held and not (ours[name] is None and fields[name].omit_null)]
    made.records += 1
    made.values += len(told)
    differing = differences(ours, dict(found), told)  # type: ignore[arg-type]
    if differing:
        made.differences.append(Difference("different", f"{compiled.mapping.table}/{wanted.external_id}", wanted.object, differing))
