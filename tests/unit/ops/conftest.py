"""An AWS account in memory (moto) with the template's queues, tables and bucket, as the operator's commands see a stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ops.connections import Connections

QUEUES = ("Mirror", "Sync", "Isolation", "Lifecycle")


@dataclass(frozen=True)
class Account(Connections):
    """`Connections` whose stack is what `account` made."""

    @cached_property
    def resources(self) -> dict[str, tuple[str, str]]:  # type: ignore[override]
        urls = self.sqs.list_queues().get("QueueUrls", [])
        return {url.rpartition("/")[2]: ("AWS::SQS::Queue", url) for url in urls}

    @cached_property
    def outputs(self) -> dict[str, str]:  # type: ignore[override]
        return {f"{name}TableName": name for name in ("State", "Failure", "Ledger")} | {"StagingBucketName": "staging"}

    def put(self, queue: str, *messages: object) -> None:
        for message in messages:
            body = message if isinstance(message, str) else json.dumps(message)
            self.sqs.send_message(QueueUrl=self.queues[queue], MessageBody=body)

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
        for name in [*(f"{queue}{kind}" for queue in QUEUES for kind in ("Queue", "Dlq")), "AsyncDlq", "LifecycleBusDlq"]:
            sqs.create_queue(QueueName=name)
        for table, keys in {"State": ("pk",), "Ledger": ("pk",), "Failure": ("pk", "sk")}.items():
            dynamodb.create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)],  # type: ignore[misc]
            )
        boto3.client("s3", "us-east-1").create_bucket(Bucket="staging")
        yield Account("omsync-test", "us-east-1", None, {"aws_access_key_id": "test", "aws_secret_access_key": "test"})
