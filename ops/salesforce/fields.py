"""Custom fields and custom objects as metadata."""

from __future__ import annotations

import re

from ops.salesforce.org import OrgField, OrgModel, OrgObject, Use
from ops.salesforce.presentation import FieldNote, in_words, presentation
from ops.salesforce.xml import Node

_PHI = {"I": ("PII;HIPAA", "Confidential"), "C": ("HIPAA", "Restricted"), "F": ("HIPAA", "Confidential")}
_PHI_WORDS = {"I": "identifier", "C": "clinical", "F": "financial"}
_RELATIONSHIP_LENGTH = 40
_HELP_LENGTH = 510


def custom_object(obj: OrgObject) -> dict[str, Node]:
    """Body of `<Object>.object-meta.xml` of a custom object."""
    target, look = obj.target, presentation(obj.name)
    compact = next((layout.name for layout in look.compact_layouts if not layout.record_types), None)
    tables = ", ".join(dict.fromkeys(table.table for table, _ in obj.tables))
    name: dict[str, Node] = {"label": look.name_label or f"{target.label} Name", "type": "Text"}
    if target.auto_number:
        name = {"displayFormat": target.auto_number, "label": look.name_label or f"{target.label} Number", "type": "AutoNumber"}
    return {
        "compactLayoutAssignment": compact or "SYSTEM",
        "deploymentStatus": "Deployed",
        "description": look.description or f"Kept in step with the OMS table {tables}.",
        "enableActivities": target.sharing != "ControlledByParent",
        "enableBulkApi": True,
        "enableFeeds": False,
        "enableHistory": False,
        "enableReports": True,
        "enableSearch": True,
        "enableSharing": True,
        "enableStreamingApi": True,
        "label": target.label,
        "nameField": name,
        "pluralLabel": target.plural_label,
        "sharingModel": look.sharing or target.sharing,
    }


def custom_field(org: OrgModel, field: OrgField) -> dict[str, Node]:
    """Body of `<Field>.field-meta.xml`; elements in the schema's order."""
    first, note = field.first, _note(field)
    kind = first.type
    groups, classification = _PHI.get(_phi(field) or "", (None, None))
    values: dict[str, Node] = {
        "fullName": field.name,
        "caseSensitive": False if any(use.field.unique for use in field.uses) else None,
        "complianceGroup": groups,
        "defaultValue": _default(field),
        "deleteConstraint": "SetNull" if kind == "Lookup" else None,
        "description": _description(field),
        "displayFormat": None,
        "externalId": any(use.field.external_id for use in field.uses),
        "inlineHelpText": help_text(field),
        "label": (note and note.label) or first.label,
        "length": field.length if kind in ("Text", "LongTextArea", "Html") else None,
        "precision": first.precision if kind in ("Number", "Currency") else None,
    }
    if first.references is not None:
        values |= _reference(org, field)
    values |= {
        "required": None if kind in ("Checkbox", "MasterDetail", "LongTextArea", "Html") else field.required,
        "scale": first.scale if kind in ("Number", "Currency") else None,
        "securityClassification": classification,
        "trackTrending": None,
        "type": kind,
        "unique": any(use.field.unique for use in field.uses) if kind in ("Text", "Number", "Email") else None,
        "valueSet": _value_set(field, note) if field.is_picklist else None,
        "visibleLines": {"LongTextArea": 6, "Html": 10, "MultiselectPicklist": 4}.get(kind),
        "writeRequiresMasterRead": False if kind == "MasterDetail" else None,
    }
    return values


def _reference(org: OrgModel, field: OrgField) -> dict[str, Node]:
    master = field.first.type == "MasterDetail"
    return {
        "referenceTo": field.parent.object,
        "relationshipLabel": related_label(org, field),
        "relationshipName": relationship_name(org, field),
        "relationshipOrder": 0 if master else None,
        "reparentableMasterDetail": True if master else None,
    }


def relationship_name(org: OrgModel, field: OrgField) -> str:
    """The child relationship's name on the parent, without `__r`: `Prescriptions`; a second lookup to the same parent adds its own."""
    return re.sub(r"\W+", "_", related_label(org, field))[:_RELATIONSHIP_LENGTH].strip("_")


def related_label(org: OrgModel, field: OrgField) -> str:
    """The related list's heading on the parent: `Prescriptions`, or `Prescriptions (Pharmacy)` where the parent holds several."""
    note = _note(field)
    if note and note.related:
        return note.related
    plural = field.uses[0].target.plural_label
    rivals = [
        other for other in org.objects[field.object].fields.values()
        if other.first.references is not None and other.parent.object == field.parent.object
    ]  # fmt: skip
    primary = [other for other in rivals if other.parent.table == "patients"]
    if len(rivals) == 1 or primary == [field]:
        return plural
    return f"{plural} ({field.first.label})"


