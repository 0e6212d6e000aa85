"""Records as Salesforce takes them: JSON for REST, CSV lines for Bulk API 2.0.

What goes along depends on the write (`Kind`):
    create       live insert or upsert of a record that may be new
    update       live update: create-only fields stay out
    load         the migration's Bulk insert: no self-references yet, no HTML bodies, audit fields if the load user may set them
    second_pass  the migration's self-references, with the version that Salesforce compares
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Literal

from omsync.mapping.errors import TransformError
from omsync.mapping.model import Constant, Field, Json, Target
from omsync.mapping.normal import utf16_length
from omsync.mapping.outward import Record

type Kind = Literal["create", "update", "load", "second_pass"]
type Org = Mapping[str, str]  # `record_type:Account.Patient`, `standard_price_book` -> Salesforce id

BULK_FIELD_LIMIT = 32_000  # characters; Bulk API 2.0 takes no longer field
NULL = "#N/A"


@cache
def written(target: Target, kind: Kind, audit_fields: bool = False) -> tuple[Field, ...]:
    """The fields that a write of this kind holds. `audit_fields`: the load user may set CreatedDate."""
    if kind == "second_pass":
        return tuple(f for f in target.fields.values() if f.name in (target.external_id, "OMS_Version__c") or f.second_pass)
    fields = [f for f in target.fields.values() if not f.match_only]
    if kind == "load":
        return tuple(f for f in fields if f.history and not f.second_pass and (audit_fields or not f.insert_only))
    return tuple(f for f in fields if not f.insert_only and not (kind == "update" and f.create_only))


def org_ids(target: Target) -> set[str]:
    """The names that `Org` must hold to write this target."""
    needed = {constant.org for constant in target.constants if constant.org is not None}
    if target.record_type_column is not None:
        needed |= {f"record_type:{target.object}.{name}" for name in target.record_types}
    return needed


def to_json(
    record: Record, org: Org, kind: Kind = "create", *, fields: Collection[str] | None = None, audit_fields: bool = False
) -> dict[str, Json]:
    """The record for sObject Collections or a single sObject call. `fields` narrows it (the external id always goes along).

    Lists of Salesforce ids (EmailMessage.ToIds) stay out: the writer resolves `record.references` and adds them.
    """
    target = record.target
    body: dict[str, Json] = {"attributes": {"type": target.object}}
    for constant in _constants(target, kind, record.record_type) if fields is None else ():
        body |= _json_constant(constant, org)
    for field in written(target, kind, audit_fields):
        if fields is not None and field.name not in fields and field.name != target.external_id:
            continue
        if field.references is None:
            if field.name in record.fields and not (field.omit_null and record.fields[field.name] is None):
                body[field.name] = record.fields[field.name]
        elif field.name in record.references:
            body |= _json_reference(field, record.references[field.name])
    return body


def csv_header(target: Target, kind: Kind = "load", *, audit_fields: bool = False) -> list[str]:
    """Column names of a Bulk file, in the order of `csv_line`."""
    constants = [_csv_constant_name(constant) for constant in _target_constants(target, kind)]
    return constants + [_csv_name(field) for field in _csv_fields(target, kind, audit_fields)]


def csv_line(record: Record, org: Org, kind: Kind = "load", *, audit_fields: bool = False) -> list[str]:
    """Values of a Bulk line. Null is #N/A, a missing parent is empty (an insert has none either way). Ask `needs_rest` first."""
    constants = _constants(record.target, kind, record.record_type)
    names, references = _csv_columns(record.target, kind, audit_fields)
    line = [_csv_constant(constant, org) for constant in constants]
    line += [NULL if value is None else value if isinstance(value, str) else _csv_value(value) for value in map(record.fields.get, names)]
    for place, name in references:
        line[len(constants) + place] = record.references.get(name) or ""
    return line


def needs_rest(record: Record) -> bool:
    """Can Bulk not carry this record? Text over 32,000 characters, a text that CSV would read as null, a file, a list of ids."""
    if record.files:
        return True
    if NULL in record.fields.values():
        return True
    texts, lists = _not_for_bulk(record.target)
    for name in texts:
        value = record.fields.get(name)
        if isinstance(value, str) and len(value) * 2 > BULK_FIELD_LIMIT and utf16_length(value) > BULK_FIELD_LIMIT:
            return True
    return bool(lists) and any(record.references.get(name) is not None for name in lists)


@cache
def _not_for_bulk(target: Target) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(fields that hold longer texts than Bulk takes, lists of ids). Without a length a field takes less: see `transforms`."""
    texts = tuple(field.name for field in target.fields.values() if (field.length or 0) > BULK_FIELD_LIMIT)
    return texts, tuple(field.name for field in target.fields.values() if _is_list(field) and field.history)


def _is_list(field: Field) -> bool:
    return field.references is not None and field.references.many


def _target_constants(target: Target, kind: Kind) -> list[Constant]:
    if kind == "second_pass":
        return []
    constants = [constant for constant in target.constants if not (kind == "update" and constant.create_only)]
    if target.record_type_column is not None:
        constants.insert(0, Constant(field="RecordTypeId", org="record_type"))
    return constants


@cache
def _constants(target: Target, kind: Kind, record_type: str | None) -> tuple[Constant, ...]:
    chosen = Constant(field="RecordTypeId", org=f"record_type:{target.object}.{record_type}")
    return tuple(chosen if constant.org == "record_type" else constant for constant in _target_constants(target, kind))


def _org_id(name: str, org: Org) -> str:
    if name not in org:
        raise TransformError(f"the org's id of {name} is not known", code="org_id_unknown")
    return org[name]


def _json_constant(constant: Constant, org: Org) -> dict[str, Json]:
    if constant.reference is not None:
        return {constant.reference.relationship: {constant.reference.external_id: constant.value}}
    return {constant.field: _org_id(constant.org, org) if constant.org is not None else constant.value}


def _json_reference(field: Field, parent: str | None) -> dict[str, Json]:
    reference = field.references
    if reference is None or reference.many or (parent is None and field.omit_null):
        return {}
    if parent is None:
        return {field.name: None}
    named: dict[str, Json] = {reference.external_id: parent}
    if reference.polymorphic:
        named = {"attributes": {"type": reference.object}, **named}
    return {reference.relationship: named}


def _csv_fields(target: Target, kind: Kind, audit_fields: bool) -> list[Field]:
    """Columns are the same for every record, so what only some orgs have stays out: an insert gives it the org's default."""
    return [field for field in written(target, kind, audit_fields) if not _is_list(field) and field.feature is None]


@cache
def _csv_columns(target: Target, kind: Kind, audit_fields: bool) -> tuple[tuple[str, ...], tuple[tuple[int, str], ...]]:
    """(names of all fields, place and name of those that are references)."""
    fields = _csv_fields(target, kind, audit_fields)
    references = tuple((place, field.name) for place, field in enumerate(fields) if field.references is not None)
    return tuple(field.name for field in fields), references


def _csv_name(field: Field) -> str:
    reference = field.references
    if reference is None:
        return field.name
    prefix = f"{reference.object}:" if reference.polymorphic else ""
    return f"{prefix}{reference.relationship}.{reference.external_id}"


def _csv_constant_name(constant: Constant) -> str:
    reference = constant.reference
    return constant.field if reference is None else f"{reference.relationship}.{reference.external_id}"


def _csv_constant(constant: Constant, org: Org) -> str:
    return _org_id(constant.org, org) if constant.org is not None else _csv_value(constant.value)


def _csv_value(value: Json) -> str:
    if value is None:
        return NULL
    if value is True or value is False:
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)
