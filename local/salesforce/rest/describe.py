"""What describe says: the global list, an object's basic information and its full description.

The keys are those of a live org's describes (every field carries all of them); the values follow from the schema.
Fields the caller may not see are left out, as field-level security has it.
"""

from __future__ import annotations

from local.salesforce.context import Permissions
from local.salesforce.schema import ChildRelationship, FieldType, Kind, ObjectType, OnParentDelete, Org

MASTER_RECORD_TYPE = "012000000000000AAA"
_TEXT_BYTES = 3  # a UTF-16 unit takes up to three bytes
_SYSTEM = frozenset({"Id", "IsDeleted", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp"})
_NAME_PARTS = frozenset({"FirstName", "LastName", "MiddleName", "Suffix", "Salutation", "Name"})


def global_describe(org: Org, permissions: Permissions, root: str) -> dict[str, object]:
    """`GET /sobjects`."""
    visible = [obj for obj in sorted(org, key=lambda o: o.name) if _visible(obj, permissions)]
    return {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": [summary(obj, root) for obj in visible]}


def _visible(obj: ObjectType, permissions: Permissions) -> bool:
    return permissions.everything or not obj.custom or permissions.allows(obj, "read")


def object_root(obj: ObjectType, root: str) -> str:
    return f"{root}/sobjects/{obj.name}"


def summary(obj: ObjectType, root: str) -> dict[str, object]:
    """One object's entry in the global list, which is also the `objectDescribe` of its basic information."""
    here = object_root(obj, root)
    urls = {"rowTemplate": f"{here}/{{ID}}", "describe": f"{here}/describe", "sobject": here}
    if obj.layoutable:
        urls |= {
            "compactLayouts": f"{here}/describe/compactLayouts",
            "approvalLayouts": f"{here}/describe/approvalLayouts",
            "defaultValues": f"{here}/defaultValues?recordTypeId&fields",
            "listviews": f"{here}/listviews",
            "quickActions": f"{here}/quickActions",
            "layouts": f"{here}/describe/layouts",
        }
    return {
        "activateable": False,
        "associateEntityType": None,
        "associateParentEntity": None,
        "createable": obj.createable,
        "custom": obj.custom,
        "customSetting": False,
        "deepCloneable": False,
        "deletable": obj.deletable,
        "deprecatedAndHidden": False,
        "feedEnabled": obj.layoutable and not obj.custom,
        "hasSubtypes": False,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": obj.key_prefix,
        "label": obj.label,
        "labelPlural": obj.plural,
        "layoutable": obj.layoutable,
        "mergeable": obj.mergeable,
        "mruEnabled": obj.layoutable,
        "name": obj.name,
        "queryable": obj.queryable,
        "replicateable": obj.replicateable,
        "retrieveable": obj.queryable,
        "searchable": obj.searchable,
        "triggerable": obj.triggerable,
        "undeletable": obj.undeletable,
        "updateable": obj.updateable,
        "urls": urls,
    }


def describe(org: Org, obj: ObjectType, permissions: Permissions, root: str, base: str) -> dict[str, object]:
    """`GET /sobjects/X/describe`."""
    fields = [describe_field(obj, f, permissions) for f in obj.fields.values() if permissions.readable(obj, f)]
    short = summary(obj, root)
    urls = dict(short.pop("urls"))  # type: ignore[call-overload]
    urls |= {"uiEditTemplate": f"{base}/{{ID}}/e", "uiDetailTemplate": f"{base}/{{ID}}", "uiNewRecord": f"{base}/{obj.key_prefix}/e"}
    whole = {
        **short,
        "actionOverrides": [],
        "childRelationships": [_child(org, c) for c in sorted(obj.children, key=lambda c: (c.child, c.field))],
        "compactLayoutable": obj.layoutable,
        "defaultImplementation": None,
        "extendedBy": None,
        "extendsInterfaces": None,
        "fields": fields,
        "implementedBy": None,
        "implementsInterfaces": None,
        "listviewable": None,
        "lookupLayoutable": None,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "recordTypeInfos": _record_types(obj, root),
        "searchLayoutable": obj.searchable,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": [
            {"label": f"All {obj.plural.lower()}", "name": "everything"},
            {"label": f"My {obj.plural.lower()}", "name": "mine"},
        ],
        "urls": urls,
    }
    return {key: whole[key] for key in sorted(whole)}


def _child(org: Org, child: ChildRelationship) -> dict[str, object]:
    return {
        "cascadeDelete": child.on_delete is OnParentDelete.CASCADE,
        "childSObject": child.child,
        "deprecatedAndHidden": False,
        "field": child.field,
        "junctionIdListNames": [],
        "junctionReferenceTo": [],
        "relationshipName": child.name,
        "restrictedDelete": child.on_delete is OnParentDelete.RESTRICT,
    }


def _record_types(obj: ObjectType, root: str) -> list[dict[str, object]]:
    def info(name: str, developer_name: str, record_id: str, *, active: bool, default: bool, master: bool) -> dict[str, object]:
        return {
            "active": active,
            "available": active,
            "defaultRecordTypeMapping": default,
            "developerName": developer_name,
            "master": master,
            "name": name,
            "recordTypeId": record_id,
            "urls": {"layout": f"{object_root(obj, root)}/describe/layouts/{record_id}"},
        }

    own = [
        info(r.label, r.developer_name, r.id, active=r.active, default=index == 0, master=False)
        for index, r in enumerate(obj.record_types.values())
    ]
    return [*own, info("Master", "Master", MASTER_RECORD_TYPE, active=True, default=not own, master=True)]


def describe_field(obj: ObjectType, f: FieldType, permissions: Permissions) -> dict[str, object]:
    """All 58 keys of a field."""
    editable = permissions.editable(obj, f)
    kind = f.describe_type
    length = _length(f)
    sortable = f.filterable and f.kind is not Kind.ADDRESS
    return {
        "aggregatable": sortable and f.kind is not Kind.CHECKBOX,
        "aiPredictionField": False,
        "autoNumber": f.kind is Kind.AUTO_NUMBER,
        "byteLength": length if kind in {"id", "reference"} else length * _TEXT_BYTES,
        "calculated": False,
        "calculatedFormula": None,
        "cascadeDelete": f.kind is Kind.MASTER_DETAIL,
        "caseSensitive": f.case_sensitive,
        "compoundFieldName": _compound(obj, f),
        "controllerName": None,
        "createable": f.createable and editable,
        "custom": f.custom,
        "defaultValue": f.default if f.kind is not Kind.CHECKBOX else bool(f.default),
        "defaultValueFormula": None,
        "defaultedOnCreate": _defaulted(f) or (obj.custom and f.name == obj.name_field),
        "dependentPicklist": False,
        "deprecatedAndHidden": False,
        "digits": f.precision or 8 if f.kind is Kind.INTEGER else 0,
        "displayLocationInDecimal": False,
        "encrypted": False,
        "externalId": f.external_id,
        "extraTypeInfo": f.extra or _extra(f),
        "filterable": f.filterable,
        "filteredLookupInfo": None,
        "formulaTreatNullNumberAsZero": False,
        "groupable": f.groupable,
        "highScaleNumber": False,
        "htmlFormatted": f.kind is Kind.HTML,
        "idLookup": f.id_lookup or f.kind is Kind.ID or f.external_id,
        "inlineHelpText": f.help,
        "label": "Record ID" if obj.custom and f.kind is Kind.ID else f.label,
        "length": length,
        "mask": None,
        "maskType": None,
        "name": f.name,
        "nameField": f.name == obj.name_field,
        "namePointing": len(f.references) > 1,
        "nillable": _nillable(f),
        "permissionable": f.permissionable,
        "picklistValues": [
            {"active": v.active, "defaultValue": v.default, "label": v.label, "validFor": None, "value": v.value} for v in f.picklist
        ],
        "polymorphicForeignKey": len(f.references) > 1,
        "precision": f.precision if f.is_number and f.kind is not Kind.INTEGER else 0,
        "queryByDistance": f.kind is Kind.ADDRESS,
        "referenceTargetField": None,
        "referenceTo": list(f.references),
        "relationshipName": f.relationship,
        "relationshipOrder": 0 if f.kind is Kind.MASTER_DETAIL else None,
        "restrictedDelete": f.on_delete is OnParentDelete.RESTRICT and f.is_reference and f.custom,
        "restrictedPicklist": f.restricted,
        "scale": f.scale if f.is_number else 0,
        "searchPrefilterable": f.is_reference and f.createable and f.updateable and f.name not in {"OwnerId", "RecordTypeId"},
        "soapType": f.soap_type,
        "sortable": sortable,
        "type": kind,
        "unique": f.unique,
        "updateable": f.updateable and editable,
        "writeRequiresMasterRead": False,
    }


def _length(f: FieldType) -> int:
    if f.describe_type in {"id", "reference"}:
        return 18
    if f.kind in {Kind.PICKLIST, Kind.MULTI_PICKLIST}:
        return f.length or 255
    return f.length if f.is_text else 0


def _compound(obj: ObjectType, f: FieldType) -> str | None:
    if f.compound:
        return f.compound
    if f.name == "Name":
        return "Name" if obj.name == "Account" else None  # an Account may be a person
    return "Name" if f.name in _NAME_PARTS and obj.field("FirstName") is not None else None


def _extra(f: FieldType) -> str | None:
    if f.describe_type == "textarea":
        return "richtextarea" if f.kind is Kind.HTML else "plaintextarea"
    return None


def _defaulted(f: FieldType) -> bool:
    if f.name in _SYSTEM or f.name == "OwnerId" or f.kind in {Kind.CHECKBOX, Kind.AUTO_NUMBER}:
        return True
    return f.default is not None or any(v.default for v in f.picklist)


def _nillable(f: FieldType) -> bool:
    return f.nillable and not f.required and f.kind not in {Kind.ID, Kind.CHECKBOX, Kind.MASTER_DETAIL, Kind.AUTO_NUMBER}


def layouts(obj: ObjectType, root: str) -> dict[str, object]:
    """`GET /sobjects/X/describe/layouts`: the record types and where each one's layout is, without the layouts' details."""
    mappings = [
        {
            "available": info["available"],
            "defaultRecordTypeMapping": info["defaultRecordTypeMapping"],
            "developerName": info["developerName"],
            "layoutId": None,
            "master": info["master"],
            "name": info["name"],
            "picklistsForRecordType": [],
            "recordTypeId": info["recordTypeId"],
            "urls": info["urls"],
        }
        for info in _record_types(obj, root)
    ]
    return {"layouts": [], "recordTypeMappings": mappings, "recordTypeSelectorRequired": [bool(obj.record_types)]}