def _note(field: OrgField) -> FieldNote | None:
    """The object's own words, under the name its records use."""
    names = {(use.field.object, use.field.name) for use in field.uses} | {(field.object, field.name)}
    return next((notes[name] for obj, name in sorted(names) if name in (notes := presentation(obj).fields)), None)


def _phi(field: OrgField) -> str | None:
    codes = {use.field.phi for use in field.uses}
    return next((code for code in ("C", "I", "F") if code in codes), None)


def _default(field: OrgField) -> str | None:
    if field.first.type != "Checkbox":
        return None
    return "true" if any(_column_default(use) == "true" for use in field.uses) else "false"


def _column_default(use: Use) -> str | None:
    """A column's literal default, if the field carries one column; quotes and casts taken off."""
    if len(use.field.sources) != 1 or use.field.sources[0] not in use.table.columns:
        return None
    default = use.table.columns[use.field.sources[0]].default
    return default.split("::")[0].strip("'") if default else None


def _description(field: OrgField) -> str:
    """For administrators: where the value comes from and who decides it."""
    said = []
    for use in field.uses:
        if not use.field.sources:
            continue
        columns = ", ".join(f"{use.table.table}.{source}" for source in use.field.sources)
        phi = f" PHI: {_PHI_WORDS[use.field.phi]}." if use.field.phi else ""
        owner = {"oms": "the OMS", "salesforce": "Salesforce", "both": f"both, policy {use.field.policy}"}[
            use.field.owner if use.table.mode == "shared" else "oms"
        ]
        said.append(f"OMS {columns}. Owner: {owner}.{phi}")
    return " ".join(said) if said else help_text(field)


_SYNC = {
    "Sync_Save__c": "How often this record has been saved here. Counted by a trigger.",
    "Sync_Seen__c": "The save count that the synchroniser had seen when it wrote. A rule refuses a write that missed a save.",
    "Sync_Write__c": "The synchroniser's last write.",
    "Sync_Stamps__c": "When a person last edited each shared field. Kept by a trigger.",
}
_COMMON = {
    "OMS_Id__c": "The record's id in the OMS. Empty until the OMS knows the record.",
    "OMS_Version__c": "The OMS's version of this record. An older version is refused.",
    "OMS_Created_At__c": "When the OMS created the record.",
    "OMS_Updated_At__c": "When the OMS last changed the record.",
    "OMS_Deleted__c": "Deleted in the OMS. The record is kept here for its history.",
}


def help_text(field: OrgField) -> str:
    """What a coordinator reads beside the field: the design's words, then who may change it and what happens then."""
    if field.name in _SYNC or field.name in _COMMON:
        return _SYNC.get(field.name) or _COMMON[field.name]
    note = _note(field)
    said = [note.help] if note and note.help else []
    said.append(_who_decides(field))
    return " ".join(said)[:_HELP_LENGTH]


def _who_decides(field: OrgField) -> str:
    use = next((use for use in field.uses if use.people_may_edit), field.uses[0])
    if not use.people_may_edit:
        return "Comes from the OMS; read only here."
    if _is_command(use):
        return "Ask the OMS to do this. It does it once, or says why not, and clears the field."
    if use.field.owner == "salesforce":
        return "Kept here; the OMS follows."
    return {
        "latest": "May be changed here and in the OMS; the latest change stands.",
        "revoked_wins": "May be changed here and in the OMS; a revocation always stands.",
        "manual": "May be changed here and in the OMS; if both did, a Case asks you which stands.",
        "oms": "May be changed here and in the OMS; if both did, the OMS's value stands.",
        "salesforce": "May be changed here and in the OMS; if both did, the value here stands.",
    }[use.field.policy]


def _is_command(use: Use) -> bool:
    return any(source in use.table.columns and use.table.columns[source].command for source in use.field.sources)


def _value_set(field: OrgField, note: FieldNote | None) -> dict[str, Node]:
    default = default_value(field)
    return {
        "restricted": all(use.field.restricted for use in field.uses),
        "valueSetDefinition": {
            "sorted": False,
            "value": [
                {"fullName": value, "default": value == default, "label": value_label(note, value)} for value in field.picklist
            ],
        },
    }  # fmt: skip


def default_value(field: OrgField) -> str | None:
    """The column's default, where people create records: the OMS would have filled in the same."""
    uses = [use for use in field.uses if "salesforce" in use.table.born_in or not field.custom]
    return next((value for use in uses if not _is_command(use) and (value := _column_default(use)) in field.picklist), None)


def value_label(note: FieldNote | None, value: str) -> str:
    """What a person reads for a picklist value."""
    return (note.values.get(value) if note else None) or in_words(value)


def note_of(field: OrgField) -> FieldNote | None:
    """The design's note about a field, if any."""
    return _note(field)
