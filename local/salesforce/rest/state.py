"""The running org as handlers see it: its data, sessions, limits and faults, and who a request acts as."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from local.salesforce.auth import Authority, Session
from local.salesforce.context import ADMIN, Context, Permissions, Surface
from local.salesforce.dml_types import Error, Json, Record, Result
from local.salesforce.limits import Limits
from local.salesforce.rest.http import ApiError, Request, not_found
from local.salesforce.schema import ObjectType, Org
from local.salesforce.store import Store

if TYPE_CHECKING:
    from local.salesforce.faults import Faults
    from local.salesforce.publisher import Publisher
    from local.salesforce.rest.http import Router

type Save = Callable[[ObjectType, Sequence[Record], Context], list[Result]]

INVALID_TYPE = (
    "sObject type '{}' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after the entity name. "
    "Please reference your WSDL or the describe call for the appropriate names."
)

_GRANTED = """
SELECT '*' FROM User u JOIN Profile p ON p.Id = u.ProfileId WHERE u.Id = ? AND p.PermissionsModifyAllData = 1
UNION ALL
SELECT s.Name FROM PermissionSetAssignment a JOIN PermissionSet s ON s.Id = a.PermissionSetId
WHERE a.AssigneeId = ? AND a.IsDeleted = 0 AND s.IsDeleted = 0 ORDER BY 1
"""


@dataclass
class Calls:
    """What was called, by kind, and how many records went through it: for benchmarks."""

    counts: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, records: int = 0) -> None:
        with self._lock:
            self.counts[kind] += 1
            if records:
                self.records[kind] += records

    def reset(self) -> None:
        with self._lock:
            self.counts.clear()
            self.records.clear()


@dataclass
class OrgState:
    """Everything of one simulated org."""

    home: Path
    org: Org
    store: Store
    authority: Authority
    limits: Limits
    faults: Faults
    calls: Calls = field(default_factory=Calls)
    publisher: Publisher | None = None
    router: Router | None = None
    on_close: list[Callable[[], None]] = field(default_factory=list)  # run before the store closes
    _permissions: dict[tuple[str, ...], Permissions] = field(default_factory=dict)

    @property
    def org_id(self) -> str:
        return self.authority.org_id

    def object(self, name: str) -> ObjectType:
        """The object a path names, or 404 NOT_FOUND."""
        found = self.org.object(name)
        if found is None:
            raise not_found()
        return found

    def permissions(self, user_id: str) -> Permissions:
        """The union of what the user's profile and permission sets grant, as assigned right now."""
        names = self.granted(user_id)
        known = self._permissions.get(names)
        if known is None:
            known = self._permissions[names] = self._union(names)
        return known

    def granted(self, user_id: str) -> tuple[str, ...]:
        """`*` for a profile that may do anything, then the names of the user's permission sets."""
        with self.store.read() as connection:
            rows = connection.execute(_GRANTED, (user_id, user_id)).fetchall()
        return tuple(row[0] for row in rows)

    def _union(self, names: tuple[str, ...]) -> Permissions:
        sets = tuple(self.org.permission_sets[name] for name in names if name in self.org.permission_sets)
        everything = "*" in names or any(s.all for s in sets)
        custom: frozenset[str] = frozenset().union(*(s.custom_permissions for s in sets))
        user: frozenset[str] = frozenset().union(*(s.user_permissions for s in sets))
        return Permissions(everything=everything, sets=sets, custom=custom, user=user | ADMIN.user if everything else user)

    def save(self, obj: ObjectType, records: Sequence[Record], context: Context, save: Save, *, new: bool = False) -> list[Result]:
        """Save records, except those that a fault on demand strikes: a row lock, or a duplicate rule for new ones."""
        if not self.faults:
            return save(obj, records, context)
        struck: dict[int, Result] = {}
        for index, record in enumerate(records):
            if self.faults.locked(obj.name):
                struck[index] = Result.failed(locked_row(record.get("Id")))
            elif new and self.faults.duplicated(obj.name):
                struck[index] = Result.failed(DUPLICATES)
        saved = iter(save(obj, [record for index, record in enumerate(records) if index not in struck], context))
        return [struck[index] if index in struck else next(saved) for index in range(len(records))]

    def context(self, request: Request, *, all_or_none: bool = False, surface: Surface = Surface.REST) -> Context:
        """The frame in which a request's records are saved: its user, rights and headers."""
        session: Session = request.user
        user = self.store.get("User", session.user_id) or {}
        return Context(
            user_id=session.user_id,
            permissions=self.permissions(session.user_id),
            all_or_none=all_or_none,
            surface=surface,
            auto_assign=request.headers.get("sforce-auto-assign", "true").strip().lower() != "false",
            client=call_option(request, "client"),
            user=dict(user),
            now=self.store.clock,
        )


DUPLICATES = Error("DUPLICATES_DETECTED", "Use one of these records?")


def locked_row(record_id: Json) -> Error:
    which = record_id if isinstance(record_id, str) else "000000000000000"
    return Error("UNABLE_TO_LOCK_ROW", f"unable to obtain exclusive access to this record or 1 records: {which}")


def call_option(request: Request, name: str) -> str | None:
    """A value out of `Sforce-Call-Options: client=x, defaultNamespace=y`."""
    for part in request.headers.get("sforce-call-options", "").split(","):
        key, _, value = part.strip().partition("=")
        if key.lower() == name.lower() and value:
            return value
    return None


def boolean(value: object, name: str) -> bool:
    """A JSON or query boolean."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise ApiError(400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of boolean from {name} at [line:1, column:1]")
