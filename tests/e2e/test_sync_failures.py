"""What can't be carried, who dies at work, and what kills whoever touches it: neighbours never suffer, nothing is lost, people are told once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.e2e.workers import killing
from tests.e2e.world import Row, World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(300)]


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


def test_a_message_that_kills_its_process_every_time(world: World, impatient: None) -> None:
    """Its row must be asked of the OMS, which takes three seconds over it; whoever waits for that is killed. Neighbours bring their rows."""
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
    slow = world.oms.fault(mode="latency", latency_ms=3000, paths=["/v1/products/batch-get"])
    with slow, killing(world.stack.home, "Mirror", "Isolation") as killed:
        world.send("Mirror", {"correlation_id": "deadly", "origin": "oms", "table": "products", "id": deadly["id"], "version": 1})
        world.door(events)
        until(lambda: world.depth("IsolationDlq"), seconds=150)
    assert [message["id"] for message in world.exhume("Isolation")] == [deadly["id"]]
    assert killed == ["Mirror"] * 2 + ["Isolation"] * 3
    world.agrees({"patient_conditions": conditions})
    world.quiet()
    assert world.buried() == {}
