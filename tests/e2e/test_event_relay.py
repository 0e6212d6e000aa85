"""Salesforce's second road: Event Relay and a partner event bus bring the same hints, past the door, into the same queue."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
def relay(stack: Stack, world: World) -> Iterator[str]:
    """The org relays its events to the deployed bus instead of calling out; the bus's name."""
    buses = stack.aws.client("events").list_event_buses()["EventBuses"]
    [bus] = [bus["Name"] for bus in buses if bus["Name"].startswith("aws.partner/salesforce.com/")]
    before = world.org.admin("GET", "named-credential") | {"client_secret": stack.endpoints["salesforce_client_secret"]}
    there = {"mode": "relay", "bus": bus, "aws_endpoint": stack.endpoints["aws_endpoint_url"]}
    world.org.admin("PUT", "named-credential", {**before, **there})
    yield str(bus)
    world.org.admin("PUT", "named-credential", before)


def test_an_edit_comes_by_the_relay(stack: Stack, world: World, relay: str) -> None:
    patient = world.patient()
    account = world.account(patient, seconds=60)
    knocked = calls_of_the_door(stack)
    name = f"R{uuid.uuid4().hex[:8]}"
    world.org.edit("Account", account, LastName=name)
    assert world.holds("patients", patient["id"], "last_name", name, seconds=60)["changed_by"] == "sync:salesforce"
    assert calls_of_the_door(stack) == knocked, "no callout was made"


def test_a_record_made_in_salesforce_comes_by_the_relay(world: World, relay: str) -> None:
    """Its hint has neither save nor master: what the rule makes of null must not stop it."""
    account = world.account(world.patient(), seconds=60)
    body = f"By relay {uuid.uuid4()}"
    note = {"Patient__c": account, "Type__c": "phone", "Title__c": "Call", "Body__c": body}
    made = world.org.create("Clinical_Note__c", user="clinician", **note)
    world.shows("Clinical_Note__c", made, "OMS_Version__c", 1, seconds=60)
    found = world.oms.get("clinical_notes", world.field("Clinical_Note__c", made, "OMS_Id__c"))
    assert found is not None
    assert found["body"] == body


def calls_of_the_door(stack: Stack) -> int:
    """How often Salesforce's door was entered."""
    pages = stack.aws.client("logs").get_paginator("filter_log_events")
    group = f"/omsync/{stack.endpoints['stack_name']}/salesforce_changes"
    return sum(len(page["events"]) for page in pages.paginate(logGroupName=group, filterPattern='"accepted"'))
