"""Looking into queues without disturbing them more than needed, and telling which record a message is about.

SQS has no way to look: to read a message is to receive it. What is received here is hidden for a short while, so that a queue can be read to
its end, and given back at once afterwards. A receive is counted. In a DLQ nobody reads the count; in a live queue the third one makes a message a
crash suspect (omsync.sync.consume), which is why live queues are only looked into when an operator asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from omsync.platform.errors import OmsyncError, Permanent
from omsync.platform.queues import MAX_ENTRIES
from ops.connections import ConnectionFault, Connections, told

#: seconds a message stays hidden while a queue is read
HIDDEN_SECONDS = 60
#: what tells that nothing more is to come: SQS asks all its servers only on a long poll
WAIT_SECONDS = 1
#: messages looked at in one queue; the rest is reported as not looked at
AT_MOST = 2_000

DEPTHS = {
    "ApproximateNumberOfMessages": "waiting",
    "ApproximateNumberOfMessagesNotVisible": "in_flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message of a queue, hidden from others until it is given back. `said` is the body, wherever it was kept; None if it is gone."""

    queue: str
    message_id: str
    receipt: str
    body: str
    said: str | None
    sent_at: datetime
    receives: int
    target: str | None = None  # whom EventBridge could not deliver it to
    rule: str | None = None  # whose target that is

    @property
    def content(self) -> Mapping[str, Any]:
        """The message as an object; empty where it is none."""
        try:
            parsed = json.loads(self.said or self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def record(self) -> str:
        """`table/id` or `Object/Salesforce id`; "unknown" for what names neither. An email is about what set it off."""
        content, detail = self.content, _inner(self.content, "detail")
        places = (content, _inner(content, "transition"), detail, _inner(detail, "payload"))
        named = next((found for place in places if (found := self._named(place))), None)
        return named or str(_inner(content, "occurrence").get("source") or "unknown")

    @staticmethod
    def _named(content: Mapping[str, Any]) -> str | None:
        for left, right in (("table", "id"), ("sobject", "salesforce_id"), ("Object__c", "Record_Id__c")):
            if content.get(left) and content.get(right):
                return f"{content[left]}/{content[right]}"
        return None

    def is_about(self, table: str, row_id: str, salesforce_ids: Iterable[str] = ()) -> bool:
        """Is this record the message's? Where a message names none by itself (events, emails, invocations), any mention counts."""
        content, mine = self.content, list(salesforce_ids)
        if self._named(content) is None:
            text = self.said or self.body
            return any(one in text for one in (row_id, *mine))
        return (content.get("table"), content.get("id")) == (table, row_id) or content.get("salesforce_id") in mine


def _inner(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def depths(connections: Connections, queue: str) -> dict[str, int]:
    """waiting, in flight and delayed messages; SQS calls all three approximate."""
    with told(f"depth of {queue}"):
        answer = connections.client("sqs").get_queue_attributes(QueueUrl=connections.queues[queue], AttributeNames=list(DEPTHS))
    return {name: int(answer["Attributes"].get(attribute, 0)) for attribute, name in DEPTHS.items()}


def receive(connections: Connections, queue: str, *, at_most: int = AT_MOST) -> Iterator[Waiting]:
    """The messages of a queue, one after the other, until it has no more to show. Give back what is not deleted."""
    seen = 0
    while seen < at_most:
        with told(f"reading {queue}"):
            answer = connections.sqs.receive_message(
                QueueUrl=connections.queues[queue],
                MaxNumberOfMessages=MAX_ENTRIES,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=WAIT_SECONDS,
                AttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
                MessageAttributeNames=["TARGET_ARN", "RULE_ARN"],
            )
        if not (messages := answer.get("Messages", [])):
            return
        seen += len(messages)
        for message in messages:
            attributes = message["Attributes"]
            yield Waiting(
                queue=queue,
                message_id=message["MessageId"],
                receipt=message["ReceiptHandle"],
                body=message["Body"],
                said=_open(connections, message["Body"]),
                sent_at=datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC),
                receives=int(attributes["ApproximateReceiveCount"]),
                target=_attribute(message, "TARGET_ARN"),
                rule=_attribute(message, "RULE_ARN"),
            )


def look(connections: Connections, queue: str, *, at_most: int = AT_MOST) -> list[Waiting]:
    """All messages of a queue, given back at once."""
    found: list[Waiting] = []
    try:
        found.extend(receive(connections, queue, at_most=at_most))
    finally:
        give_back(connections, found)
    return found


def give_back(connections: Connections, messages: Sequence[Waiting]) -> None:
    """Make them visible again. What fails here comes back by itself after `HIDDEN_SECONDS`."""
    for part in tens(messages):
        entries = [{"Id": str(number), "ReceiptHandle": one.receipt, "VisibilityTimeout": 0} for number, one in enumerate(part)]
        with told(f"giving back to {part[0].queue}"):
            connections.sqs.change_message_visibility_batch(QueueUrl=connections.queues[part[0].queue], Entries=entries)  # type: ignore[arg-type]


def delete(connections: Connections, messages: Sequence[Waiting]) -> None:
    """Remove them. A fault names how many stay: they were sent on already, and once more does no harm."""
    for part in tens(messages):
        entries = [{"Id": str(number), "ReceiptHandle": one.receipt} for number, one in enumerate(part)]
        with told(f"deleting from {part[0].queue}"):
            answer = connections.sqs.delete_message_batch(QueueUrl=connections.queues[part[0].queue], Entries=entries)  # type: ignore[arg-type]
        if failed := answer.get("Failed", []):
            raise ConnectionFault(f"{len(failed)} messages were sent on but could not be deleted from {part[0].queue}: run it again")


def tens[T](items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Parts as long as one SQS call takes."""
    for start in range(0, len(items), MAX_ENTRIES):
        yield items[start : start + MAX_ENTRIES]


def _attribute(message: Mapping[str, Any], name: str) -> str | None:
    found = message.get("MessageAttributes", {}).get(name)
    return str(found["StringValue"]) if found else None


def _open(connections: Connections, body: str) -> str | None:
    try:
        return connections.payloads.open(body)
    except Permanent:
        return None
    except OmsyncError:
        return body
