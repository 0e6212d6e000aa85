"""Validation rules that follow from the mapping (DESIGN, "Mirrored records" and "Shared records").

    OMSync_Version_Guard     an older version of a mirrored record is refused: OMSYNC_STALE
    OMSync_Save_Guard        a synchroniser that missed a save is refused: OMSYNC_STALE
    OMSync_Patient_Required  a patient's child has a patient, unless the loader brings it first
    OMSync_OMS_Owned         people may not change what is the OMS's and field-level security can't protect

PRIORVALUE is the new value on create, so every rule that compares with it starts with NOT(ISNEW()).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from omsync.mapping.model import Field, TableMapping, Target
from ops.salesforce.org import OrgModel, OrgObject, securable
from ops.salesforce.presentation import presentation
from ops.salesforce.xml import Node

STALE = "OMSYNC_STALE"
_OURS = ("$Permission.OMSync_Integration", "$Permission.OMSync_Load")
#: Whether EmailMessage takes validation rules is not known; it is inserted once, after a query.
_NO_RULES = frozenset({"EmailMessage", "User"})
#: Saves that the save guard leaves alone, because nobody sent them. A line that changes an order's total makes Salesforce save the order, with
#: its triggers and rules, in the name of whoever wrote the line (release notes Winter '21, "Orders: New Behavior for Saving Orders").
_UNGUARDED = {"Order": "NOT(ISCHANGED(TotalAmount))"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One validation rule; the formula says when a save is refused."""

    name: str
    formula: str
    message: str
    description: str
    field: str | None = None

    def body(self) -> dict[str, Node]:
        return {
            "fullName": self.name,
            "active": True,
            "description": self.description,
            "errorConditionFormula": self.formula,
            "errorDisplayField": self.field,
            "errorMessage": self.message,
        }


def rules(org: OrgModel, obj: OrgObject) -> Iterator[Rule]:
    """The rules of an object."""
    if obj.name in _NO_RULES:
        return
    tables = list(org.uses(obj.name))
    for table, target in tables:
        suffix = f"_{target.record_types[0]}" if len(tables) > 1 else ""
        others = len(tables) > 1 or presentation(obj.name).record_types.keys() - set(target.record_types)
        only = _record_types(target) if others else None
        if target.sync_fields:
            yield _save_guard(suffix, only, _UNGUARDED.get(obj.name))
        elif "OMS_Version__c" in target.fields and table.mode != "matched":
            yield _version_guard(suffix, only)
        patient = _patient(table, target)
        if patient is not None:
            yield _patient_required(patient)
        owned = sorted(_unprotected(org, table, target))
        if owned:
            yield _oms_owned(suffix, only, owned)


def _all(*terms: str | None) -> str:
    """AND over its terms, one a line."""
    return "AND(\n" + ",\n".join(f"  {term}" for term in terms if term) + "\n)"


def _record_types(target: Target) -> str | None:
    names = [f'RecordType.DeveloperName = "{name}"' for name in target.record_types]
    if not names:
        return None
    return names[0] if len(names) == 1 else f"OR({', '.join(names)})"


def _version_guard(suffix: str, only: str | None) -> Rule:
    return Rule(
        f"OMSync_Version_Guard{suffix}",
        _all("NOT(ISNEW())", only, "OMS_Version__c < BLANKVALUE(PRIORVALUE(OMS_Version__c), 0)"),
        f"{STALE}: a newer version of this record is already here.",
        "Refuses an older version of a record that comes from the OMS, however late or often it is delivered.",
    )


def _save_guard(suffix: str, only: str | None, but: str | None) -> Rule:
    return Rule(
        f"OMSync_Save_Guard{suffix}",
        _all(
            "NOT(ISNEW())",
            only,
            but,
            f"OR({', '.join(_OURS)})",
            "BLANKVALUE(Sync_Seen__c, -1) <> BLANKVALUE(PRIORVALUE(Sync_Save__c), 0)",
        ),
        f"{STALE}: this record was saved since it was read.",
        "Refuses the synchroniser's write unless it has seen the latest save, so that no person's edit is overwritten unread.",
    )


def _patient(table: TableMapping, target: Target) -> Field | None:
    """The lookup to the patient, where the OMS always has one."""
    for field in target.fields.values():
        if field.references is None or field.references.table != "patients" or len(field.sources) != 1 or field.type != "Lookup":
            continue
        column = table.columns.get(field.sources[0])
        if column is not None and not column.nullable and column.references == "patients":
            return field
    return None


def _patient_required(field: Field) -> Rule:
    return Rule(
        "OMSync_Patient_Required",
        _all(f"ISBLANK({field.name})", "NOT($Permission.OMSync_Load)"),
        "Choose the patient this record belongs to.",
        "The lookup is optional in the schema so that deleting a patient can clear it; this rule makes it required in practice.",
        field.name,
    )


def _unprotected(org: OrgModel, table: TableMapping, target: Target) -> set[str]:
    """OMS-owned fields that people could change: required ones, master-details, names; or held for another table's sake.

    A provider's Email is a patient's too, and what a person enters in a new record stays writable afterwards.
    """
    found = set()
    for field in target.fields.values():
        if field.system or field.match_only or field.insert_only or field.feature is not None:
            continue
        if field.create_only and not field.custom:
            continue  # Salesforce itself lets nobody change it: OrderItem.OrderId
        if table.mode == "shared" and field.owner != "oms":
            continue
        if field.type in ("LongTextArea", "Html"):
            continue  # ISCHANGED does not see long text
        name = securable(field.metadata_object, field.metadata_name, required=field.required, kind=field.type)
        if name is None or name in org.people_hold:
            found.add(field.name)
    return found


def _oms_owned(suffix: str, only: str | None, names: list[str]) -> Rule:
    changed = [f"ISCHANGED({name})" for name in names]
    any_changed = changed[0] if len(changed) == 1 else "OR(\n    " + ",\n    ".join(changed) + "\n  )"
    return Rule(
        f"OMSync_OMS_Owned{suffix}",
        _all("NOT(ISNEW())", only, *(f"NOT({permission})" for permission in _OURS), any_changed),
        "This comes from the OMS and can't be changed here.",
        "Fields that field-level security can't keep read-only: required ones, a master-detail, or what a person enters once.",
    )
