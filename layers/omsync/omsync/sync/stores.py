"""The sync's own small stores on AWS: breakers and cursors in the state table, failures in theirs, valves as event source mappings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from omsync.platform.errors import OmsyncError, Permanent, Retryable
from omsync.sync.breaker import BreakerState, System
from omsync.sync.budget import Noted
from omsync.sync.consume import Result
from omsync.sync.limits import Usage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef
    from mypy_boto3_lambda import LambdaClient

#: seconds a failure's row is kept: as long as the DLQ keeps its message
FAILURE_SECONDS = 14 * 86_400
_BUSY = ("ProvisionedThroughputExceededException", "TooManyRequestsException", "RequestLimitExceeded")


def aws_fault(fault: ClientError | BotoCoreError) -> OmsyncError:
    """An AWS error as ours: throttling and absence pass, a refusal does not."""
    if isinstance(fault, BotoCoreError):
        return Retryable(f"AWS: {type(fault).__name__}", code="aws.unreachable")
    code = str(fault.response.get("Error", {}).get("Code", "ClientError"))
    status = int(fault.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if (
        status >= 500
        or "Throttl" in code
        or code in ("ProvisionedThroughputExceededException", "TooManyRequestsException", "RequestLimitExceeded")
    ):
        return Retryable(f"AWS asks to try again: {code}", code="aws.busy")
    return Permanent(f"AWS refuses: {code}", code=f"aws.{code}")


@dataclass(frozen=True, slots=True)
class DynamoBreakers:
    """`BreakerStore` in the state table: pk `breaker/<system>`."""

    client: DynamoDBClient
    table: str

    def read(self, system: System) -> BreakerState:
        """The state now, strongly consistent."""
        try:
            item = self.client.get_item(TableName=self.table, Key=self._key(system), ConsistentRead=True).get("Item", {})
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        since = item.get("open_since")
        return BreakerState(int(item.get("failures", {}).get("N", "0")), float(since["N"]) if since else None)

    def count(self, system: System) -> int:
        """One failure more."""
        answer = self._update(system, "ADD failures :one", {":one": {"N": "1"}})
        return int(answer["failures"]["N"])

    def reset(self, system: System) -> None:
        """None in a row."""
        self._update(system, "SET failures = :zero", {":zero": {"N": "0"}})

    def open(self, system: System, since: float) -> bool:
        """Open it once."""
        try:
            self.client.update_item(
                TableName=self.table,
                Key=self._key(system),
                UpdateExpression="SET open_since = :since",
                ConditionExpression="attribute_not_exists(open_since)",
                ExpressionAttributeValues={":since": {"N": str(since)}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return True

    def close(self, system: System) -> None:
        """Close it."""
        self._update(system, "SET failures = :zero REMOVE open_since", {":zero": {"N": "0"}})

    def _key(self, system: System) -> dict[str, AttributeValueTypeDef]:
        return {"pk": {"S": f"breaker/{system}"}}

    def _update(self, system: System, expression: str, values: Mapping[str, AttributeValueTypeDef]) -> Mapping[str, AttributeValueTypeDef]:
        try:
            answer = self.client.update_item(
                TableName=self.table,
                Key=self._key(system),
                UpdateExpression=expression,
                ExpressionAttributeValues=dict(values),
                ReturnValues="ALL_NEW",
            )
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return answer["Attributes"]


@dataclass(frozen=True, slots=True)
class Cursors:
    """Where each feed was read to: pk `cursor/<feed>` in the state table. A cursor never goes back by accident."""

    client: DynamoDBClient
    table: str

    def read(self, feed: str) -> str | None:
        """The saved position, or None."""
        try:
            item = self.client.get_item(TableName=self.table, Key={"pk": {"S": f"cursor/{feed}"}}, ConsistentRead=True).get("Item")
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return item["position"]["S"] if item else None

    def move(self, feed: str, position: str, *, seen: str | None) -> bool:
        """Save a position if the stored one is still what we started from; False: somebody else moved it."""
        condition = "attribute_not_exists(pk)" if seen is None else "#position = :seen"
        values: dict[str, AttributeValueTypeDef] = {":new": {"S": position}, ":at": {"S": datetime.now(UTC).isoformat(timespec="seconds")}}
        if seen is not None:
            values[":seen"] = {"S": seen}
        try:
            self.client.update_item(
                TableName=self.table,
                Key={"pk": {"S": f"cursor/{feed}"}},
                UpdateExpression="SET #position = :new, moved_at = :at",
                ConditionExpression=condition,
                ExpressionAttributeNames={"#position": "position"},
                ExpressionAttributeValues=values,
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return True


@dataclass(frozen=True, slots=True)
class EventSourceValves:
    """`Valves` as Lambda event source mappings: system -> ARNs of the queues that need it.

    The mappings are looked up by their queue: a function that knew its own mapping would be a circle in the template.
    """

    client: LambdaClient
    queues: Mapping[System, Sequence[str]]

    def set(self, away: Collection[System]) -> None:
        """Disable what needs one of these, enable the rest; a mapping in transition is left to the next round."""
        held = {arn for system in away for arn in self.queues.get(system, ())}
        try:
            for arn in dict.fromkeys(arn for arns in self.queues.values() for arn in arns):
                running = arn not in held
                for mapping in self.client.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]:
                    if mapping["State"] != ("Enabled" if running else "Disabled"):
                        self._switch(mapping["UUID"], running)
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    def _switch(self, uuid: str, running: bool) -> None:
        try:
            self.client.update_event_source_mapping(UUID=uuid, Enabled=running)
        except self.client.exceptions.ResourceInUseException:
            return


@dataclass(frozen=True, slots=True)
class EventSourceWindows:
    """`Windows`: the batching windows of the queues' event source mappings. A queue that is worked on message by message has none."""

    client: LambdaClient
    queues: Sequence[str]

    def stretch(self, seconds: int) -> None:
        """Set what differs; a mapping in transition is left to the next round."""
        try:
            for arn in self.queues:
                for mapping in self.client.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]:
                    if mapping.get("MaximumBatchingWindowInSeconds", 0) not in (0, seconds):
                        self._set(mapping["UUID"], seconds)
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    def _set(self, uuid: str, seconds: int) -> None:
        try:
            self.client.update_event_source_mapping(UUID=uuid, MaximumBatchingWindowInSeconds=seconds)
        except self.client.exceptions.ResourceInUseException:
            return


