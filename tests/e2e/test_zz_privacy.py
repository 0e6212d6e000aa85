"""No value of a patient is anywhere but where it belongs. The last of these tests: what all others have left on the stack is searched too.

Where values may be: both systems, the emails, the bodies of queues' messages and the staging bucket's objects (encrypted, for days). Searched is
everything else: functions' logs, metrics, message attributes, state machines' inputs and histories, tables, schedules, names of objects.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.world import Refused, Row, World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

#: columns whose values are looked for: of everybody in the OMS
PERSONAL = {
    "patients": ("first_name", "last_name", "email", "phone_e164", "care_notes", "preferred_name"),
    "patient_addresses": ("line1", "recipient_name"),
    "clinical_notes": ("title", "body"),
    "communications": ("subject", "body", "to_address"),
}
#: shorter values are words that mean anything; these are left out
LONG_ENOUGH = 8


@pytest.fixture(scope="module")
def patient(stack: Stack, world: World) -> Row:
    """Somebody whose every value is one of a kind, and who has been everywhere: emails, both directions, refused, buried, traced."""
    tag = uuid.uuid4().hex[:8]
    made = world.patient(
        first_name=f"Xanthippe{tag}",
        last_name=f"Quillfeather{tag}",
        email=f"xanthippe.{tag}@example.com",
        phone_e164=f"+1512{int(tag[:6], 16) % 10_000_000:07}",
        shipping_address={"line1": f"{tag} Larkspur Lane", "city": "Austin", "state_code": "TX", "postal_code": "78704"},
    )
    account = world.account(made, seconds=60)
    world.org.edit("Account", account, Care_Notes__pc=f"Calls after five {tag}")
    world.holds("patients", made["id"], "care_notes", f"Calls after five {tag}", seconds=60)
    note = {"Patient__c": account, "Type__c": "phone", "Title__c": f"Title {tag}", "Body__c": f"Said in confidence {tag}"}
    noted = world.org.create("Clinical_Note__c", user="clinician", **note)
    world.shows("Clinical_Note__c", noted, "OMS_Version__c", 1, seconds=60)
    refused_at_the_door(world, made, tag)
    refused_by_the_mapping(world, tag)
    world.quiet()
    return {**made, "tag": tag}


def refused_at_the_door(world: World, patient: Row, tag: str) -> None:
    """An event whose row is not what the schema says: the answer names fields."""
    [event, *_] = world.outbox(lambda one: one["subject"] == f"patients/{patient['id']}")
    row = {**event["data"]["row"], "care_notes": f"Secret of the door {tag}", "version": "one"}
    with pytest.raises(Refused) as refused:
        world.door([{**event, "data": {**event["data"], "row": row}}])
    assert tag not in str(refused.value)


def refused_by_the_mapping(world: World, tag: str) -> None:
    """A row that Salesforce's field has no room for: DLQ, failure row, Case and log lines."""
    product = world.oms.create("products", sku=f"P-{uuid.uuid4().hex[:8]}", name="Plain", product_type="otc", list_price_cents=100)
    row = {**product, "version": 2, "name": f"Secret of the row {tag} " * 20}
    correlation = f"privacy-{product['id']}"
    world.send(
        "Mirror", {"correlation_id": correlation, "origin": "oms", "table": "products", "id": product["id"], "version": 2, "row": row}
    )
    until(lambda: world.failures(f"products/{product['id']}"), seconds=90)
    buried.append(correlation)


#: correlation ids of what this module has put into a DLQ
buried: list[str] = []


def texts(stack: Stack) -> Iterator[tuple[str, str]]:
    """(where, text) of everything that must hold no value."""
    for place in (logs, attributes, histories, tables, schedules, object_names):
        yield from place(stack)


def logs(stack: Stack) -> Iterator[tuple[str, str]]:
    """Functions' logs, the API's, the state machines'; metrics are lines of them."""
    client = stack.aws.client("logs")
    for group in (one["logGroupName"] for page in client.get_paginator("describe_log_groups").paginate() for one in page["logGroups"]):
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group)
        yield f"log {group}", "\n".join(event["message"] for page in pages for event in page["events"])


