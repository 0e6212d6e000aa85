"""Before a run: what the org must have, what it can take, and the few records that everything else refers to.

Staff are matched to Users and never created. Run 1 writes the one business account of all providers and the one User ("Migration
Owner") that stands in for staff without a User.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any, Protocol

from omsync.mapping import Mappings, TableMapping, Target, org_ids, written
from omsync.migration.model import MAIN, Check, OrgFacts, Preflight
from omsync.migration.ports import Files
from omsync.platform.errors import OmsyncError, Permanent
from omsync.salesforce.automation import Automation
from omsync.sync.consume import Result
from omsync.sync.messages import MirrorMessage

OWNER_NAME = "Migration Owner"
#: the only one that the mapping takes; inserts leave it out and get the load user's
CURRENCY = "USD"
GROUP_NAME = "Medical Group"
#: takes no unique key, as far as is known: a row is inserted there under a lease
KEYLESS = frozenset({"EmailMessage"})
_KEY: Mapping[str, str] = {"unique": "is not unique", "externalId": "is no external id", "idLookup": "is no key for lookups"}
#: rules of ours are named so; a trigger of ours is named after its object
OWN_RULE = "OMSync_"
_TYPES: dict[str, frozenset[str]] = {
    "Text": frozenset({"string", "textarea", "phone", "email", "url", "picklist", "encryptedstring"}),
    "Email": frozenset({"email", "string"}),
    "Phone": frozenset({"phone", "string"}),
    "Checkbox": frozenset({"boolean"}),
    "Date": frozenset({"date"}),
    "DateTime": frozenset({"datetime"}),
    "Number": frozenset({"double", "int"}),
    "Currency": frozenset({"currency", "double"}),
    "Lookup": frozenset({"reference"}),
    "MasterDetail": frozenset({"reference"}),
    "LongTextArea": frozenset({"textarea"}),
    "Html": frozenset({"textarea"}),
}


class OrgPort(Protocol):
    """The org, as preparation needs it."""

    def facts(self) -> Mapping[str, str]:
        """`record_type:...` and `standard_price_book` -> id."""
        ...

    def staff(self) -> frozenset[str]:
        """OMS ids that have an active User."""
        ...

    def describe(self, sobject: str) -> Mapping[str, Any] | None:
        """The object's describe, or None."""
        ...

    def limits(self) -> Mapping[str, tuple[int, int]]:
        """name -> (left, of)."""
        ...

    def count(self, sobject: str) -> int: ...

    def automation(self) -> tuple[Sequence[Automation], Sequence[str]]:
        """(what is active when a record is saved, kinds that this user may not look at)."""
        ...

    def currency(self) -> str | None:
        """Of new records; None: the org has one."""
        ...

    def owner(self) -> str | None:
        """The User who bears the default owner's id."""
        ...

    def name_owner(self) -> str:
        """Give the default owner's id to the active User named `OWNER_NAME`, made where there is none."""
        ...

    def ensure_account(self, oms_id: str, name: str, record_type: str) -> None:
        """A business account under this external id."""
        ...


class Matcher(Protocol):
    """`sync.staff.StaffMatcher`."""

    def write(self, messages: Sequence[MirrorMessage]) -> list[Result]: ...


class StaffRows(Protocol):
    """The OMS's API."""

    def rows(self, table: str, **where: str) -> Iterator[Mapping[str, Any]]: ...


