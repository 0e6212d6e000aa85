"""What AWS could not deliver goes where it was meant to, as it was meant to arrive: by the rules of the templates themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from omsync.emails.occurrences import EmailJob
from omsync.sync.messages import SyncMessage
from ops.redrive import run
from ops.undelivered import transformed
from tests.unit.ops.conftest import Account
from tests.unit.test_template import TEMPLATES, CloudFormation

PARTNER = "aws.partner/salesforce.com/00D000000000001/OMSync_Changes"
TRANSITION = {
    "table": "orders",
    "id": "6f9d2f0e-0f5b-4a53-9a3c-2c8f3e6f3f10",
    "version": 3,
    "at": "2026-03-01T09:00:00Z",
    "correlation_id": "c-1",
    "changed": ["status"],
    "new": {"status": "delivered"},
    "old": {"status": "shipped"},
}
HINT = {
    "Object__c": "Account",
    "Record_Id__c": "001000000000001AAA",
    "Change__c": "UPDATE",
    "Record_Type__c": "Patient",
    "Save__c": 3,
    "Master_Id__c": None,
    "At__c": "2026-03-01T09:00:00.000Z",
}


def event(source: str, kind: str, detail: object) -> dict[str, object]:
    return {"version": "0", "id": "e-1", "detail-type": kind, "source": source, "detail": detail}


def target_of(rule: str, arn: str) -> dict[str, Any]:
    """A rule's target in the templates, with an ARN of this account."""
    for path in TEMPLATES:
        found = yaml.load(path.read_text(), CloudFormation)["Resources"].get(rule)
        if found:
            [target] = found["Properties"]["Targets"]
            return {"Id": target["Id"], "Arn": arn, "InputTransformer": target["InputTransformer"]}
    raise AssertionError(rule)


def arn(account: Account, queue: str) -> str:
    return str(account.sqs.get_queue_attributes(QueueUrl=account.queues[queue], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def rule(account: Account, name: str, bus: str, target: dict[str, Any]) -> str:
    """Make a bus with one rule; the rule's ARN."""
    events = account.client("events")
    if bus != "default":
        events.create_event_bus(Name=bus)
    made = events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"version": ["0"]}))
    events.put_targets(Rule=name, EventBusName=bus, Targets=[target])
    return str(made["RuleArn"])


def test_a_rules_event_becomes_the_email_job_that_it_would_have_been(account: Account) -> None:
    queue = arn(account, "EmailQueue")
    made = rule(account, "OrderDelivered", "lifecycle", target_of("OrderDeliveredRule", queue))
    account.put_undelivered("EmailRulesDlq", event("omsync.lifecycle", "orders", TRANSITION), RULE_ARN=made, TARGET_ARN=queue)
    done = run(account, "EmailRules", lambda _: True, dry_run=False)
    assert (len(done.sent), done.refused, done.left) == (1, [], 0)
    [message] = account.read("EmailQueue")
    job = EmailJob.model_validate(message)
    assert job.flow == "order-delivered"
    assert job.transition is not None
    assert job.transition.id == TRANSITION["id"]


def test_a_schedules_job_and_ses_news_go_as_they_are(account: Account) -> None:
    job = {"flow": "finish-intake", "occurrence": None}
    account.put_undelivered("EmailRulesDlq", job, TARGET_ARN=arn(account, "EmailQueue"))
    feedback = arn(account, "EmailFeedbackQueue")
    made = rule(account, "Feedback", "default", {"Id": "queue", "Arn": feedback})
    told = event("aws.ses", "Email Bounced", {"eventType": "Bounce"})
    account.put_undelivered("EmailRulesDlq", told, RULE_ARN=made, TARGET_ARN=feedback)
    run(account, "EmailRules", lambda _: True, dry_run=False)
    assert account.read("EmailQueue") == [job]
    assert account.read("EmailFeedbackQueue") == [told]


def test_a_transition_that_the_bus_could_not_keep_is_put_on_it_again(account: Account) -> None:
    rule(account, "All", "lifecycle", {"Id": "queue", "Arn": arn(account, "EmailQueue")})
    account.put("LifecycleBusDlq", event("omsync.lifecycle", "orders", TRANSITION))
    done = run(account, "LifecycleBus", lambda _: True, dry_run=False)
    assert (len(done.sent), done.left) == (1, 0)
    [arrived] = account.read("EmailQueue")
    assert (arrived["source"], arrived["detail-type"], arrived["detail"]) == ("omsync.lifecycle", "orders", TRANSITION)


def test_a_partners_event_becomes_the_look_that_it_would_have_been() -> None:
    """Only Salesforce may put on that bus; so its rule is followed by hand (tests/e2e/test_undelivered.py does it on a bus)."""
    made = transformed(target_of("SalesforceRule", "queue"), event(PARTNER, "Record_Changed__e", {"payload": HINT}))
    look = SyncMessage.model_validate_json(made)
    assert (look.sobject, look.salesforce_id, look.change, look.record_type) == ("Account", HINT["Record_Id__c"], "UPDATE", "Patient")
    assert look.master_id is None
    assert look.correlation_id == "e-1"


@pytest.mark.parametrize("absent", ["", "null"])
def test_what_a_transformer_makes_of_nothing_is_nothing(absent: str) -> None:
    told = {"correlation_id": "e-1", "origin": "salesforce", "sobject": "Case", "salesforce_id": "500000000000001AAA"}
    look = SyncMessage.model_validate({**told, "record_type": absent, "master_id": absent, "committed_at": absent})
    assert (look.record_type, look.master_id, look.committed_at) == (None, None, None)


def test_text_is_escaped_and_json_is_json() -> None:
    transformer = {
        "InputPathsMap": {"a": "$.detail.a", "b": "$.detail.b"},
        "InputTemplate": '{"text": "it is <a>", "all": <b>, "none": "<c>"}',
    }
    made = transformed({"InputTransformer": transformer}, {"detail": {"a": 'say "hi"', "b": {"x": [1, None]}}})
    assert json.loads(made) == {"text": 'it is say "hi"', "all": {"x": [1, None]}, "none": "<c>"}
