"""What can't be carried, who dies at work, and what kills whoever touches it: neighbours never suffer, nothing is lost, people are told once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.e2e.workers import killing
from tests.e2e.world import Row, World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def product(world: World, **values: object) -> Row:
    tag = uuid.uuid4().hex[:10]
    return world.oms.create("products", sku=f"SKU-{tag}", name="Soap", product_type="otc", list_price_cents=900, **values)


@pytest.fixture
def impatient(world: World) -> Iterator[None]:
    """Queues that deliver again after seconds what a dead worker held."""
    with world.visibility(6):
        yield


def test_a_permanent_failure_is_buried_with_its_cause_and_told_once(world: World) -> None:
    world.quiet()
    good, *bad = product(world), product(world, currency="EUR"), product(world, currency="EUR")
    world.agrees({"products": [good["id"]]})
    until(lambda: world.depth("MirrorDlq"), lambda depth: depth == 2)
    buried = world.exhume("Mirror")
    assert {message["id"] for message in buried} == {row["id"] for row in bad}
    for row in bad:
        [failure] = world.failures(f"products/{row['id']}")
        assert failure["code"] == "transform.value_not_allowed"
        assert failure["correlation_id"] != "unknown"
        assert failure["request_id"]
        assert failure["version"]
    cause = str(failure["pk"])
    told = world.org.query(
        "SELECT Id, Subject, Integration_Count__c FROM Case WHERE RecordType.DeveloperName = 'Integration' "
        f"AND Subject = 'Sync failure: {cause}' AND IsClosed = false"
    )
    assert len(told) == 1
    for row in bad:
        world.oms.patch("products", row["id"], currency="USD")
    world.agrees({"products": [row["id"] for row in bad]})


def test_a_value_that_does_not_fit_holds_back_nothing_else(world: World) -> None:
    """Nor on the other side; it is buried and told, and arrives once it is mended."""
    patient = world.patient()
    account = world.account(patient)
    world.quiet()
    world.oms.patch("patients", patient["id"], preferred_name="x" * 300, middle_name="Arrives")
    world.shows("Account", account, "MiddleName", "Arrives")
    world.org.edit("Account", account, Care_Notes__pc="So does this")
    world.holds("patients", patient["id"], "care_notes", "So does this")
    world.quiet()
    assert {failure["code"] for failure in world.failures(f"patients/{patient['id']}")} == {"transform.too_long"}
    assert len(world.exhume("Sync")) >= 2
    causes = world.org.query(
        "SELECT Subject FROM Case WHERE RecordType.DeveloperName = 'Integration' AND Subject LIKE '%Preferred_Name__pc'"
    )
    assert len(causes) == 1
    world.oms.patch("patients", patient["id"], preferred_name="Fits")
    world.shows("Account", account, "Preferred_Name__pc", "Fits")
    world.quiet()
    assert world.buried() == {}


def test_writers_killed_in_the_middle_of_a_batch(world: World, impatient: None) -> None:
    """Both of them, while Salesforce thinks about what they sent: the answer is lost, the change is not."""
    patient = world.patient()
    account = world.account(patient)
    order = world.oms.rows("patient_consents", patient_id=patient["id"])
    world.quiet()
    with world.org.fault("latency", pattern="composite", delay=3), killing(world.stack.home, "Mirror", "Synchronise", times=1) as killed:
        conditions = [world.oms.create("patient_conditions", patient_id=patient["id"], description=f"No {n}")["id"] for n in range(5)]
        world.oms.patch("patients", patient["id"], preferred_name="Survivor")
        world.org.edit("Account", account, Care_Notes__pc="Survives too")
        until(lambda: set(killed), lambda found: found == {"Mirror", "Synchronise"})
    row = world.holds("patients", patient["id"], "care_notes", "Survives too", seconds=60)
    assert row["preferred_name"] == "Survivor"
    world.agrees(
        {"patients": [patient["id"]], "patient_conditions": conditions, "patient_consents": [one["id"] for one in order]}, seconds=60
    )
    world.quiet()
    assert world.buried() == {}
    assert row["version"] <= 4


def test_a_synchroniser_killed_while_the_oms_takes_what_it_sent(world: World, impatient: None) -> None:
    """Twice: the first dies at its PATCH and its create, the second while it asks what became of them. The OMS took both, once."""
    patient = world.patient()
    account = world.account(patient)
    world.quiet()
    name = f"Born{uuid.uuid4().hex[:8]}"
    slow = world.oms.fault(mode="latency", latency_ms=3000, paths=["/v1/patients"], writes=True)
    with slow, killing(world.stack.home, "Synchronise", times=2) as killed:
        world.org.edit("Account", account, Care_Notes__pc="Survives")
        born = world.org.create("Account", LastName=name, RecordTypeId=world.org.record_type("Account", "Patient"))
        until(lambda: len(killed) == 2, seconds=60)
    row = world.holds("patients", patient["id"], "care_notes", "Survives", seconds=60)
    new = until(lambda: world.field("Account", born, "OMS_Id__c"))
    until(lambda: world.oms.get("patients", new), seconds=60)
    world.agrees({"patients": [patient["id"], new]}, seconds=60)
    world.quiet()
    assert row["version"] == patient["version"] + 1
    assert len(world.org.query(f"SELECT Id FROM Account WHERE LastName = '{name}'")) == 1
    assert world.buried() == {}


def test_a_command_is_executed_once_though_who_carries_it_dies_twice(world: World, impatient: None) -> None:
    """First while the OMS executes it, then while Salesforce clears it; the third attempt is made alone, in isolation."""
    patient = world.patient()
    pharmacy = world.oms.create("pharmacies", name=f"Pharmacy {uuid.uuid4().hex[:8]}", pharmacy_type="mail_order")
    order = world.oms.act("place-order", patient_id=patient["id"], items=[{"product_id": product(world)["id"]}])["orders"][0]["id"]
    world.oms.act("pay-order", order_id=order)
    world.oms.act("accept-order", order_id=order, pharmacy_id=pharmacy["id"])
    world.oms.act("ship-order", order_id=order)
    world.agrees({"orders": [order]}, seconds=60)
    record = (world.org.find("Order", order) or {})["Id"]
    world.quiet()
    world.oms.pushes(paused=True)  # what the command itself changes is carried by nobody else meanwhile
    home, requested = world.stack.home, "Requested_Action__c"
    with (
        world.oms.fault(mode="latency", latency_ms=3000, paths=[f"/v1/orders/{order}"], writes=True),
        killing(home, "Synchronise", times=1) as first,
    ):
        world.org.edit("Order", record, **{requested: "reship"})
        until(lambda: first)
    with world.org.fault("latency", pattern="(POST|PATCH) .*composite", delay=3), killing(home, "Synchronise", times=1) as second:
        until(lambda: second)
    world.oms.pushes(paused=False)
    world.shows("Order", record, requested, None, seconds=60)
    world.shows("Order", record, "Action_Result__c", "done: reship", seconds=60)
    world.quiet()
    orders = world.oms.rows("orders", patient_id=patient["id"])
    assert [one["parent_order_id"] for one in orders if one["order_type"] == "reship"] == [order]
    world.agrees(world.rows_of(patient["id"]), seconds=60)
    assert world.buried() == {}


def test_a_message_that_kills_its_process_every_time(world: World, impatient: None) -> None:
    """Its row must be asked of the OMS, which takes six seconds over it; whoever waits for that is killed. Neighbours bring their rows."""
    world.quiet()
    patient = world.patient()
    world.account(patient)
    world.quiet()
    world.oms.pushes(paused=True)
    conditions = [world.oms.create("patient_conditions", patient_id=patient["id"], description=f"No {n}")["id"] for n in range(3)]
    deadly = product(world)
    events = world.outbox(lambda event: event["data"]["id"] in conditions)
    world.oms.lose_pushes()
    world.oms.pushes(paused=False)
    slow = world.oms.fault(mode="latency", latency_ms=6000, paths=["/v1/products/batch-get"])
    with slow, killing(world.stack.home, "Mirror", "Isolation", after=2.5) as killed:  # a machine under load takes a second over anything
        world.send("Mirror", {"correlation_id": "deadly", "origin": "oms", "table": "products", "id": deadly["id"], "version": 1})
        world.door(events)
        until(lambda: world.depth("IsolationDlq"), seconds=150)
    assert [message["id"] for message in world.exhume("Isolation")] == [deadly["id"]]
    assert killed == ["Mirror"] * 2 + ["Isolation"] * 3
    world.agrees({"patient_conditions": conditions})
    world.quiet()
    assert world.buried() == {}