def attributes(stack: Stack) -> Iterator[tuple[str, str]]:
    """What is not the body: in DLQs, which keep their messages."""
    sqs = stack.aws.client("sqs")
    for url in sqs.list_queues().get("QueueUrls", []):
        yield f"queue {url}", json.dumps(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])
        if "Dlq-" in url:
            told = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0, AttributeNames=["All"], MessageAttributeNames=["All"]
            )
            yield f"attributes {url}", json.dumps([{**one, "Body": ""} for one in told.get("Messages", [])])


def histories(stack: Stack) -> Iterator[tuple[str, str]]:
    """Inputs, outputs and events of all executions."""
    client = stack.aws.client("stepfunctions")
    for machine in client.list_state_machines()["stateMachines"]:
        for run in client.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]:
            pages = client.get_paginator("get_execution_history").paginate(executionArn=run["executionArn"])
            told = [client.describe_execution(executionArn=run["executionArn"]), *(event for page in pages for event in page["events"])]
            yield f"execution {run['name']}", json.dumps(told, default=str)


def tables(stack: Stack) -> Iterator[tuple[str, str]]:
    """Ledger, failures, state, claims, suppressed addresses, skipped emails."""
    client = stack.aws.client("dynamodb")
    for name in client.list_tables()["TableNames"]:
        for page in client.get_paginator("scan").paginate(TableName=name):
            yield f"table {name}", json.dumps(page["Items"], default=str)


def schedules(stack: Stack) -> Iterator[tuple[str, str]]:
    """One-time schedules and what they will put into the queue."""
    client = stack.aws.client("scheduler")
    for one in (one for page in client.get_paginator("list_schedules").paginate() for one in page["Schedules"]):
        yield f"schedule {one['Name']}", json.dumps(client.get_schedule(Name=one["Name"], GroupName=one["GroupName"]), default=str)


def object_names(stack: Stack) -> Iterator[tuple[str, str]]:
    """The staging bucket's."""
    pages = stack.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=stack.outputs["StagingBucketName"])
    yield "objects", "\n".join(one["Key"] for page in pages for one in page.get("Contents", []))


def everybodys(world: World) -> set[str]:
    """The values of all patients in the OMS that mean somebody; what tests have written there on purpose to mean anything, is left out."""
    found = {
        str(row[column]) for table, columns in PERSONAL.items() for row in all_rows(world, table) for column in columns if row.get(column)
    }
    return {value for value in found if len(value) >= LONG_ENOUGH}


def all_rows(world: World, table: str) -> Iterator[Row]:
    after: dict[str, str] = {}
    while True:
        page = world.oms.call("GET", f"/v1/{table}", params={"limit": "500", **after}).json()
        yield from page["items"]
        if not page["next"]:
            return
        after = {"after": page["next"]}


def finder(values: set[str]) -> Callable[[str], list[str]]:
    """Which of these stand in a text, as words of their own. What is one word is looked up among the text's words; the rest is searched for."""
    words = {value for value in values if re.fullmatch(r"[\w.+@-]+", value)}
    phrases = sorted({json.dumps(value)[1:-1] for value in values - words} | (values - words))

    def found(text: str) -> list[str]:
        plain = text.replace("\\", "")
        return sorted(words & set(re.findall(r"[\w.+@-]+", plain))) + [phrase for phrase in phrases if phrase in text or phrase in plain]

    return found


def test_no_value_of_a_patient_is_in_logs_attributes_histories_or_tables(stack: Stack, world: World, patient: Row) -> None:
    everything = list(texts(stack))
    places = {name.partition(" ")[0] for name, _ in everything}
    assert {"log", "queue", "attributes", "table"} <= places, "there is something to search"
    values = everybodys(world)
    assert {patient["first_name"], patient["last_name"], patient["email"]} <= values
    look = finder(values)
    leaks = {name: found for name, text in everything if (found := look(text) + [patient["tag"]] * (patient["tag"] in text))}
    left = {one["correlation_id"] for one in world.exhume("Mirror")}
    assert leaks == {}
    assert set(buried) <= left, "the search had a DLQ's message to look at"


def test_the_search_finds_what_is_there() -> None:
    look = finder({"ada.lovelace@example.com", "12 Elm Street", 'says "no" twice', "+15125550100"})
    assert look('{"to": "ada.lovelace@example.com"}') == ["ada.lovelace@example.com"]
    assert look("at 12 Elm Street, Austin") == ["12 Elm Street"]
    assert look(json.dumps({"body": 'he says "no" twice'}))
    assert look("tel +15125550100") == ["+15125550100"]
    assert look("patients/7d0c3f4e outcome written") == []
