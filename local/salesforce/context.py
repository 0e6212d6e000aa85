"""Who is saving, with which rights, and how: the `Context` every read and write of the org carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from local.salesforce.schema import FieldType, ObjectType, PermissionSet

INTEGRATION_PERMISSION = "OMSync_Integration"
LOAD_PERMISSION = "OMSync_Load"


# Objects without permissions of their own ("Object Permissions", Metadata API): a detail follows its master, prices follow the product ...
_FOLLOWS = {"OrderItem": "order", "PricebookEntry": "product2", "CaseComment": "case"}
# ... mail, tasks and files are everybody's (who may edit tasks) ...
_EVERYBODYS = frozenset({"EmailMessage", "Task", "ContentVersion", "ContentDocument", "ContentDocumentLink"})
# ... and set-up is read by all, written by administrators, users also by who manages users.
_USERS = frozenset({"User", "PermissionSetAssignment"})
_SET_UP = _USERS | {
    *("UserRole", "Profile", "PermissionSet", "Organization", "RecordType", "Group", "GroupMember", "QueueSobject"),
}


class Surface(StrEnum):
    """Through which door the records came; it decides how a malformed value is worded."""

    REST = "rest"
    BULK = "bulk"
    SOAP = "soap"
    PAGE = "page"


@dataclass(slots=True, eq=False)
class Permissions:
    """The union of a user's profile and permission sets."""

    everything: bool = False  # System Administrator
    sets: tuple[PermissionSet, ...] = ()
    custom: frozenset[str] = frozenset()
    user: frozenset[str] = frozenset()
    _cache: dict[tuple[str, str], tuple[bool, bool]] = field(default_factory=dict)

    def _field(self, obj: ObjectType, f: FieldType) -> tuple[bool, bool]:
        key = (obj.name, f.name)
        answer = self._cache.get(key)
        if answer is None:
            answer = self._cache[key] = self._decide(obj, f)
        return answer

    def _decide(self, obj: ObjectType, f: FieldType) -> tuple[bool, bool]:
        if self.everything or not f.permissionable:
            return True, True
        # An address is granted as a whole; a Person Account's `X__pc` through Contact's `X__c`, `PersonMailingCity` through `MailingAddress`.
        names = {f"{obj.name}.{f.name}", f"{obj.name}.{f.compound or f.name}"}
        whole = f.compound or f.name
        if f.person or (whole.startswith("Person") and whole in obj.compounds):
            names |= {f"Contact.{f.person}", f"Contact.{whole.removeprefix('Person')}"}
        grants = [g for s in self.sets for g in (s.fields.get(name.lower()) for name in names) if g is not None]
        return any(readable or editable for readable, editable in grants), any(editable for _, editable in grants)

    def readable(self, obj: ObjectType, f: FieldType) -> bool:
        """Field-level security: may the field be seen? (An invisible field answers as an unknown one.)"""
        return self._field(obj, f)[0]

    def editable(self, obj: ObjectType, f: FieldType) -> bool:
        """Field-level security: may the field be written?"""
        return self._field(obj, f)[1]

    def allows(self, obj: ObjectType, action: str) -> bool:
        """Object permission: `action` is create, read, edit or delete."""
        name = obj.name
        if self.everything or any(action in s.objects.get(name.lower(), frozenset()) for s in self.sets):
            return True
        if name in _FOLLOWS:
            parent, lent = _FOLLOWS[name], action if action == "read" else "edit"
            return any(lent in s.objects.get(parent, frozenset()) for s in self.sets)
        if name in _SET_UP:
            return action == "read" or (name in _USERS and bool(self.user & {"ManageUsers", "ManageInternalUsers"}))
        return name in _EVERYBODYS


ADMIN = Permissions(everything=True, user=frozenset({"CreateAuditFields", "ModifyAllData", "ViewAllData"}))


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Context:
    """One call's frame. `all_or_none` rolls back every record when one fails; `user_id` is stamped as the author.

    `auto_assign` false is the header `Sforce-Auto-Assign: FALSE`. `duplicate_rule_allow_save` the like-named header.
    """

    user_id: str
    permissions: Permissions = field(default_factory=lambda: ADMIN)
    all_or_none: bool = False
    surface: Surface = Surface.REST
    auto_assign: bool = True
    client: str | None = None  # Sforce-Call-Options: client=...
    user: dict[str, object] = field(default_factory=dict)  # the User row, where the caller has it at hand
    columns: tuple[str, ...] = ()  # a CSV's header, so that a bad value's error can count its column
    now: Callable[[], datetime] = utc_now

    @property
    def sets_audit_fields(self) -> bool:
        """Whether inserts may carry CreatedDate and its like."""
        return "CreateAuditFields" in self.permissions.user

    @property
    def is_person(self) -> bool:
        """Whether automation treats this as a human's edit: neither the integration nor the load user."""
        custom = self.permissions.custom
        return INTEGRATION_PERMISSION not in custom and LOAD_PERMISSION not in custom
