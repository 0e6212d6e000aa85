"""A small org with rows to query: the standard objects and one custom object, `Visit__c`, below Account."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.salesforce.context import Context
from local.salesforce.schema import FieldType, Kind, ObjectType, Org, PicklistValue
from local.salesforce.soql.errors import SoqlError
from local.salesforce.soql.executor import Executor, Locators, Page
from local.salesforce.soql.plan import JsonRecord
from local.salesforce.standard import id_field, load_standard, owner_field, system_fields
from local.salesforce.store import Store

NOW = dt.datetime(2026, 2, 18, 12, 0, tzinfo=dt.UTC)
ROOT = "/services/data/v67.0"


def _visit() -> ObjectType:
    fields = [
        id_field("Visit"),
        FieldType("Name", "Visit Name", Kind.TEXT, 80),
        FieldType("OMS_Id__c", "OMS Id", Kind.TEXT, 36, external_id=True, unique=True, custom=True),
        FieldType(
            "Patient__c", "Patient", Kind.LOOKUP, 18, references=("Account",), relationship="Patient__r", child_relationship="Visits__r",
            custom=True,
        ),
        FieldType("Fee__c", "Fee", Kind.CURRENCY, precision=18, scale=2, custom=True),
        FieldType("Rating__c", "Rating", Kind.NUMBER, precision=3, scale=0, custom=True),
        FieldType("On__c", "On", Kind.DATE, custom=True),
        FieldType("Paid__c", "Paid", Kind.CHECKBOX, custom=True, nillable=False),
        FieldType("Notes__c", "Notes", Kind.LONG_TEXT, 32768, custom=True),
        FieldType("Tags__c", "Tags", Kind.MULTI_PICKLIST, 4099, custom=True, picklist=tuple(PicklistValue(v, v) for v in ("A", "B", "C"))),
        FieldType(
            "Status__c", "Status", Kind.PICKLIST, 255, custom=True,
            picklist=(PicklistValue("open", "Still open"), PicklistValue("done", "Done")),
        ),
        owner_field("User", "Group"),
    ]  # fmt: skip
    fields += system_fields()
    return ObjectType("Visit__c", "Visit", "Visits", "a01", fields={f.name: f for f in fields}, custom=True)


class World:
    """The org's store with shorthands to fill and query it."""

    def __init__(self, path: Path) -> None:
        objects = load_standard()
        objects["Visit__c"] = _visit()
        org = Org(objects)
        org.seal()
        self.store = Store(path / "org.db", org, clock=lambda: NOW)
        self.executor = Executor(self.store, Locators())
        self.context = Context(user_id="", now=lambda: NOW, user={"TimeZoneSidKey": "America/New_York"})
        self.user = self.add("User", FirstName="Ada", LastName="Admin", Name="Ada Admin", Username="ada@example.com")

    def add(self, object_name: str, **values: object) -> str:
        """A row as the DML engine would leave it; its id."""
        obj = self.store.org.objects[object_name]
        with self.store.write() as tx:
            record_id = tx.new_ids(obj, 1)[0]
            system = dict.fromkeys(("CreatedDate", "LastModifiedDate", "SystemModstamp"), tx.now)
            row = {"Id": record_id, **system, **values}
            names = ", ".join(f'"{name}"' for name in row)
            tx.connection.execute(f'INSERT INTO "{obj.name}" ({names}) VALUES ({", ".join("?" * len(row))})', list(row.values()))
        return record_id

    def page(self, soql: str, **options: object) -> Page:
        return self.executor.query(soql, self.context, ROOT, **options)  # type: ignore[arg-type]

    def rows(self, soql: str, *, all_rows: bool = False) -> list[JsonRecord]:
        return self.page(soql, all_rows=all_rows).records

    def names(self, where: str, obj: str = "Visit__c") -> list[object]:
        """The names that a condition finds."""
        return [row["Name"] for row in self.rows(f"SELECT Name FROM {obj} WHERE {where} ORDER BY Name")]

    def refused(self, soql: str) -> SoqlError:
        with pytest.raises(SoqlError) as error:
            self.page(soql)
        return error.value


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[], World]]:
    made: list[World] = []

    def make() -> World:
        made.append(World(tmp_path))
        return made[-1]

    yield make
    for world in made:
        world.store.close()


@pytest.fixture
def world(make_world: Callable[[], World]) -> World:
    """Two patients with visits: v1 (rich), v2 (poor), v3 (all null, nobody's), v4 (deleted)."""
    world = make_world()
    ann = world.add("Account", Name="Ann", OwnerId=world.user, BillingCity="Paris", BillingLatitude=48.85, Description="x")
    bob = world.add("Account", Name="bob", OwnerId=world.user, ParentId=ann)
    world.add("Account", Name="Émile", OwnerId=world.user)
    world.add("Contact", Name="Cy Child", LastName="Child", AccountId=ann)
    visit = {"OwnerId": world.user}
    world.add(
        "Visit__c", Name="v1", Patient__c=ann, Fee__c=1200.5, Rating__c=5.0, On__c="2026-02-18", Paid__c=1, Notes__c="long",
        Tags__c="A;C", Status__c="open", OMS_Id__c="o-1", **visit,
    )  # fmt: skip
    world.add("Visit__c", Name="v2", Patient__c=bob, Fee__c=10.0, Rating__c=5.0, On__c="2025-12-31", Tags__c="B", Status__c="done", **visit)
    world.add("Visit__c", Name="v3", **visit)
    world.add("Visit__c", Name="v4", Patient__c=ann, IsDeleted=1, **visit)
    world.add("Task", Subject="call", WhatId=ann, OwnerId=world.user)
    world.add("Task", Subject="idle", OwnerId=world.user)
    return world
