"""An operator at the embedded stack: what became of a record, how things stand, and messages sent to work again."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.world import World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def traced(stack: Stack, record: str, *options: str) -> dict[str, Any]:
    """`omsync trace --json`."""
    return dict(json.loads(stack.omsync("trace", record, "--json", *options, check=False).stdout))


def status(stack: Stack) -> tuple[int, dict[str, Any]]:
    done = stack.omsync("status", "--json", check=False)
    return done.returncode, dict(json.loads(done.stdout))


def test_a_trace_tells_a_patients_life_in_both_systems_without_its_values(stack: Stack, world: World) -> None:
    patient = world.patient()
    account = world.account(patient)
    world.org.edit("Account", account, LastName="Lovelace-Trace")
    world.holds("patients", patient["id"], "last_name", "Lovelace-Trace")
    record = f"patients/{patient['id']}"

    def whole() -> dict[str, Any]:
        return traced(stack, record)

    places = {"OMS", "outbox", "Salesforce Account", "log synchronise"}
    told = until(whole, lambda told: places <= {one["where"] for one in told["life"]}, seconds=60)
    assert told["not_read"] == {}
    assert [one["at"] for one in told["life"]] == sorted(one["at"] for one in told["life"])
    whats = [one["what"] for one in told["life"]]
    assert whats.index("row created") < whats.index("created by integration@omsync.example") < whats.index("a person edited LastName")
    assert whats.index("a person edited LastName") < whats.index("last edit of last_name")
    assert told["now"]["ledger"]["salesforce_id"] == account
    assert told["now"]["oms"]["version"] == told["now"]["ledger"]["version"]
    assert "Lovelace-Trace" not in json.dumps(told)
    assert patient["email"] not in json.dumps(told)
    assert "Lovelace-Trace" in json.dumps(traced(stack, record, "--show-values"))
    assert traced(stack, f"Account/{account}")["record"] == record
    people = stack.omsync("trace", record).stdout
    assert "a person edited LastName" in people
    assert "Lovelace-Trace" not in people


def test_what_is_no_record_is_refused_in_one_line(stack: Stack) -> None:
    refused = stack.omsync("trace", "patients/17", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert stack.omsync("trace", f"patients/{uuid.uuid4()}", check=False).returncode == 1


def test_a_message_that_fails_for_good_is_found_mended_and_redriven(stack: Stack, world: World) -> None:
    """A product that the OMS does not know yet: DLQ, failure row, Case; then it is there, and the message goes to work again."""
    product, correlation = str(uuid.uuid4()), f"ops-{uuid.uuid4()}"
    message = {"correlation_id": correlation, "origin": "oms", "table": "products", "id": product, "version": 1}
    other = {**message, "id": str(uuid.uuid4())}
    sqs = stack.aws.client("sqs")
    for one in (message, other):
        sqs.send_message(QueueUrl=stack.outputs["MirrorQueueUrl"], MessageBody=json.dumps(one))
    until(lambda: world.depth("MirrorDlq"), lambda depth: depth >= 2, seconds=60)

    code, told = status(stack)
    assert code == 1
    assert any("MirrorDlq" in line for line in told["needs_a_person"])
    until(lambda: status(stack)[1]["cases"].get("failure", 0), seconds=30)
    life = {one["where"]: one for one in traced(stack, f"products/{product}")["life"]}
    assert life["queue"]["what"] == "waits in MirrorDlq"
    assert life["failure"]["code"] == "mirror.no_row"
    assert life["log mirror"]["correlation_id"] == correlation
    assert life["Case"]["what"].startswith("opened: Sync failure")

    tag = uuid.uuid4().hex[:8]
    world.oms.create("products", id=product, sku=f"OPS-{tag}", name="Redriven", product_type="otc", list_price_cents=100)
    would = stack.omsync("redrive", "mirror", "--record", f"products/{product}", "--dry-run")
    assert f"would send  products/{product}" in would.stdout
    assert world.depth("MirrorDlq") >= 2
    done = stack.omsync("redrive", "mirror", "--record", f"products/{product}")
    assert "1 messages sent from MirrorDlq to MirrorQueue" in done.stdout
    until(lambda: world.org.find("Product2", product), seconds=60)
    lines = until(
        lambda: [one for one in traced(stack, f"products/{product}")["life"] if one["where"] == "log mirror"],
        lambda lines: any(one.get("correlation_id") == correlation and one["outcome"] in ("applied", "superseded") for one in lines),
        seconds=60,
    )
    assert lines
    assert not [one for one in traced(stack, f"products/{product}")["life"] if one["where"] == "queue"]
    assert [body["id"] for body in world.exhume("Mirror") if body["correlation_id"] == correlation] == [other["id"]]


def test_a_redrive_wants_to_know_which_messages(stack: Stack) -> None:
    assert stack.omsync("redrive", "mirror", check=False).returncode == 2
    unknown = stack.omsync("redrive", "orders", "--all", check=False)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)


def test_status_tells_lag_budget_breakers_and_sweep(stack: Stack, world: World) -> None:
    world.account(world.patient())
    world.invoke("Sweep")
    told = until(lambda: status(stack)[1], lambda told: told["lag"]["from_oms"]["changes"], seconds=60)
    assert told["not_read"] == {}
    assert told["lag"]["from_oms"]["p50"] <= told["lag"]["from_oms"]["p99"]
    assert 0 < told["api"]["used"] < told["api"]["total"]
    assert told["breakers"]["salesforce"]["state"] == told["breakers"]["oms"]["state"] == "closed"
    assert told["sweep"]["oms"]["feeds"] >= 22
    assert told["queues"]["SyncQueue"]["consumer"] == "Enabled"


def test_what_somebody_changed_past_the_rules_is_found_and_repaired(stack: Stack, world: World) -> None:
    """Somebody with the integration's rights overwrites a value that belongs to the OMS: no event tells of it, a comparison does."""
    product = world.oms.create("products", sku=f"REC-{uuid.uuid4().hex[:8]}", name="As listed", product_type="otc", list_price_cents=100)
    held = until(lambda: world.org.find("Product2", product["id"]), seconds=60)
    assert held is not None
    world.org.edit("Product2", held["Id"], user="integration", Name="As tampered with")
    done = stack.omsync("reconcile", "products", "--repair", "--json", check=False)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    [difference] = [one for table in told["tables"] for one in table["differences"] if product["id"] in one["record"]]
    assert (difference["kind"], difference["fields"]) == ("different", ["Name"])
    assert "As tampered with" not in done.stdout
    assert told["enqueued"] >= 1
    world.shows("Product2", held["Id"], "Name", "As listed", seconds=60)
