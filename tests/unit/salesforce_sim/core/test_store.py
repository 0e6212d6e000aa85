"""The store: snapshots, savepoints, one writer, restarts, new fields."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.salesforce.context import ADMIN, Context
from local.salesforce.schema import FieldType, Kind, Org
from local.salesforce.store import Store
from tests.unit.salesforce_sim.core.people import People

DEADLINE = 30


def test_a_reader_keeps_its_snapshot_while_a_writer_commits(store: Store, people: People) -> None:
    count = 'SELECT count(*) FROM "Shipment__c"'
    with store.read() as reader:
        assert reader.execute(count).fetchone() == (0,)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(store.insert, "Shipment__c", [{}], people.admin).result(DEADLINE)[0].success
        assert reader.execute(count).fetchone() == (0,)
    assert store.count("Shipment__c") == 1


def test_the_writer_reads_its_own_uncommitted_rows_and_others_do_not(store: Store, people: People) -> None:
    with ThreadPoolExecutor(1) as pool, store.write():
        store.insert("Shipment__c", [{}], people.admin)
        assert store.count("Shipment__c") == 1
        assert pool.submit(store.count, "Shipment__c").result(DEADLINE) == 0


def test_a_nested_write_is_a_savepoint(store: Store, people: People) -> None:
    with store.write():
        store.insert("Shipment__c", [{"OMS_Id__c": "outer"}], people.admin)
        with pytest.raises(RuntimeError), store.write():
            store.insert("Shipment__c", [{"OMS_Id__c": "inner"}], people.admin)
            raise RuntimeError
    assert store.find("Shipment__c", "OMS_Id__c", "outer")
    assert not store.find("Shipment__c", "OMS_Id__c", "inner")


def test_an_exception_rolls_everything_back_with_its_events(store: Store, people: People) -> None:
    with pytest.raises(RuntimeError), store.write():
        store.insert("Clinical_Note__c", [{"Title__c": "x"}], people.admin)
        raise RuntimeError
    assert store.count("Clinical_Note__c") == 0
    assert store.events_after(0) == []
    assert store.insert("Clinical_Note__c", [{"Title__c": "x"}], people.admin)[0].success


def test_concurrent_writers_lose_nothing(store: Store, people: People) -> None:
    barrier = threading.Barrier(4)

    def write(writer: int) -> int:
        barrier.wait(DEADLINE)
        return sum(store.insert("Shipment__c", [{"OMS_Id__c": f"{writer}-{n}"}], people.admin)[0].success for n in range(25))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [25] * 4
    assert store.count("Shipment__c") == 100


def test_of_racing_upserts_one_creates(store: Store, people: People) -> None:
    barrier = threading.Barrier(4)

    def race(_: int) -> bool | None:
        barrier.wait(DEADLINE)
        return store.upsert("Shipment__c", "OMS_Id__c", [{"OMS_Id__c": "same"}], people.admin)[0].created

    with ThreadPoolExecutor(4) as pool:
        assert sorted(map(bool, pool.map(race, range(4)))) == [False, False, False, True]


def test_data_numbers_events_and_state_survive_a_restart(org: Org, tmp_path: Path) -> None:
    context = Context("005Om0000000001IAA", ADMIN)
    first = Store(tmp_path / "o.db", org)
    one = first.insert("Clinical_Note__c", [{"Title__c": "x"}], context)[0].id
    case = first.insert("Case", [{"Subject": "x"}], context)[0].id
    first.set_state("publisher", "1")
    first.close()
    second = Store(tmp_path / "o.db", org)
    assert second.state("publisher") == "1"
    assert second.events_after(0)[0][3]["Record_Id__c"] == one
    again = second.insert("Case", [{"Subject": "y"}], context)[0].id
    rows = [second.get("Case", str(i)) for i in (case, again)]
    assert [row and row["CaseNumber"] for row in rows] == ["00000001", "00000002"]
    assert str(again) > str(case)
    second.close()


def test_a_field_that_the_metadata_gains_becomes_a_column(org: Org, tmp_path: Path) -> None:
    context = Context("005Om0000000001IAA", ADMIN)
    Store(tmp_path / "o.db", org).close()
    grown = copy.deepcopy(org)
    shipment = grown.objects["Shipment__c"]
    shipment.fields["Carrier__c"] = FieldType("Carrier__c", "Carrier", Kind.TEXT, 40, custom=True)
    shipment.seal()
    store = Store(tmp_path / "o.db", grown)
    assert store.insert("Shipment__c", [{"Carrier__c": "UPS"}], context)[0].success
    store.close()


def test_stamps_never_go_back(org: Org, tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s) for s in (5, 1, 3, 9)]
    store = Store(tmp_path / "o.db", org, clock=lambda: moments.pop(0))
    context = Context("005Om0000000001IAA", ADMIN)
    rows = [store.get("Shipment__c", str(store.insert("Shipment__c", [{}], context)[0].id)) for _ in range(4)]
    assert [str(row and row["SystemModstamp"])[17:19] for row in rows] == ["05", "05", "05", "09"]
    store.close()
