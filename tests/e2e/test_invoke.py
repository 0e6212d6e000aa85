"""Every function with its sample event, on the stack: `omsync local sam` prepares the events, and each makes its function do its work.

What `sam local invoke` adds, Docker and a way into the stack, is no part of this: `omsync local sam --try` does the same with it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.demo.systems import Systems
from local.invoke.samples import SAMPLES, Cast, Event, Sample, prepare
from ops.connections import Connections
from tests.e2e.conftest import Stack
from tests.e2e.world import World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def connections(stack: Stack) -> Connections:
    test = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return Connections(stack.endpoints["stack_name"], stack.endpoints["region"], stack.endpoints["aws_endpoint_url"], test)


@pytest.fixture(scope="module")
def cast(stack: Stack, world: World, connections: Connections) -> Cast:
    return Cast(Systems.at(stack.home), connections)


@pytest.fixture(scope="module")
def events(cast: Cast) -> dict[str, Event]:
    return prepare(cast)


@pytest.fixture(scope="module")
def buried(cast: Cast) -> int:
    """Messages in DLQs before."""
    return cast.systems.buried()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_function_does_its_work_with_its_sample(
    sample: Sample, stack: Stack, connections: Connections, events: dict[str, Event], buried: int
) -> None:
    function = connections.resources[sample.function][1]

    def called() -> Any:
        payload = json.dumps(events[sample.name]).encode()
        return json.loads(stack.aws.client("lambda").invoke(FunctionName=function, Payload=payload)["Payload"].read())

    def settled(answer: Any) -> bool:
        return not (isinstance(answer, dict) and answer.get("outcome") == "wait")

    answer = until(called, settled, seconds=90)  # a chunk's job is asked for again, as its state machine does
    assert sample.answered(answer), answer


def test_the_work_is_done(cast: Cast, world: World, buried: int) -> None:
    """What answers alone don't show, after all samples."""
    assert world.org.find("Product2", cast.product["id"]) is not None
    reminded = [mail for mail in cast.systems.mailbox() if mail["to"] == [cast.ada["email"]] and "finish-intake" in mail["tags"]["claim"]]
    assert len(reminded) == 1
    greeted = until(lambda: [mail for mail in cast.systems.mailbox() if mail["to"] == [cast.una["email"]]], seconds=60)
    assert len(greeted) == 1, "her transition was put on the bus"
    assert cast.oms.get("patients", cast.grace["id"])["email_verified_at"]
    assert cast.oms.get("patients", cast.grace["id"])["marketing_opt_in"] is False
    bounced = [row["delivery_status"] for row in cast.oms.rows("communications", patient_id=cast.mary["id"])]
    assert "bounced" in bounced
    answered = cast.connections.client("s3").get_object(
        Bucket=cast.connections.outputs["StagingBucketName"], Key=f"samples/{cast.tag}.json"
    )
    assert json.loads(answered["Body"].read())["Status"] == "SUCCESS"
    assert cast.systems.buried() == buried, "nothing went into a DLQ"
