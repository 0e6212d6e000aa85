"""Permission sets: what the synchroniser, the loader, coordinators and clinicians may see and change.

People may change what the mapping gives to Salesforce or to both, and nothing else; what field-level security can't protect
is protected by rule (`rules.py`). Nobody gets Activate Orders: an activated order freezes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ops.salesforce.org import OrgField, OrgModel, Use
from ops.salesforce.presentation import Access, presentation
from ops.salesforce.records import person_record_types
from ops.salesforce.xml import Node

#: Objects without permissions of their own: they follow a parent, or everybody has them.
_NO_OBJECT_PERMISSIONS = frozenset({"User", "OrderItem", "PricebookEntry", "EmailMessage"})
#: Standard fields that no column fills and that are read all the same: the roll-up that reconciliation compares with the OMS's subtotal.
_ALSO_READ = {"User": ("EmployeeNumber",), "Order": ("TotalAmount",)}
#: Standard fields that a mapping's constant fills: every prescriber is a contact of one account.
_CONSTANTS = {"Contact": ("AccountId",)}
#: Fields of the Cases omsync opens; they stand in force-app and are not the mapping's.
INTEGRATION_CASE = ("Integration_Key__c", "Integration_Record__c", "Integration_Field__c", "Integration_Count__c")
_SYNC = ("Sync_Save__c", "Sync_Seen__c", "Sync_Write__c", "Sync_Stamps__c")


@dataclass(frozen=True, slots=True)
class Role:
    """A permission set. A machine reads and writes everything; a person what the presentation grants."""

    name: str
    label: str
    description: str
    machine: bool = False
    custom_permission: str | None = None
    user_permissions: tuple[str, ...] = ()
    principal: str | None = None
    app: str | None = None


ROLES = (
    Role(
        "OMSync_Integration",
        "OMSync Integration",
        "The synchroniser's user: reads and writes what the mapping names, and alone may call omsync's API.",
        machine=True,
        custom_permission="OMSync_Integration",
        user_permissions=("ApiEnabled",),
        principal="OMSync_Api-Integration",
    ),
    Role(
        "OMSync_Load",
        "OMSync Load",
        "The migration's loader, for a migration's time only: also sets the original creation date and the users' OMS ids.",
        machine=True,
        custom_permission="OMSync_Load",
        user_permissions=("ApiEnabled", "CreateAuditFields", "ManageInternalUsers", "UpdateWithInactiveOwner", "ViewSetup"),
    ),
    Role(
        "Care_Coordinator",
        "Care Coordinator",
        "Finds all about a patient on one page; edits contact data, drafts and cases; asks the OMS to act.",
        app="Care_Console",
    ),
    Role(
        "Clinician",
        "Clinician",
        "As a coordinator, without payments, and with intake answers and every clinical note.",
        app="Care_Console",
    ),
)  # fmt: skip


def permission_set(org: OrgModel, role: Role) -> dict[str, Node]:
    """Body of a permission set; elements in the schema's order."""
    return {
        "applicationVisibilities": {"application": role.app, "visible": True} if role.app else None,
        "customPermissions": {"enabled": True, "name": role.custom_permission} if role.custom_permission else None,
        "description": role.description,
        "externalCredentialPrincipalAccesses": {"enabled": True, "externalCredentialPrincipal": role.principal} if role.principal else None,
        "fieldPermissions": list(_fields(org, role)),
        "hasActivationRequired": False,
        "label": role.label,
        "objectPermissions": list(_objects(org, role)),
        "recordTypeVisibilities": list(_record_types(org, role)),
        "tabSettings": list(_tabs(org, role)),
        "userPermissions": [{"enabled": True, "name": name} for name in sorted(role.user_permissions)],
    }


def _access(role: Role, object_name: str) -> Access:
    if role.machine:
        return "create_edit"
    if object_name in ("OrderItem", "PricebookEntry"):
        object_name = {"OrderItem": "Order", "PricebookEntry": "Product2"}[object_name]
    return presentation(object_name).access.get(role.name, "none")


def _objects(org: OrgModel, role: Role) -> Iterator[Node]:
    names = sorted({*org.objects, "Pricebook2"} - _NO_OBJECT_PERMISSIONS)
    for name in names:
        access = "read" if name == "Pricebook2" and not role.machine else _access(role, name)
        if access == "none":
            continue
        yield _object_permission(name, access, role)
    if role.principal:
        # The subscriber reads the hints as this user; publishing them is the triggers' and needs no permission.
        yield _object_permission("Record_Changed__e", "read", role)
        # Without it a callout finds no credential, whatever principal the user has been granted.
        yield _object_permission("UserExternalCredential", "read", role)


def _object_permission(name: str, access: Access, role: Role) -> Node:
    everything = role.machine and name not in ("Record_Changed__e", "UserExternalCredential")
    return {
        "allowCreate": access in ("create", "create_edit"),
        "allowDelete": everything,
        "allowEdit": access in ("edit", "create_edit"),
        "allowRead": True,
        "modifyAllRecords": everything,
        "object": name,
        "viewAllRecords": everything or role.name in presentation(name).view_all,
    }


def _fields(org: OrgModel, role: Role) -> Iterator[Node]:
    """Every field that can be secured, once; a Person Account's own fields are the Contact's."""
    granted: dict[str, bool] = {}
    for name, obj in org.objects.items():
        for field in obj.fields.values():
            permission = field.securable()
            if permission is not None and _sees(role, field):
                granted[permission] = granted.get(permission, False) or role.machine or _edits(role, field)
        if _access(role, name) != "none":
            granted |= {f"{name}.{field}": False for field in _ALSO_READ.get(name, ())}
            granted |= {f"{name}.{field}": role.machine for field in (INTEGRATION_CASE if name == "Case" else ())}
            granted |= {f"{name}.{field}": role.machine for field in _CONSTANTS.get(name, ())}
    for permission in sorted(granted):
        yield {"editable": granted[permission], "field": permission, "readable": True}


def _sees(role: Role, field: OrgField) -> bool:
    if role.machine:
        return True
    if field.name in _SYNC:
        return False
    return any(_access(role, use.field.object) != "none" or use.field.object in ("EmailMessage", "User") for use in field.uses)


def _edits(role: Role, field: OrgField) -> bool:
    return field.people_may_enter and any(_may_write(role, use) for use in field.uses)


def _may_write(role: Role, use: Use) -> bool:
    access = _access(role, use.field.object)
    if use.people_may_edit:
        return access in ("create", "edit", "create_edit")
    return access in ("create", "create_edit") and use.field.name in presentation(use.field.object).entered


def _record_types(org: OrgModel, role: Role) -> Iterator[Node]:
    person = person_record_types(org)
    names: set[str] = set()
    for name, obj in org.objects.items():
        if _access(role, name) == "none":
            continue
        kinds = {*presentation(name).record_types, *(kind for _, target in obj.tables for kind in target.record_types)}
        names |= {f"{'PersonAccount' if name == 'Account' and kind in person else name}.{kind}" for kind in kinds}
    for name in sorted(names):
        yield {"recordType": name, "visible": True}


def _tabs(org: OrgModel, role: Role) -> Iterator[Node]:
    if role.machine:
        return
    for name in sorted(org.objects):
        if presentation(name).icon and _access(role, name) != "none":
            yield {"tab": name, "visibility": "Visible"}
    for standard in ("Account", "Case", "Order", "Product2"):
        yield {"tab": f"standard-{standard}", "visibility": "Visible"}
