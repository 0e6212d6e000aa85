"""An AWS account in memory (moto) with the template's queues, tables and bucket, as the operator's commands see a stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from ops.connections import Connections
from tests.unit.test_template import ROOT, CloudFormation

QUEUES = ("Mirror", "Sync", "Isolation", "Lifecycle", "Email", "EmailFeedback")


@dataclass(frozen=True)
class Account(Connections):
    """`Connections` whose stack is what `account` made."""

    @cached_property
    def resources(self) -> dict[str, tuple[str, str]]:  # type: ignore[override]
        urls = self.sqs.list_queues().get("QueueUrls", [])
        return {url.rpartition("/")[2]: ("AWS::SQS::Queue", url) for url in urls}

    @cached_property
    def outputs(self) -> dict[str, str]:  # type: ignore[override]
        return {f"{name}TableName": name for name in ("State", "Failure", "Ledger")} | {
            "StagingBucketName": "staging",
            "LifecycleBusName": "lifecycle",
        }

    def put(self, queue: str, *messages: object) -> None:
        for message in messages:
            body = message if isinstance(message, str) else json.dumps(message)
            self.sqs.send_message(QueueUrl=self.queues[queue], MessageBody=body)

    def put_undelivered(self, queue: str, body: object, **attributes: str) -> None:
        """A message as EventBridge puts it into a DLQ."""
        told = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        self.sqs.send_message(QueueUrl=self.queues[queue], MessageBody=json.dumps(body), MessageAttributes=told)  # type: ignore[arg-type]

    def read(self, queue: str) -> list[Any]:
        """Everything visible in a queue, in any order."""
        found = []
        while messages := self.sqs.receive_message(QueueUrl=self.queues[queue], MaxNumberOfMessages=10).get("Messages", []):
            found += [json.loads(message["Body"]) for message in messages]
        return found


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setattr("ops.queues.WAIT_SECONDS", 0)
    with mock_aws():
        sqs, dynamodb = boto3.client("sqs", "us-east-1"), boto3.client("dynamodb", "us-east-1")
        alone = ("AsyncDlq", "LifecycleBusDlq", "EmailRulesDlq")
        for name in [*(f"{queue}{kind}" for queue in QUEUES for kind in ("Queue", "Dlq")), *alone]:
            sqs.create_queue(QueueName=name)
        resources = yaml.load((ROOT / "template.yaml").read_text(), CloudFormation)["Resources"]
        for table in ("State", "Ledger", "Failure"):
            told = resources[f"{table}Table"]["Properties"]
            shape = {name: told[name] for name in ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes") if name in told}
            dynamodb.create_table(TableName=table, BillingMode="PAY_PER_REQUEST", **shape)
        boto3.client("s3", "us-east-1").create_bucket(Bucket="staging")
        yield Account("omsync-test", "us-east-1", None, {"aws_access_key_id": "test", "aws_secret_access_key": "test"})
