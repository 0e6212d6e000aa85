"""The sync's small stores against DynamoDB as moto plays it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from omsync.platform.errors import Permanent, Retryable
from omsync.sync.breaker import BreakerState
from omsync.sync.consume import Result
from omsync.sync.stores import Cursors, DynamoBreakers, DynamoFailures, cause_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoDBClient]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        dynamo = boto3.client("dynamodb", region_name="us-east-1")
        key = {"AttributeName": "pk", "KeyType": "HASH"}
        attribute = {"AttributeName": "pk", "AttributeType": "S"}
        dynamo.create_table(TableName="state", KeySchema=[key], AttributeDefinitions=[attribute], BillingMode="PAY_PER_REQUEST")
        dynamo.create_table(
            TableName="failures",
            KeySchema=[key, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[attribute, {"AttributeName": "sk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield dynamo


def test_a_breaker_counts_opens_once_and_closes(client: DynamoDBClient) -> None:
    breakers = DynamoBreakers(client, "state")
    assert breakers.read("oms") == BreakerState()
    assert [breakers.count("oms"), breakers.count("oms")] == [1, 2]
    assert breakers.open("oms", 12.5)
    assert not breakers.open("oms", 99.0)
    assert breakers.read("oms") == BreakerState(2, 12.5)
    breakers.close("oms")
    assert breakers.read("oms") == BreakerState()


def test_a_success_forgets_the_failures_in_a_row(client: DynamoDBClient) -> None:
    breakers = DynamoBreakers(client, "state")
    breakers.count("oms")
    breakers.reset("oms")
    assert breakers.read("oms").failures == 0


def test_a_cursor_is_moved_only_from_where_it_was_read(client: DynamoDBClient) -> None:
    cursors = Cursors(client, "state")
    assert cursors.read("oms/orders") is None
    assert cursors.move("oms/orders", "740:a", seen=None)
    assert not cursors.move("oms/orders", "700:z", seen=None)
    assert not cursors.move("oms/orders", "700:z", seen="739:z")
    assert cursors.move("oms/orders", "741:b", seen="740:a")
    assert cursors.read("oms/orders") == "741:b"


@dataclass
class Cases:
    opened: list[str] = field(default_factory=list)
    down: bool = False

    counts: list[int] = field(default_factory=list)

    def report(self, cause: str, result: Result, count: int) -> None:
        if self.down:
            raise Retryable("Salesforce is away")
        self.opened.append(cause)
        self.counts.append(count)


TOO_LONG = Permanent("the value of City is longer than the field", code="STRING_TOO_LONG", field="City")


def test_a_failure_is_written_with_its_cause_and_without_the_body(client: DynamoDBClient) -> None:
    cases = Cases()
    failures = DynamoFailures(client, "failures", "mirror", "0.1.0", cases, lambda: 1_790_000_000.0)
    failures.record(Result("failed", TOO_LONG, "payments/1"), body='{"ship_name": "Zoë"}', correlation_id="c1", request_id="r1")
    [row] = [item for item in client.scan(TableName="failures")["Items"] if item["sk"]["S"] != "#"]
    assert row["pk"]["S"] == "mirror/payments/STRING_TOO_LONG/City" == cases.opened[0]
    assert row["expires_at"]["N"] == str(1_790_000_000 + 14 * 86_400)
    assert "Zoë" not in str(row)


def test_a_case_that_cannot_be_opened_now_does_not_lose_the_failure(client: DynamoDBClient) -> None:
    cases = Cases(down=True)
    failures = DynamoFailures(client, "failures", "mirror", "0.1.0", cases, lambda: 1.0)
    failures.record(Result("failed", TOO_LONG, "payments/1"), body="1", correlation_id="c", request_id="r")
    cases.down = False
    failures.record(Result("failed", TOO_LONG, "payments/2"), body="2", correlation_id="c", request_id="r")
    written = sorted(item["sk"]["S"].partition("#")[0] for item in client.scan(TableName="failures")["Items"])
    assert written == ["", "payments/1", "payments/2"]
    assert cases.counts == [2]


def test_a_storm_of_one_cause_costs_a_handful_of_calls(client: DynamoDBClient) -> None:
    cases = Cases()
    failures = DynamoFailures(client, "failures", "mirror", "0.1.0", cases, lambda: 1.0)
    for number in range(120):
        failures.record(Result("failed", TOO_LONG, f"payments/{number}"), body=str(number), correlation_id="c", request_id="r")
    assert cases.counts == [1, 10, 100]


def test_failures_of_one_kind_share_a_cause_whichever_record_they_concern() -> None:
    assert cause_of(Result("failed", TOO_LONG, "payments/1"), "mirror") == cause_of(Result("failed", TOO_LONG, "payments/2"), "mirror")
    assert cause_of(Result("failed", TOO_LONG, "payments/1"), "mirror") != cause_of(Result("failed", TOO_LONG, "refunds/1"), "mirror")
