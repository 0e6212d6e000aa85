"""Before a run: what blocks it, what it writes first, and what it remembers of the org."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from omsync.mapping import load_mappings, written
from omsync.migration.model import Preflight
from omsync.migration.prepare import Prepare, read_facts
from omsync.salesforce.automation import Automation
from omsync.sync.consume import Result
from omsync.sync.messages import MirrorMessage
from tests.unit.migration.world import FACTS, World

#: the triggers that salesforce/ brings
TRIGGERS = Path(__file__).resolve().parents[3] / "salesforce" / "force-app" / "main" / "default" / "triggers"
OWN = [
    Automation("trigger", name, sobject)
    for path in sorted(TRIGGERS.glob("*.trigger"))
    for name, sobject in re.findall(r"^trigger (\w+) on (\w+)", path.read_text(), re.MULTILINE)
] + [Automation("validation rule", "OMSync_Version_Guard", "Product2")]
_KINDS = {"Text": "string", "Checkbox": "boolean", "DateTime": "datetime", "Date": "date", "Number": "double", "Currency": "currency"}


@dataclass
class Org:
    """`prepare.OrgPort`."""

    matched: set[str] = field(default_factory=set)
    owners: int = 0
    accounts: list[str] = field(default_factory=list)
    missing: str = ""
    lax: Mapping[str, str] = field(default_factory=dict)  # object -> what its key is not
    active: list[Automation] = field(default_factory=lambda: list(OWN))
    hidden: tuple[str, ...] = ()
    money: str | None = None

    def facts(self) -> Mapping[str, str]:
        return FACTS.ids

    def staff(self) -> frozenset[str]:
        return frozenset(self.matched)

    def describe(self, sobject: str) -> Mapping[str, Any] | None:
        fields: list[dict[str, Any]] = []
        for _, target in load_mappings().objects().get(sobject, []):
            for one in written(target, "load"):
                if one.name != self.missing:
                    kind = "reference" if one.references else _KINDS.get(one.type, "textarea" if "Long" in one.type else "string")
                    flags = {flag: one.external_id and flag != self.lax.get(sobject) for flag in ("unique", "externalId", "idLookup")}
                    fields.append({"name": one.name, "type": "email" if one.type == "Email" else kind, "length": one.length or 0, **flags})
        return {"fields": fields}

    def limits(self) -> Mapping[str, tuple[int, int]]:
        return {"DailyApiRequests": (900, 1000)}

    def count(self, sobject: str) -> int:
        return 0

    def automation(self) -> tuple[Sequence[Automation], Sequence[str]]:
        return self.active, self.hidden

    def currency(self) -> str | None:
        return self.money

    def owner(self) -> str | None:
        return "005" if self.owners else None

    def name_owner(self) -> str:
        self.owners += 1
        return "005"

    def ensure_account(self, oms_id: str, name: str, record_type: str) -> None:
        self.accounts.append(oms_id)


@dataclass
class Staff:
    """The OMS's staff, and their matcher."""

    org: Org

    def rows(self, table: str, **where: str) -> Iterator[Mapping[str, Any]]:
        yield {"id": "a"}

    def write(self, messages: Sequence[MirrorMessage]) -> list[Result]:
        self.org.matched |= {one.id for one in messages}
        return [Result("applied") for _ in messages]


@pytest.fixture
def org() -> Org:
    return Org()


def prepare(org: Org, world: World, certified: int = 0, live: int = 0) -> Prepare:
    """`certified`: of the migration that is prepared, and of the one that the live sync goes by."""
    staff, runs = Staff(org), {"m": certified, "main": live}
    return Prepare(load_mappings(), world.files, org, staff, staff, runs.__getitem__, "America/New_York", world.now)


def test_run_one_matches_staff_and_writes_what_everything_refers_to(org: Org) -> None:
    world = World()
    made = prepare(org, world).run("m", 1)
    assert not made.blocked, [one for one in made.checks if not one.ok]
    assert (org.owners, len(org.accounts)) == (1, 1)
    assert read_facts(world.files, "m", 1).staff == ["a"]


def test_a_dry_run_writes_nothing_and_does_not_fix_what_the_run_knows(org: Org) -> None:
    world = World()
    prepare(org, world).run("m", 1, dry=True)
    assert (org.owners, org.accounts, org.matched) == (0, [], set())
    prepare(org, world).run("m", 1)
    assert read_facts(world.files, "m", 1).staff == ["a"], "staff were matched after the dry run"