@dataclass(frozen=True, slots=True)
class DynamoBudget:
    """`BudgetStore` in the state table: pk `budget/salesforce`."""

    client: DynamoDBClient
    table: str
    now: Callable[[], float]

    def read(self) -> Noted | None:
        """What was noted last."""
        try:
            item = self.client.get_item(TableName=self.table, Key={"pk": {"S": "budget/salesforce"}}).get("Item")
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return Noted(Usage(int(item["used"]["N"]), int(item["total"]["N"])), float(item["at"]["N"])) if item else None

    def note(self, usage: Usage) -> None:
        """Of two at once the later one stands: they differ by a few requests."""
        item: dict[str, AttributeValueTypeDef] = {
            "pk": {"S": "budget/salesforce"},
            "used": {"N": str(usage.used)},
            "total": {"N": str(usage.total)},
            "at": {"N": f"{self.now():.3f}"},
        }
        try:
            self.client.put_item(TableName=self.table, Item=item)
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None


class CaseOpener(Protocol):
    """Makes a cause known to people."""

    def report(self, cause: str, result: Result, count: int) -> None:
        """One Case per distinct cause, met `count` times so far. Raises what Salesforce answers."""


@dataclass(frozen=True, slots=True)
class DynamoFailures:
    """`FailureLog`: a row per failure beside the DLQ's message, under its cause, a counter (sk `#`), and one Case per cause."""

    client: DynamoDBClient
    table: str
    queue: str
    version: str
    cases: CaseOpener
    now: Callable[[], float]

    def record(self, result: Result, *, body: str, correlation_id: str, request_id: str) -> None:
        """Write the row, then tell people."""
        fault = result.fault
        if fault is None:
            return
        cause = cause_of(result, self.queue)
        values: dict[str, AttributeValueTypeDef] = {
            "pk": {"S": cause},
            "sk": {"S": f"{result.record or 'unknown'}#{hashlib.sha256(body.encode()).hexdigest()[:16]}"},
            "queue": {"S": self.queue},
            "error": {"S": type(fault).__name__},
            "code": {"S": fault.code},
            "message": {"S": fault.message},
            "record": {"S": result.record or "unknown"},
            "correlation_id": {"S": correlation_id},
            "request_id": {"S": request_id},
            "version": {"S": self.version},
            "failed_at": {"S": datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="milliseconds")},
            "expires_at": {"N": str(int(self.now()) + FAILURE_SECONDS)},
        }
        try:
            self.client.put_item(TableName=self.table, Item=values)
            count, known = self._count(cause)
        except (ClientError, BotoCoreError) as broken:
            raise aws_fault(broken) from None
        if not known or _power_of_ten(count):  # a storm of one cause costs a handful of calls
            self._report(cause, result, count)

    def _count(self, cause: str) -> tuple[int, bool]:
        """How often this cause was met, and whether people know of it."""
        answer = self.client.update_item(
            TableName=self.table,
            Key={"pk": {"S": cause}, "sk": {"S": "#"}},
            UpdateExpression="ADD met :one SET expires_at = :expires",
            ExpressionAttributeValues={":one": {"N": "1"}, ":expires": {"N": str(int(self.now()) + FAILURE_SECONDS)}},
            ReturnValues="ALL_NEW",
        )["Attributes"]
        return int(answer["met"]["N"]), "reported" in answer

    def _report(self, cause: str, result: Result, count: int) -> None:
        """Tell people. What cannot be told now is told with the next failure: the message's way into the DLQ does not wait for it."""
        try:
            self.cases.report(cause, result, count)
            self.client.update_item(
                TableName=self.table,
                Key={"pk": {"S": cause}, "sk": {"S": "#"}},
                UpdateExpression="SET reported = :yes",
                ExpressionAttributeValues={":yes": {"BOOL": True}},
            )
        except (OmsyncError, ClientError, BotoCoreError):
            return


def _power_of_ten(number: int) -> bool:
    return str(number).strip("0") == "1"


def cause_of(result: Result, queue: str) -> str:
    """What failures have in common: error, code, field and table, not the record. A Case per cause, not per record."""
    fault = result.fault
    table = (result.record or "unknown").partition("/")[0]
    field = fault.field if isinstance(fault, Permanent) and fault.field else "-"
    return f"{queue}/{table}/{fault.code if fault else '-'}/{field}"