@dataclass(slots=True)
class Prepare:
    """Prepares runs."""

    mappings: Mappings
    files: Files
    org: OrgPort
    oms: StaffRows
    matcher: Matcher
    certified_run: Callable[[str], int]  # of a migration
    time_zone: str
    now: Callable[[], float] = time.time

    def run(self, migration: str, run: int, *, dry: bool = False) -> Preflight:
        """Look at everything; unless something blocks, write what the run refers to (a dry run doesn't) and note the org's facts."""
        limits = dict(self.org.limits())
        checks = [
            *self._org_checks(migration, run, dry=dry),
            *_limit_checks(limits),
            *self._automation_checks(run),
            *self._object_checks(run),
        ]
        found = Preflight(migration=migration, run=run, at=self.now(), checks=checks, limits=limits)
        self.files.put(f"migrations/{migration}/run-{run}/preflight.json", found.model_dump_json(indent=1).encode())
        if dry or not found.blocked:
            if not dry and run == 1:
                self._first()
            self._note_facts(migration, run, dry=dry)
        return found

    def _note_facts(self, migration: str, run: int, *, dry: bool = False) -> None:
        name = f"migrations/{migration}/run-{run}/facts.json"
        known = self.files.get(name)
        if known is not None and not OrgFacts.model_validate_json(known).dry:
            return  # a resumed run goes on with what it knew
        facts = OrgFacts(
            ids=dict(self.org.facts()),
            staff=sorted(self.org.staff()),
            time_zone=self.time_zone,
            certified_run=self.certified_run(MAIN),
            dry=dry,
        )
        self.files.put(name, facts.model_dump_json().encode())

    def _first(self) -> None:
        if self.org.owner() is None:
            self.org.name_owner()
        for target in self._targets(1):
            for constant in target.constants:
                if constant.reference is not None and constant.reference.object == "Account" and constant.value is not None:
                    self.org.ensure_account(str(constant.value), GROUP_NAME, "Medical_Group")
        for part in batched((str(row["id"]) for row in self.oms.rows("staff_users")), 200, strict=False):
            messages = [
                MirrorMessage(correlation_id=f"migration.{row_id}", origin="migration", table="staff_users", id=row_id, version=1)
                for row_id in part
            ]
            for result in self.matcher.write(messages):
                if isinstance(result.fault, OmsyncError):
                    raise result.fault

    # ------------------------------------------------------------------------------------------------------------- checks
    def _targets(self, run: int) -> Iterator[Target]:
        for mapping in self._tables(run):
            yield from mapping.targets

    def _tables(self, run: int) -> Iterable[TableMapping]:
        return [mapping for mapping in self.mappings if mapping.run == run and mapping.mode in ("mirrored", "shared")]

    def _org_checks(self, migration: str, run: int, *, dry: bool) -> Iterator[Check]:
        facts = self.org.facts()
        for target in self._targets(run):
            for name in sorted(org_ids(target)):
                mend = "deploy salesforce/, or activate the standard price book in Setup"
                yield Check(name=f"{target.object}: {name}", ok=name in facts, mend=mend if name not in facts else "")
        if (currency := self.org.currency()) is not None:
            ok = currency == CURRENCY
            mend = "" if ok else f"set the load user's default currency to {CURRENCY} in Setup, Users"
            yield Check(name="currency", ok=ok, detail=f"new records are in {currency}", mend=mend)
        certified = self.certified_run(migration)
        yield Check(
            name="order of runs",
            ok=run <= certified + 1,
            blocking=not dry,
            detail=f"run {certified} is certified" if certified else "no run is certified yet",
            mend=f"run {certified + 1} comes first" if run > certified + 1 else "",
        )

    def _automation_checks(self, run: int) -> Iterator[Check]:
        """Ours must be there; what others have set up would act on every row, and they may not want that."""
        active, hidden = self.org.automation()
        if hidden:
            mend = "give OMSync_Load the permission View Setup, or look in Setup yourself"
            yield Check(name="automation", ok=False, blocking=False, detail=f"not shown to the load user: {', '.join(hidden)}", mend=mend)
        for table in self._tables(run):
            for target in table.targets:
                here = [one for one in active if one.object == target.object]
                if target.sync_fields and "trigger" not in hidden:
                    there = any(own_trigger(one) for one in here)
                    mend = "" if there else "deploy salesforce/: without it the sync does not see what people edit meanwhile"
                    yield Check(name=f"{target.object}: own trigger", ok=there, detail="active" if there else "not active", mend=mend)
                others = [one for one in here if not own_trigger(one) and not _own_rule(one)]
                if others:
                    said = "; ".join(str(one) for one in others)
                    mend = "deactivate it for the run, or let it leave out users with the custom permission OMSync_Load"
                    yield Check(
                        name=f"{target.object}: automation", ok=False, blocking=False, detail=f"acts on every row: {said}", mend=mend
                    )
        nobodys = [str(one) for one in active if one.object is None]
        if nobodys:
            mend = "see in Setup, Process Automation, which objects they are for"
            yield Check(name="automation", ok=False, blocking=False, detail="; ".join(nobodys), mend=mend)

    def _object_checks(self, run: int) -> Iterator[Check]:
        for mapping in self._tables(run):
            for target in mapping.targets:
                yield from self._describe_diff(target)

    def _describe_diff(self, target: Target) -> Iterator[Check]:
        described = self.org.describe(target.object)
        if described is None:
            yield Check(
                name=target.object, ok=False, detail="the org has no such object, or the load user no access", mend="deploy salesforce/"
            )
            return
        fields = {str(field["name"]).lower(): field for field in described["fields"]}
        wrong: list[str] = []
        for field in written(target, "load"):
            if field.feature is not None:
                continue
            known = fields.get(field.name.lower())
            if known is None:
                wrong.append(f"{field.name} is missing")
            elif not known.get("createable", True):
                wrong.append(f"{field.name} cannot be written by the load user")
            elif field.type in _TYPES and known["type"] not in _TYPES[field.type]:
                wrong.append(f"{field.name} is {known['type']}, not {field.type}")
            elif field.length and known["type"] in ("string", "textarea") and int(known.get("length") or field.length) < field.length:
                wrong.append(f"{field.name} holds {known['length']} characters, not {field.length}")
        there = self.org.count(target.object)
        detail = "; ".join(wrong) or f"as mapped; {there:,} records there now"
        yield Check(name=target.object, ok=not wrong, detail=detail, mend="deploy salesforce/, give OMSync_Load" if wrong else "")
        if (key := fields.get(target.external_id.lower())) is not None and target.object not in KEYLESS:
            yield _key_check(target, key)


