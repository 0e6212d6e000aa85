"""The SQS sender: few calls, nothing lost, long bodies by reference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from omsync.platform.errors import Permanent, Retryable
from omsync.platform.queues import ATTEMPTS, MAX_BYTES, MAX_ENTRIES, Message, Payloads, SqsSender, batches

BUCKET = "staging"


@dataclass
class FakeSqs:
    """Answers each call as its script says: ids to fail, an exception, or (at the script's end) success."""

    script: Sequence[Any] = ()
    calls: list[list[str]] = field(default_factory=list)

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 (boto3's names)
        act = self.script[len(self.calls)] if len(self.calls) < len(self.script) else {}
        self.calls.append([entry["MessageBody"] for entry in Entries])
        if isinstance(act, Exception):
            raise act
        failed = [{"Id": number, **act[number]} for number in act]
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries if entry["Id"] not in act], "Failed": failed}


def busy(code: str = "InternalError") -> dict[str, Any]:
    return {"SenderFault": False, "Code": code}


def sender(sqs: FakeSqs, slept: list[float] | None = None, payloads: Any = None) -> SqsSender:
    note = slept if slept is not None else []
    return SqsSender(sqs, "http://queue", payloads, sleep=note.append, jitter=lambda: 1.0)  # type: ignore[arg-type]


@pytest.fixture
def payloads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Payloads]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield Payloads(client, BUCKET)


def test_ten_messages_a_call() -> None:
    sqs = FakeSqs()
    assert sender(sqs).send(Message(str(n)) for n in range(23)) == 23
    assert [len(call) for call in sqs.calls] == [10, 10, 3]
    assert [body for call in sqs.calls for body in call] == [str(n) for n in range(23)]


@given(st.lists(st.integers(min_value=0, max_value=MAX_BYTES - 4096), max_size=40))
def test_no_batch_is_over_a_limit_and_order_is_kept(sizes: list[int]) -> None:
    messages = [Message("x" * size) for size in sizes]
    split = list(batches(messages))
    assert [message for batch in split for message in batch] == messages
    assert all(0 < len(batch) <= MAX_ENTRIES and sum(message.size for message in batch) <= MAX_BYTES for batch in split)


def test_only_what_failed_is_sent_again_with_growing_delay() -> None:
    sqs, slept = FakeSqs([{"0": busy(), "2": busy()}, {"2": busy()}]), list[float]()
    assert sender(sqs, slept).send([Message("a"), Message("b"), Message("c")]) == 3
    assert sqs.calls == [["a", "b", "c"], ["a", "c"], ["c"]]
    assert slept == [0.2, 0.4]


def test_an_outage_is_retryable_after_all_attempts() -> None:
    gone = ConnectTimeoutError(endpoint_url="http://queue")
    sqs = FakeSqs([gone] * ATTEMPTS)
    with pytest.raises(Retryable, match="1 of 1 messages not sent"):
        sender(sqs).send([Message("a")])
    assert len(sqs.calls) == ATTEMPTS


def test_what_sqs_blames_on_us_is_permanent() -> None:
    with pytest.raises(Permanent, match="InvalidMessageContents"):
        sender(FakeSqs([{"0": {"SenderFault": True, "Code": "InvalidMessageContents"}}])).send([Message("a")])
    refused = ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "SendMessageBatch")  # type: ignore[typeddict-item]
    with pytest.raises(Permanent, match="AccessDenied"):
        sender(FakeSqs([refused])).send([Message("a")])


def test_throttling_is_no_refusal() -> None:
    throttled = ClientError({"Error": {"Code": "RequestThrottled"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "SendMessageBatch")  # type: ignore[typeddict-item]
    sqs = FakeSqs([throttled, {"0": {"SenderFault": True, "Code": "KmsThrottled"}}])
    assert sender(sqs).send([Message("a")]) == 1


def test_a_delay_over_fifteen_minutes_is_refused_before_anything_is_sent() -> None:
    sqs = FakeSqs()
    with pytest.raises(Permanent, match="901"):
        sender(sqs).send([Message("a", delay_seconds=901)])
    assert sqs.calls == []


def test_a_long_body_goes_by_reference_and_comes_back_whole(payloads: Payloads) -> None:
    body = json.dumps({"note": "ü" * MAX_BYTES})
    sqs = FakeSqs()
    sender(sqs, payloads=payloads).send([Message(body), Message('{"short":1}')])
    sent = sqs.calls[0]
    assert len(sent[0]) < 200
    assert "ü" not in sent[0]
    assert [payloads.open(text) for text in sent] == [body, '{"short":1}']


def test_a_reference_to_nothing_is_permanent(payloads: Payloads) -> None:
    reference = payloads.put("x")
    payloads.client.delete_object(Bucket=BUCKET, Key=json.loads(reference)["omsync:payload"])
    with pytest.raises(Permanent, match="gone"):
        payloads.open(reference)
