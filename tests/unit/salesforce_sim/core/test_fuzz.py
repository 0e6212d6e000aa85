"""Whatever is sent, a save answers with results: never an exception, never half a record."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.salesforce.context import ADMIN, Context, Surface
from local.salesforce.dml_types import Json, Result
from local.salesforce.schema import FieldType, Kind, Org
from local.salesforce.standard import load_standard
from local.salesforce.store import Store
from local.salesforce.values import Refused, converter
from tests.unit.salesforce_sim.core import dx

OBJECTS = (
    "Account",
    "Contact",
    "Order",
    "OrderItem",
    "Case",
    "EmailMessage",
    "ContentVersion",
    "Consent__c",
    "Shipment_Event__c",
    "PricebookEntry",
)
SCALARS: st.SearchStrategy[Json] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=40),
    st.text(alphabet="\ud800\udfff\x00😀é \r\n;", max_size=8),
    st.sampled_from(
        ["", "1e999999", "-1e-999", "12.5", "999999999999999999999.999", "2026-02-29", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00Z"]
    ),
    st.sampled_from(["001Om0000000001IAA", "001Om0000000001", "801Om0000000001IAA", "a@b.co", "sms", "draft", "p-1", "a;b;", "true"]),
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["OMS_Id__c", "attributes", "type", "Id", "x"]), inner)
    ),
    max_leaves=4,
)

WILD = ["Nope__c", "a.b.c", ":", ".", "", "attributes", 'x" OR 1=1 --', "id", "ID"]


@pytest.fixture(scope="module")
def shared_store(org: Org, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("fuzz") / "org.db"
    store = Store(path, org)
    yield store
    store.close()


def keys_of(name: str) -> list[str]:
    """Field and relationship names of an object, as a client may send them."""
    standard = load_standard().get(name)
    fields = list(standard.fields.values()) if standard else []
    custom = list(dx.FIELDS.get(name, {}))
    names = [f.name for f in fields] + custom
    relationships = [f.relationship for f in fields if f.relationship] + [c.replace("__c", "__r") for c in custom]
    return [*names, *relationships, *(f"{r}.OMS_Id__c" for r in relationships)]


KEYS = {name: st.one_of(st.sampled_from(keys_of(name)), st.sampled_from(WILD)) for name in OBJECTS}


@st.composite
def saves(draw: st.DrawFn) -> tuple[str, str, list[dict[str, Json]], Surface, bool]:
    name = draw(st.sampled_from(OBJECTS))
    records = draw(st.lists(st.dictionaries(KEYS[name], VALUES, max_size=8), max_size=4))
    call = draw(st.sampled_from(["insert", "update", "upsert", "delete", "undelete", "merge"]))
    return name, call, records, draw(st.sampled_from(list(Surface))), draw(st.booleans())


def run(store: Store, name: str, call: str, records: list[dict[str, Json]], context: Context) -> list[Result]:
    if call == "upsert":
        return store.upsert(name, "OMS_Id__c", records, context)
    if call == "delete":
        return store.delete(name, [str(r.get("Id")) for r in records], context)
    if call == "undelete":
        return store.undelete([str(r.get("Id")) for r in records], context)
    if call == "merge":
        return [store.merge(name, record, ["001Om0000000001IAA"], context) for record in records]
    return getattr(store, call)(name, records, context)


@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.ADDRESS])
@given(value=VALUES, surface=st.sampled_from(list(Surface)))
def test_every_converter_stores_or_refuses(kind: Kind, value: Json, surface: Surface) -> None:
    f = FieldType("Some__c", "Some", kind, length=30, precision=18, scale=15 if kind is Kind.NUMBER else 2, references=("Account",))
    try:
        stored = converter(f, surface)(value)
    except Refused as refused:
        assert refused.error.status_code
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute("SELECT ? IS ?", (stored, stored)).fetchone() == (1,)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(save=saves())
def test_garbage_is_answered_with_results(save: tuple[str, str, list[dict[str, Json]], Surface, bool], shared_store: Store) -> None:
    name, call, records, surface, all_or_none = save
    context = Context("005Om0000000001IAA", ADMIN, all_or_none=all_or_none, surface=surface)
    results = run(shared_store, name, call, records, context)
    assert len(results) == len(records)
    for result in results:
        assert result.success == (not result.errors)
        if result.success and call in {"insert", "upsert"}:
            assert shared_store.get(name, str(result.id)) is not None
        for error in result.errors:
            assert error.status_code != "UNKNOWN_EXCEPTION"
            assert "{column}" not in error.message