def _key_check(target: Target, key: Mapping[str, Any]) -> Check:
    """That a row is inserted once rests on it: Salesforce itself must refuse a second record."""
    wrong = [said for flag, said in _KEY.items() if not key.get(flag)]
    mend = (
        f"deploy salesforce/, or in Setup, Object Manager, {target.object}, {target.external_id}: tick External ID and Unique (Do not allow "
        "duplicate values); records that bear the same value must go first"
    )
    return Check(name=f"{target.object}: {target.external_id}", ok=not wrong, detail="; ".join(wrong), mend=mend if wrong else "")


def _limit_checks(limits: Mapping[str, tuple[int, int]]) -> Iterator[Check]:
    for name, (left, of) in limits.items():
        used = 1 - left / of if of else 1.0
        yield Check(name=f"limit {name}", ok=left > 0 and used < 0.9, blocking=left <= 0, detail=f"{left:,} of {of:,} left")


def own_trigger(one: Automation) -> bool:
    """`AccountSync` on Account."""
    return one.kind == "trigger" and one.object is not None and one.name == f"{one.object.removesuffix('__c').replace('_', '')}Sync"


def _own_rule(one: Automation) -> bool:
    return one.kind == "validation rule" and one.name.startswith(OWN_RULE)


def read_facts(files: Files, migration: str, run: int) -> OrgFacts:
    """What preparation noted of the org."""
    content = files.get(f"migrations/{migration}/run-{run}/facts.json")
    if content is None:
        raise Permanent(f"run {run} is not prepared", code="migration.order")
    return OrgFacts.model_validate_json(content)
