"""Pushes lost on both sides: the sweep finds everything, deletes and undeletes included. And what comes by push twice or in disorder."""

from __future__ import annotations

import random
import uuid

import pytest

from tests.e2e.world import Row, World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def sweep(world: World) -> dict[str, int]:
    """One run; what it enqueued, by feed."""
    return {feed: number for feed, number in world.invoke("Sweep").items() if number}


def sweep_until(world: World, sobject: str, oms_id: str) -> None:
    """Sweep until a record that was deleted in Salesforce is back: getDeleted tells of whole minutes only."""

    def look() -> Row | None:
        return world.org.find(sobject, oms_id) or (sweep(world) and None)

    until(look, seconds=90, every=2)


@pytest.fixture(scope="module")
def swept(world: World) -> None:
    """Cursors exist: what came before the first sweep is the migration's."""
    world.quiet()
    sweep(world)
    world.quiet()


def test_pushes_off_on_both_sides(world: World, swept: None) -> None:
    changed, ended, restored, removed = (world.patient() for _ in range(4))
    accounts = {row["id"]: world.account(row) for row in (changed, ended, restored, removed)}
    world.oms.patch("patients", restored["id"], deleted_at="2026-01-01T00:00:00Z")
    world.shows("Account", accounts[restored["id"]], "OMS_Deleted__c", True)
    mirrored = world.oms.create("patient_conditions", patient_id=changed["id"], description="Rosacea")
    world.agrees({"patient_conditions": [mirrored["id"]]})
    world.quiet()
    sweep(world)
    world.quiet()
    world.oms.pushes(paused=True)
    with world.org.fault("event-lost"):
        world.oms.patch("patients", changed["id"], preferred_name="By sweep")
        world.oms.patch("patients", ended["id"], deleted_at="2026-01-01T00:00:00Z")
        world.oms.patch("patients", restored["id"], deleted_at=None)
        new = world.patient()
        condition = world.oms.create("patient_conditions", patient_id=new["id"], description="Eczema")
        world.org.edit("Account", accounts[changed["id"]], Care_Notes__pc="Found by the sweep")
        world.org.delete("Account", accounts[removed["id"]])
        world.org.delete("Health_Condition__c", (world.org.find("Health_Condition__c", mirrored["id"]) or {})["Id"])
        born = world.org.create(
            "Account", LastName=f"Swept{uuid.uuid4().hex[:8]}", RecordTypeId=world.org.record_type("Account", "Patient")
        )
        assert world.oms.lose_pushes() >= 5
    world.oms.pushes(paused=False)
    found = sweep(world)
    assert {"oms/patients", "oms/patient_conditions", "salesforce/Account"} <= set(found)
    world.holds("patients", changed["id"], "care_notes", "Found by the sweep")
    world.shows("Account", accounts[changed["id"]], "Preferred_Name__pc", "By sweep")
    world.shows("Account", accounts[ended["id"]], "OMS_Deleted__c", True)
    world.shows("Account", accounts[restored["id"]], "OMS_Deleted__c", False)
    world.agrees({"patients": [new["id"]], "patient_conditions": [condition["id"]]})
    until(lambda: world.oms.get("patients", world.field("Account", born, "OMS_Id__c") or str(uuid.uuid4())))
    sweep_until(world, "Account", removed["id"])
    sweep_until(world, "Health_Condition__c", mirrored["id"])
    world.agrees({"patients": [removed["id"]], "patient_conditions": [mirrored["id"]]})
    world.quiet()
    assert {feed for feed in sweep(world) if not feed.startswith("deleted/")} == set()


def test_events_twice_backwards_and_children_first(world: World) -> None:
    """The OMS's own events of a short story, posted to the door by hand: shuffled, doubled, children before parents."""
    world.quiet()
    world.oms.pushes(paused=True)
    tag = uuid.uuid4().hex[:8]
    product = world.oms.create("products", sku=f"OTC-{tag}", name="Soap", product_type="otc", list_price_cents=900)
    pharmacy = world.oms.create("pharmacies", name=f"Pharmacy {tag}", pharmacy_type="retail")
    patient = world.patient()
    order = world.oms.act("place-order", patient_id=patient["id"], items=[{"product_id": product["id"], "quantity": 3}])["orders"][0]["id"]
    world.oms.act("pay-order", order_id=order)
    world.oms.act("accept-order", order_id=order, pharmacy_id=pharmacy["id"])
    shipment = world.oms.act("ship-order", order_id=order)["shipments"][0]["id"]
    world.oms.act("record-scan", shipment_id=shipment, tracking_status="in_transit")
    rows = world.rows_of(patient["id"]) | {"products": [product["id"]], "pharmacies": [pharmacy["id"]]}
    ids = {row_id for found in rows.values() for row_id in found}
    events = world.outbox(lambda event: event["data"]["id"] in ids)
    world.oms.lose_pushes()
    world.oms.pushes(paused=False)
    backwards = list(reversed(events))
    chance = random.Random(7)
    for batch in (backwards, chance.sample(events, len(events)), events[: len(events) // 2]):
        for start in range(0, len(batch), 10):
            world.door(batch[start : start + 10])
    world.agrees(rows, seconds=60)
    world.quiet()
    assert world.differences(rows) == {}
    for table, sobject in (("shipments", "Shipment__c"), ("payments", "Payment__c"), ("patients", "Account")):
        for row_id in rows[table]:
            assert len(world.org.query(f"SELECT Id FROM {sobject} WHERE OMS_Id__c = '{row_id}'")) == 1


def test_none_of_this_needed_an_engineer(world: World) -> None:
    world.quiet()
    assert world.buried() == {}
