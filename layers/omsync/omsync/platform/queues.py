"""Sending to SQS: as few calls as the limits allow, nothing lost in a partial failure, long bodies by reference.

A call takes 10 entries and 1 MiB in all, and one message takes 1 MiB (Amazon SQS quotas). What SQS refuses for a reason of its own is
sent again with growing, jittered delays; what it blames on us is `Permanent`. A body over the limit goes to S3 and the message says
where: consumers call `Payloads.open` on every body and never see the difference. Queue attributes hold no data of a record.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from omsync.platform.errors import Permanent, Retryable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_ENTRIES = 10
MAX_BYTES = 1024 * 1024
MAX_DELAY_SECONDS = 900
ATTEMPTS = 5

#: A message's frame counts towards the limit too (attribute names and values).
_MARGIN = 2048
_REFERENCE = "omsync:payload"
_PREFIX = "payloads/"


@dataclass(frozen=True, slots=True)
class Message:
    """One message: a body (JSON text) and, optionally, seconds until it may be seen and opaque attributes."""

    body: str
    delay_seconds: int = 0
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes it counts for."""
        return len(self.body.encode()) + sum(len(name) + len(value.encode()) + len("String") for name, value in self.attributes.items())


class Sender(Protocol):
    """Port: puts messages on one queue. Raises Retryable (some may have been sent: consumers are idempotent) or Permanent."""

    def send(self, messages: Iterable[Message]) -> int:
        """Send all; returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class Payloads:
    """Bodies too long for a queue, in the staging bucket. Their lifecycle rule outlives the queue's retention."""

    client: S3Client
    bucket: str

    def put(self, body: str) -> str:
        """Store a body; the reference to send instead. The same body is stored once."""
        content = body.encode()
        key = f"{_PREFIX}{hashlib.sha256(content).hexdigest()}.json"
        try:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType="application/json")
        except (ClientError, BotoCoreError) as fault:
            raise Retryable(f"payload not stored ({_code(fault)})", code="queues.payload") from fault
        return json.dumps({_REFERENCE: key, "bytes": len(content)})

    @staticmethod
    def bytes_of(body: str) -> int:
        """How long a body is that lies elsewhere; 0 for one that is here."""
        return int(json.loads(body)["bytes"]) if body.startswith(f'{{"{_REFERENCE}"') else 0

    def open(self, body: str) -> str:
        """The body itself, wherever it is. A reference to nothing is Permanent: the message is older than what it points at."""
        if not body.startswith(f'{{"{_REFERENCE}"'):
            return body
        key = str(json.loads(body)[_REFERENCE])
        try:
            return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read().decode()
        except ClientError as fault:
            if _code(fault) in ("NoSuchKey", "404"):
                raise Permanent("the message's payload is gone", code="queues.payload_gone") from fault
            raise Retryable(f"payload not read ({_code(fault)})", code="queues.payload") from fault
        except BotoCoreError as fault:
            raise Retryable(f"payload not read ({_code(fault)})", code="queues.payload") from fault


@dataclass(frozen=True, slots=True)
class SqsSender:
    """Adapter of `Sender` on SQS."""

    client: SQSClient
    queue_url: str
    payloads: Payloads
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def send(self, messages: Iterable[Message]) -> int:
        """Send all, in order of arrival, in batches that are as full as may be."""
        return sum(self._send_batch(batch) for batch in batches(self._fitting(message) for message in messages))

    def send_raw(self, messages: Sequence[tuple[str, int]]) -> None:
        """Send bodies as they are (a reference stays one), each with its delay in seconds."""
        self.send(Message(body, delay) for body, delay in messages)

    def _fitting(self, message: Message) -> Message:
        if not 0 <= message.delay_seconds <= MAX_DELAY_SECONDS:
            raise Permanent(f"delay of {message.delay_seconds} s: SQS takes 0 to {MAX_DELAY_SECONDS}", code="queues.delay")
        if message.size + _MARGIN <= MAX_BYTES:
            return message
        return Message(self.payloads.put(message.body), message.delay_seconds, message.attributes)

    def _send_batch(self, batch: Sequence[Message]) -> int:
        waiting = {str(number): message for number, message in enumerate(batch)}
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.sleep(self.jitter() * 0.1 * 2**attempt)
            reason = self._attempt(waiting)
            if not waiting:
                return len(batch)
        raise Retryable(f"{len(waiting)} of {len(batch)} messages not sent after {ATTEMPTS} attempts ({reason})", code="queues.send")

    def _attempt(self, waiting: dict[str, Message]) -> str:
        """One call; takes out of `waiting` what was sent and returns why the rest was not."""
        try:
            response = self.client.send_message_batch(
                QueueUrl=self.queue_url, Entries=[_entry(number, message) for number, message in waiting.items()]
            )
        except ClientError as fault:
            if fault.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500 and not _is_throttling(_code(fault)):
                raise Permanent(f"SQS refuses the batch ({_code(fault)})", code="queues.refused") from fault
            return _code(fault)
        except BotoCoreError as fault:
            return _code(fault)
        for sent in response.get("Successful", []):
            waiting.pop(sent["Id"], None)
        failed = response.get("Failed", [])
        ours = [entry["Code"] for entry in failed if entry["SenderFault"] and not _is_throttling(entry["Code"])]
        if ours:
            raise Permanent(f"SQS refuses {len(ours)} messages ({ours[0]})", code="queues.refused")
        return failed[0]["Code"] if failed else "no answer"


def batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Split into batches of at most 10 messages and 1 MiB, in order."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and (len(batch) == MAX_ENTRIES or size + message.size > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message.size
    if batch:
        yield batch


def _entry(number: str, message: Message) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": number, "MessageBody": message.body}
    if message.delay_seconds:
        entry["DelaySeconds"] = message.delay_seconds
    if message.attributes:
        entry["MessageAttributes"] = {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
    return entry


def _is_throttling(code: str) -> bool:
    return "Throttl" in code or code in ("RequestThrottled", "OverLimit", "KmsThrottled", "TooManyRequestsException")


def _code(fault: ClientError | BotoCoreError) -> str:
    return str(fault.response.get("Error", {}).get("Code", "ClientError")) if isinstance(fault, ClientError) else type(fault).__name__
