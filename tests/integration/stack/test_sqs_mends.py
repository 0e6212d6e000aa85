"""The embedded SQS feeds functions, and moves messages, as AWS does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.stack.deploy import Aws
from tests.integration.stack.conftest import read_lines
from tests.polling import until

type Make = Callable[..., tuple[str, str]]

#: Says how many records a batch had, and does as its `answer` says.
COUNTING = """
import boto3, json, os
sqs = boto3.client("sqs")
def handler(event, context):
    sqs.send_message(QueueUrl="{seen}", MessageBody=json.dumps([len(event["Records"]), sorted(r["body"] for r in event["Records"])[:3]]))
    {answer}
"""


def fill(aws: Aws, url: str, count: int) -> None:
    client = aws.client("sqs")
    for start in range(0, count, 10):
        entries = [{"Id": str(n), "MessageBody": f"{start + n:06}"} for n in range(min(10, count - start))]
        client.send_message_batch(QueueUrl=url, Entries=entries)


def depth(aws: Aws, url: str) -> dict[str, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return {name: int(told[name]) for name in names}


def connect(aws: Aws, source: str, function: str, **more: Any) -> str:
    mapping = aws.client("lambda").create_event_source_mapping(EventSourceArn=source, FunctionName=function, **more)
    return str(mapping["UUID"])


def test_a_batch_is_as_big_as_configured(aws: Aws, function: Callable[[str, str], str], queue: Make) -> None:
    seen, _ = queue("seen-size")
    url, arn = queue("big", VisibilityTimeout="120")
    fill(aws, url, 3000)
    name = function("big", COUNTING.format(seen=seen, answer="return None"))
    connect(aws, arn, name, BatchSize=1000, MaximumBatchingWindowInSeconds=1, ScalingConfig={"MaximumConcurrency": 2})
    until(lambda: depth(aws, url), lambda left: not any(left.values()))
    assert sorted(size for size, _ in read_lines(aws, seen)) == [1000, 1000, 1000]


def test_an_unfilled_batch_waits_for_its_window(aws: Aws, function: Callable[[str, str], str], queue: Make) -> None:
    seen, _ = queue("seen-window")
    url, arn = queue("window", VisibilityTimeout="120")
    connect(aws, arn, function("window", COUNTING.format(seen=seen, answer="return None")), BatchSize=100, MaximumBatchingWindowInSeconds=3)
    begun = time.monotonic()
    fill(aws, url, 3)
    time.sleep(0.5)  # inside the window: more of the same batch
    fill(aws, url, 4)
    until(lambda: depth(aws, url), lambda left: not any(left.values()))
    assert time.monotonic() - begun >= 3
    assert [size for size, _ in read_lines(aws, seen)] == [7]


@pytest.mark.parametrize(
    "answer", ['return {{"batchItemFailures": [{{"itemIdentifier": ""}}]}}', 'return {{"batchItemFailures": [{{"itemIdentifier": None}}]}}']
)
def test_an_empty_item_identifier_fails_the_whole_batch(
    aws: Aws, function: Callable[[str, str], str], queue: Make, answer: str, request: pytest.FixtureRequest
) -> None:
    name = f"fails-{abs(hash(answer))}"
    seen, _ = queue(f"seen-{name}")
    url, arn = queue(name, VisibilityTimeout="120")
    connect(
        aws,
        arn,
        function(name, COUNTING.format(seen=seen, answer=answer.format())),
        BatchSize=10,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    fill(aws, url, 4)
    until(lambda: depth(aws, seen)["ApproximateNumberOfMessages"])
    until(lambda: depth(aws, url), lambda left: left["ApproximateNumberOfMessagesNotVisible"] == 4)


def test_no_message_is_lost_while_others_are_taken(aws: Aws, function: Callable[[str, str], str], queue: Make) -> None:
    seen, _ = queue("seen-race")
    url, arn = queue("race", VisibilityTimeout="120")
    connect(aws, arn, function("race", COUNTING.format(seen=seen, answer="return None")), BatchSize=50)
    senders = [threading.Thread(target=fill, args=(aws, url, 300)) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    until(lambda: depth(aws, url), lambda left: not any(left.values()))
    assert sum(size for size, _ in read_lines(aws, seen)) == 1200


def test_a_move_task_brings_messages_back_under_new_ids(aws: Aws, queue: Make) -> None:
    client = aws.client("sqs")
    dead, dead_arn = queue("move-dlq")
    queue("move", RedrivePolicy=f'{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":"1"}}')
    target, target_arn = queue("move-target")
    fill(aws, dead, 25)
    client.start_message_move_task(SourceArn=dead_arn, DestinationArn=target_arn)
    until(lambda: depth(aws, target)["ApproximateNumberOfMessages"], lambda count: count == 25)
    task = until(lambda: client.list_message_move_tasks(SourceArn=dead_arn)["Results"][0], lambda task: task["Status"] == "COMPLETED")
    assert task["ApproximateNumberOfMessagesMoved"] == 25
    assert depth(aws, dead)["ApproximateNumberOfMessages"] == 0


def test_a_move_task_without_destination_needs_messages_that_know_their_source(aws: Aws, queue: Make) -> None:
    client = aws.client("sqs")
    dead, dead_arn = queue("lost-dlq")
    queue("lost", RedrivePolicy=f'{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":"1"}}')
    fill(aws, dead, 1)
    client.start_message_move_task(SourceArn=dead_arn)
    task = until(lambda: client.list_message_move_tasks(SourceArn=dead_arn)["Results"][0], lambda task: task["Status"] == "FAILED")
    assert task["FailureReason"] == "CouldNotDetermineMessageSource"


def test_a_queue_that_is_nobodys_dlq_has_nothing_to_move(aws: Aws, queue: Make) -> None:
    _, arn = queue("ordinary")
    with pytest.raises(ClientError, match="Dead Letter Queue"):
        aws.client("sqs").start_message_move_task(SourceArn=arn)
