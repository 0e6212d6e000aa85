"""What AWS could not deliver: an operator sends it on, from each of the DLQs that have no queue of their own."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from local.stack.home import ROOT
from omsync.platform.http import TimeoutSession
from tests.e2e.conftest import Stack
from tests.e2e.world import World, _checked
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def empty(stack: Stack, world: World) -> None:
    """Outages of earlier tests may have left failed calls."""
    for dlq in ("AsyncDlq", "EmailRulesDlq", "LifecycleBusDlq"):
        stack.aws.client("sqs").purge_queue(QueueUrl=url(stack, dlq))


def bury(stack: Stack, dlq: str, body: object, **attributes: str) -> None:
    """Put a message into a DLQ, as EventBridge and Lambda do."""
    told = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    stack.aws.client("sqs").send_message(QueueUrl=url(stack, dlq), MessageBody=json.dumps(body), MessageAttributes=told)


def url(stack: Stack, queue: str) -> str:
    found = stack.aws.client("sqs").list_queues()["QueueUrls"]
    return next(str(one) for one in found if f"-{queue}-" in one)


def silent_patient(world: World) -> dict[str, Any]:
    """A patient of whom the OMS tells as of history: no email by itself."""
    name = f"U{uuid.uuid4().hex[:10]}"
    row = {"first_name": "Una", "last_name": name, "email": f"{name.lower()}@example.com"}
    answer = world.oms.call("POST", "/v1/patients", json=row, headers={"X-Changed-By": "import"})
    return dict(_checked(answer).json())


def registered(patient: dict[str, Any]) -> dict[str, object]:
    """The lifecycle bus's event of a registration."""
    detail = {
        "table": "patients",
        "id": patient["id"],
        "version": 1,
        "patient_id": patient["id"],
        "at": patient["created_at"],
        "correlation_id": f"undelivered-{patient['id']}",
        "changed": ["registered"],
        "new": {},
        "old": {},
    }
    return {"version": "0", "id": str(uuid.uuid4()), "detail-type": "patients", "source": "omsync.lifecycle", "detail": detail}


def emails(stack: Stack, patient: dict[str, Any]) -> list[Any]:
    mails = json.loads(TimeoutSession().get(f"{stack.endpoints['mailbox_url']}/messages.json").text)
    return [mail for mail in mails if mail["to"] == [patient["email"]]]


def redriven(stack: Stack, name: str) -> str:
    return stack.omsync("redrive", name, "--all").stdout


def test_a_transition_that_the_bus_lost_is_mailed_after_all(stack: Stack, world: World) -> None:
    patient = silent_patient(world)
    bury(stack, "LifecycleBusDlq", registered(patient))
    assert "LifecycleBusDlq" in stack.omsync("status", check=False).stdout
    assert "1 messages sent from LifecycleBusDlq to their targets, 0 left" in redriven(stack, "lifecycle-bus")
    assert len(until(lambda: emails(stack, patient), seconds=60)) == 1


def test_an_event_that_a_rule_could_not_deliver_becomes_its_email(stack: Stack, world: World) -> None:
    patient, events = silent_patient(world), stack.aws.client("events")
    rules = events.list_rules(EventBusName=stack.outputs["LifecycleBusName"])["Rules"]
    [rule] = [rule for rule in rules if rule["Description"].startswith("1 welcome-verify")]
    [target] = events.list_targets_by_rule(Rule=rule["Name"], EventBusName=stack.outputs["LifecycleBusName"])["Targets"]
    bury(stack, "EmailRulesDlq", registered(patient), RULE_ARN=rule["Arn"], TARGET_ARN=target["Arn"])
    assert "1 messages sent from EmailRulesDlq to their targets, 0 left" in redriven(stack, "email-rules")
    assert len(until(lambda: emails(stack, patient), seconds=60)) == 1


def test_a_call_that_failed_is_made_again(stack: Stack, world: World) -> None:
    """By Lambda's own record of it."""
    functions = stack.aws.client("lambda").get_paginator("list_functions").paginate()
    arn = next(one["FunctionArn"] for page in functions for one in page["Functions"] if "-SynchroniseFunction-" in one["FunctionName"])
    patient = world.patient()
    look = {"correlation_id": f"again-{patient['id']}", "origin": "sweep", "table": "patients", "id": patient["id"]}
    payload = json.loads((ROOT / "events" / "synchronise.json").read_text())
    payload["Records"] = [payload["Records"][0] | {"body": json.dumps(look)}]
    bury(stack, "AsyncDlq", {"requestContext": {"functionArn": arn, "condition": "RetriesExhausted"}, "requestPayload": payload})
    assert "1 messages sent from AsyncDlq to their targets, 0 left" in redriven(stack, "async")
    until(lambda: lines(stack, f"again-{patient['id']}"), seconds=60, every=1)


def test_a_hint_that_the_partner_bus_lost_is_looked_at(stack: Stack, world: World) -> None:
    patient = world.patient()
    account = world.account(patient, seconds=60)
    buses = stack.aws.client("events").list_event_buses()["EventBuses"]
    source = next(bus["Name"] for bus in buses if bus["Name"].startswith("aws.partner/"))
    payload = {
        "Object__c": "Account",
        "Record_Id__c": account,
        "Change__c": "UPDATE",
        "Record_Type__c": "Patient",
        "Master_Id__c": None,
        "At__c": None,
    }
    identity = str(uuid.uuid4())
    event = {"version": "0", "id": identity, "detail-type": "Record_Changed__e", "source": source, "detail": {"payload": payload}}
    bury(stack, "LifecycleBusDlq", event)
    assert "1 messages sent from LifecycleBusDlq to their targets, 0 left" in redriven(stack, "lifecycle-bus")
    until(lambda: lines(stack, identity), seconds=60, every=1)


def lines(stack: Stack, correlation: str) -> list[str]:
    group = f"/omsync/{stack.endpoints['stack_name']}/synchronise"
    pages = stack.aws.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern=f'"{correlation}"')
    return [event["message"] for page in pages for event in page["events"]]


def test_what_nobody_takes_is_told_and_stays(stack: Stack, world: World) -> None:
    bury(stack, "AsyncDlq", {"detail": "of nobody"})
    done = stack.omsync("redrive", "async", "--all", check=False)
    assert done.returncode == 1
    assert "names no target" in done.stdout
    assert "1 left there" in done.stdout
    removed = stack.omsync("redrive", "async", "--all", "--remove", "--yes")
    assert "1 messages removed from AsyncDlq, 0 left there" in removed.stdout
