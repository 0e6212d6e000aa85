"""The embedded Step Functions fails a task whose function could not ask."""

from __future__ import annotations

import json
from collections.abc import Callable

from local.stack.deploy import Aws
from tests.integration.stack.conftest import ROLE
from tests.polling import until

ASKING = """
def handler(event, context):
    if event["fails"]:
        raise RuntimeError("no")
"""


def test_a_task_whose_function_failed_does_not_wait_for_its_token(aws: Aws, function: Callable[[str, str], str]) -> None:
    asks = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {"FunctionName": function("asking", ASKING), "Payload": {"fails.$": "$.fails", "token.$": "$$.Task.Token"}},
        "TimeoutSeconds": 2,
        "End": True,
    }
    states = aws.client("stepfunctions")
    definition = json.dumps({"StartAt": "Ask", "States": {"Ask": asks}})
    machine = states.create_state_machine(name="asking", definition=definition, roleArn=ROLE)["stateMachineArn"]

    def ended(fails: bool) -> str:
        arn = states.start_execution(stateMachineArn=machine, input=json.dumps({"fails": fails}))["executionArn"]
        done = until(lambda: states.describe_execution(executionArn=arn), lambda one: one["status"] != "RUNNING", seconds=60)
        return str(done["error"])

    assert ended(fails=False) == "States.Timeout", "it waited"
    assert ended(fails=True) != "States.Timeout"