def test_a_resumed_run_goes_on_with_what_it_knew(org: Org) -> None:
    world = World()
    prepare(org, world).run("m", 1)
    org.matched.add("hired meanwhile")
    prepare(org, world).run("m", 1)
    assert read_facts(world.files, "m", 1).staff == ["a"]


def test_a_field_that_the_org_lacks_blocks_and_is_named(org: Org) -> None:
    org.missing = "NCPDP_Id__c"
    made = prepare(org, World()).run("m", 1)
    assert made.blocked
    assert any("NCPDP_Id__c is missing" in one.detail for one in made.checks if not one.ok)
    assert org.accounts == [], "nothing is written before everything is well"


@pytest.mark.parametrize(
    ("flag", "said"), [("unique", "is not unique"), ("externalId", "is no external id"), ("idLookup", "is no key for lookups")]
)
def test_a_key_that_would_not_refuse_a_second_record_blocks(org: Org, flag: str, said: str) -> None:
    org.lax = {"Product2": flag}
    made = prepare(org, World()).run("m", 1)
    assert looks(made) == {"Product2: OMS_Id__c": (True, said)}
    assert "Do not allow duplicate values" in next(one.mend for one in made.checks if not one.ok)


def test_an_object_that_is_written_under_leases_needs_no_unique_key(org: Org) -> None:
    org.lax = {"EmailMessage": "unique"}
    assert not prepare(org, World(), certified=3).run("m", 4).blocked
    org.lax = {"Communication__c": "unique"}
    assert prepare(org, World(), certified=3).run("m", 4).blocked


def test_runs_come_in_order(org: Org) -> None:
    made = prepare(org, World(), certified=1).run("m", 3)
    assert [one.mend for one in made.checks if not one.ok] == ["run 2 comes first"]
    assert made.blocked
    assert not prepare(org, World(), certified=1).run("m", 3, dry=True).blocked, "one may look further ahead"


def test_a_rehearsal_begins_with_its_own_run_one_and_writes_as_the_live_sync_does(org: Org) -> None:
    world = World()
    assert prepare(org, world, live=4).run("m", 2).blocked
    assert not prepare(org, world, live=4).run("m", 1).blocked
    assert read_facts(world.files, "m", 1).certified_run == 4, "whose columns are whose"


def looks(made: Preflight) -> dict[str, tuple[bool, str]]:
    """Checks that are not ok: name -> (blocking, detail)."""
    return {one.name: (one.blocking, one.detail) for one in made.checks if not one.ok}


def test_what_others_have_set_up_is_named_and_stops_nothing(org: Org) -> None:
    org.active += [Automation("flow", "Greet_Patients", "Account"), Automation("duplicate rule", "Standard", "Account")]
    org.active += [Automation("process", "Old_Process", None), Automation("flow", "Elsewhere", "Lead")]
    made = prepare(org, World(), certified=1).run("m", 2)
    found = looks(made)
    assert found["Account: automation"] == (False, "acts on every row: flow Greet_Patients; duplicate rule Standard")
    assert found["automation"] == (False, "process Old_Process")
    assert not any("Elsewhere" in one.detail for one in made.checks)
    assert not made.blocked


def test_without_our_trigger_a_shared_table_does_not_move(org: Org) -> None:
    org.active = [one for one in org.active if one.name != "AccountSync"]
    made = prepare(org, World(), certified=1).run("m", 2)
    assert looks(made)["Account: own trigger"] == (True, "not active")
    org.hidden = ("trigger",)
    made = prepare(org, World(), certified=1).run("m", 2)
    assert looks(made) == {"automation": (False, "not shown to the load user: trigger")}, "what is not shown is not missing"


@pytest.mark.parametrize(("money", "ok"), [(None, True), ("USD", True), ("EUR", False)])
def test_amounts_that_the_org_would_take_for_another_currency_block(org: Org, money: str | None, ok: bool) -> None:
    org.money = money
    made = prepare(org, World()).run("m", 1)
    assert made.blocked is not ok
    assert [one.name for one in made.checks if not one.ok] == ([] if ok else ["currency"])
