"""The emails' tables on DynamoDB: claims with caps, triggers, used links and published transitions; suppressions; skips; reputation."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, cast

from botocore.exceptions import BotoCoreError, ClientError

from omsync.emails.claims import LEASE_SECONDS, Claim, ClaimState, Taking
from omsync.platform.telemetry import MetricUnit, logger, metrics
from omsync.sync.stores import aws_fault

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, TransactWriteItemTypeDef, UpdateItemInputTypeDef

#: a publisher that died lets another one on after this
PUBLISH_SECONDS: Final = 120
#: the outbox is kept for 14 days; a transition is remembered for longer
REMEMBERED_SECONDS: Final = 30 * 86_400
SKIP_SECONDS: Final = 400 * 86_400
_NEW: Final = "attribute_not_exists(pk)"


@dataclass(frozen=True, slots=True)
class DynamoClaims:
    """`Claims`: pk = the claim; `cap/<patient>/<day>`, `trigger/<flow>/<entity>` and `token/<identity>` lie beside it."""

    client: DynamoDBClient
    table: str

    def take(self, name: str, owner: str, now: float, *, cap: str | None) -> Taking:
        """One transaction: the claim, and the day it uses up."""
        item: dict[str, AttributeValueTypeDef] = {
            "pk": {"S": name},
            "state": {"S": "claimed"},
            "owner": {"S": owner},
            "lease_until": {"N": str(now + LEASE_SECONDS)},
            "claimed_at": {"S": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")},
        }
        writes: list[TransactWriteItemTypeDef] = [{"Put": {"TableName": self.table, "Item": item, "ConditionExpression": _NEW}}]
        if cap:
            day: dict[str, AttributeValueTypeDef] = {"pk": {"S": f"cap/{cap}"}, "by": {"S": name}}
            values: dict[str, AttributeValueTypeDef] = {":name": {"S": name}}
            names = {"#by": "by"}
            condition = f"{_NEW} OR #by = :name"
            writes.append(
                {
                    "Put": {
                        "TableName": self.table,
                        "Item": day,
                        "ConditionExpression": condition,
                        "ExpressionAttributeNames": names,
                        "ExpressionAttributeValues": values,
                    }
                }
            )
        try:
            self.client.transact_write_items(TransactItems=writes)
        except self.client.exceptions.TransactionCanceledException as cancelled:
            codes = [reason.get("Code") for reason in cancelled.response.get("CancellationReasons", [])]
            if codes and codes[0] == "ConditionalCheckFailed":
                return "held"
            if "ConditionalCheckFailed" in codes:
                return "capped"
            raise aws_fault(_busy()) from None
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return "taken"

    def read(self, name: str) -> Claim | None:
        """Strongly consistent."""
        item = self._get(name)
        if item is None:
            return None
        return Claim(
            name=name,
            state=cast("ClaimState", item["state"]["S"]),
            owner=item["owner"]["S"],
            lease_until=float(item["lease_until"]["N"]),
            message_id=item["message_id"]["S"] if "message_id" in item else None,
            sent_at=item["sent_at"]["S"] if "sent_at" in item else None,
            logged="logged" in item,
        )

    def sent(self, name: str, owner: str, *, message_id: str, at: str) -> None:
        """claimed -> sent, by the owner; elsewhere nothing."""
        self._to_sent(name, message_id, at, "#state = :claimed AND #owner = :owner", {":claimed": {"S": "claimed"}, ":owner": {"S": owner}})

    def release(self, name: str, owner: str, *, cap: str | None) -> None:
        """Gone, with its day."""
        writes: list[TransactWriteItemTypeDef] = [
            {
                "Delete": {
                    "TableName": self.table,
                    "Key": {"pk": {"S": name}},
                    "ConditionExpression": "#state = :claimed AND #owner = :owner",
                    "ExpressionAttributeNames": {"#state": "state", "#owner": "owner"},
                    "ExpressionAttributeValues": {":claimed": {"S": "claimed"}, ":owner": {"S": owner}},
                }
            }
        ]
        if cap:
            writes.append({"Delete": {"TableName": self.table, "Key": {"pk": {"S": f"cap/{cap}"}}}})
        try:
            self.client.transact_write_items(TransactItems=writes)
        except self.client.exceptions.TransactionCanceledException:
            return  # SES's event was quicker, or it is not ours any more
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    def confirm(self, name: str, *, message_id: str, at: str) -> bool:
        """Any state but sent -> sent; a claim that never was stays so."""
        return self._to_sent(name, message_id, at, "attribute_exists(pk) AND #state <> :sent", {})

    def logged(self, name: str) -> None:
        """The OMS has it."""
        self._update(name, "SET logged = :yes", "attribute_exists(pk)", {":yes": {"BOOL": True}}, {})

    def give_up(self, name: str, owner: str) -> bool:
        """claimed -> unknown."""
        values: dict[str, AttributeValueTypeDef] = {":unknown": {"S": "unknown"}, ":claimed": {"S": "claimed"}, ":owner": {"S": owner}}
        return self._update(name, "SET #state = :unknown", "#state = :claimed AND #owner = :owner", values, _STATE | _OWNER)

    def newest_trigger(self, flow: str, entity: str, version: int) -> int:
        """The highest version ever noted."""
        key = f"trigger/{flow}/{entity}"
        number: dict[str, AttributeValueTypeDef] = {":version": {"N": str(version)}}
        if self._update(
            key, "SET #version = :version", "attribute_not_exists(#version) OR #version < :version", number, {"#version": "version"}
        ):
            return version
        item = self._get(key)
        return int(item["version"]["N"]) if item else version

    def token_used(self, identity: str) -> bool:
        """Is it on record?"""
        return self._get(f"token/{identity}") is not None

    def use_token(self, identity: str) -> None:
        """On record."""
        try:
            self.client.put_item(TableName=self.table, Item={"pk": {"S": f"token/{identity}"}})
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    # ------------------------------------------------------------------------------------------------------ plumbing
    def _get(self, key: str) -> Mapping[str, AttributeValueTypeDef] | None:
        try:
            return self.client.get_item(TableName=self.table, Key={"pk": {"S": key}}, ConsistentRead=True).get("Item")
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    def _to_sent(self, name: str, message_id: str, at: str, condition: str, values: Mapping[str, AttributeValueTypeDef]) -> bool:
        more: dict[str, AttributeValueTypeDef] = {":sent": {"S": "sent"}, ":id": {"S": message_id}, ":at": {"S": at}, **values}
        names = _STATE | (_OWNER if "#owner" in condition else {})
        return self._update(name, "SET #state = :sent, message_id = :id, sent_at = :at", condition, more, names)

    def _update(self, key: str, change: str, condition: str, values: Mapping[str, AttributeValueTypeDef], names: Mapping[str, str]) -> bool:
        request: UpdateItemInputTypeDef = {
            "TableName": self.table,
            "Key": {"pk": {"S": key}},
            "UpdateExpression": change,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
        if names:
            request["ExpressionAttributeNames"] = names
        try:
            self.client.update_item(**request)
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return True


_STATE: Final = {"#state": "state"}
_OWNER: Final = {"#owner": "owner"}


def _busy() -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException"}}, "TransactWriteItems")


@dataclass(frozen=True, slots=True)
class DynamoPublished:
    """`Published` in the state table: pk `transition/<table>/<id>@<version>`, forgotten after a month."""

    client: DynamoDBClient
    table: str
    now: Callable[[], float] = time.time

    def begin(self, key: str) -> Literal["mine", "done", "busy"]:
        """Take it on, unless it is done or somebody is at it."""
        now = self.now()
        values: dict[str, AttributeValueTypeDef] = {
            ":lease": {"N": str(now + PUBLISH_SECONDS)},
            ":now": {"N": str(now)},
            ":expires": {"N": str(int(now) + REMEMBERED_SECONDS)},
        }
        try:
            self.client.update_item(
                TableName=self.table,
                Key=self._key(key),
                UpdateExpression="SET lease_until = :lease, expires_at = :expires",
                ConditionExpression=f"{_NEW} OR (attribute_not_exists(done) AND lease_until < :now)",
                ExpressionAttributeValues=values,
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            item = self.client.get_item(TableName=self.table, Key=self._key(key), ConsistentRead=True).get("Item", {})
            return "done" if "done" in item else "busy"
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return "mine"

    def done(self, key: str) -> None:
        """On the bus."""
        try:
            self.client.update_item(
                TableName=self.table,
                Key=self._key(key),
                UpdateExpression="SET done = :yes",
                ExpressionAttributeValues={":yes": {"BOOL": True}},
            )
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    def undo(self, key: str) -> None:
        """Not on the bus."""
        try:
            self.client.delete_item(TableName=self.table, Key=self._key(key))
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    def _key(self, key: str) -> dict[str, AttributeValueTypeDef]:
        return {"pk": {"S": f"transition/{key}"}}


@dataclass(frozen=True, slots=True)
class DynamoSuppressions:
    """`Suppressions`: pk = keyed hash of the address, so that the table is no list of addresses.

    `keys`: the current one, then former ones: what was suppressed before a rotation stays suppressed.
    """

    client: DynamoDBClient
    table: str
    keys: Sequence[bytes]
    now: Callable[[], float] = time.time

    def reason(self, addresses: Sequence[str]) -> Mapping[str, str]:
        """Why, of those on the list."""
        found = {}
        for address in addresses:
            for key in self.keys:
                try:
                    item = self.client.get_item(TableName=self.table, Key={"pk": {"S": _hash(key, address)}}).get("Item")
                except (ClientError, BotoCoreError) as fault:
                    raise aws_fault(fault) from None
                if item:
                    found[address] = item["reason"]["S"]
                    break
        return found

    def add(self, address: str, reason: str) -> None:
        """On the list; the first reason stays."""
        at = datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="seconds")
        item: dict[str, AttributeValueTypeDef] = {"pk": {"S": _hash(self.keys[0], address)}, "reason": {"S": reason}, "at": {"S": at}}
        try:
            self.client.put_item(TableName=self.table, Item=item, ConditionExpression=_NEW)
        except self.client.exceptions.ConditionalCheckFailedException:
            return
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None


def _hash(key: bytes, address: str) -> str:
    return hmac.new(key, address.strip().lower().encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class DynamoSkips:
    """`Skips`: pk = claim, sk = when; a metric by flow and reason."""

    client: DynamoDBClient
    table: str
    now: Callable[[], float] = time.time

    def note(self, claim: str, flow: str, reason: str) -> None:
        """One row."""
        now = self.now()
        item: dict[str, AttributeValueTypeDef] = {
            "pk": {"S": claim},
            "sk": {"S": datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")},
            "flow": {"S": flow},
            "reason": {"S": reason},
            "expires_at": {"N": str(int(now) + SKIP_SECONDS)},
        }
        try:
            self.client.put_item(TableName=self.table, Item=item)
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        logger.info("email skipped", flow=flow, reason=reason, claim=claim)
        metrics.add_metric(name=f"EmailSkipped{reason.title().replace('_', '')}", unit=MetricUnit.Count, value=1)


#: SES reviews accounts at 5 % bounces or 0.1 % complaints (SES developer guide, "Reputation metrics"): we stop before
BOUNCES: Final = 0.04
COMPLAINTS: Final = 0.0008
DAYS: Final = 7
#: with fewer emails a share says nothing
ENOUGH: Final = 500


@dataclass(slots=True)
class DynamoReputation:
    """`Reputation` in the state table: pk `email/<day>`, added up over a week, looked at once a minute."""

    client: DynamoDBClient
    table: str
    now: Callable[[], float] = time.time
    _seen: tuple[float, bool] = field(default=(0.0, False))

    def count(self, what: Literal["sent", "bounced", "complained"], number: int = 1) -> None:
        """Counting may fail: a figure is lost, not an email."""
        now = self.now()
        try:
            self.client.update_item(
                TableName=self.table,
                Key={"pk": {"S": self._day(0)}},
                UpdateExpression="ADD #what :number SET expires_at = :expires",
                ExpressionAttributeNames={"#what": what},
                ExpressionAttributeValues={":number": {"N": str(number)}, ":expires": {"N": str(int(now) + 90 * 86_400)}},
            )
        except (ClientError, BotoCoreError) as fault:
            logger.warning("not counted", code=type(fault).__name__)
        metrics.add_metric(name=f"Email{what.title()}", unit=MetricUnit.Count, value=number)

    def endangered(self) -> bool:
        """The last week's shares."""
        at, known = self._seen
        if self.now() - at < 60:
            return known
        totals = {"sent": 0, "bounced": 0, "complained": 0}
        try:
            for back in range(DAYS):
                item = self.client.get_item(TableName=self.table, Key={"pk": {"S": self._day(back)}}).get("Item", {})
                totals = {name: total + int(item.get(name, {}).get("N", "0")) for name, total in totals.items()}
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        sent = totals["sent"]
        bad = sent >= ENOUGH and (totals["bounced"] >= BOUNCES * sent or totals["complained"] >= COMPLAINTS * sent)
        self._seen = self.now(), bad
        return bad

    def _day(self, back: int) -> str:
        return f"email/{datetime.fromtimestamp(self.now(), UTC) - timedelta(days=back):%Y-%m-%d}"
