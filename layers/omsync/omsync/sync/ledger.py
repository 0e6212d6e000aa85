"""The ledger on DynamoDB: what is known of each shared record. No values: hashes, counts, times, ids.

    pk "<table>#<OMS id>"     the item; every write is conditional on `revision`
    pk "sf#<Salesforce id>"   points to it (`record`): the other direction

A pointer rather than a secondary index: both directions are read strongly consistently (a delete that follows a create within the index's
delay would otherwise name nobody), and it is written once in a record's life. It is written *before* the item that mentions it, so no item's
Salesforce id is ever without one; one without an item is true all the same. An item is one `document` of JSON beside its `revision`: it is
read and written whole, and each attribute more would cost every call its share.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from omsync.mapping.digest import canonical
from omsync.platform.errors import OmsyncError, Retryable, Stale
from omsync.sync.ports import Answers
from omsync.sync.records import Hold, Intent, Item, Lease, Mark, RecordKey
from omsync.sync.stores import aws_fault

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, PutTypeDef, TransactWriteItemTypeDef

#: keys in one BatchGetItem
KEYS_PER_READ = 100
#: attempts at what DynamoDB leaves unprocessed
ATTEMPTS = 5
#: with their pointers: DynamoDB takes 100 writes in a transaction
ITEMS_PER_TRANSACTION = 50
#: conditional puts under way at once: they cannot be batched
PARALLEL = 16
#: pointers remembered as written
REMEMBERED = 20_000


@dataclass(slots=True)
class DynamoLedger:
    """`LedgerPort` over one table with the hash key `pk`."""

    client: DynamoDBClient
    table: str
    sleep: Callable[[float], None] = time.sleep
    _pointed: set[str] = field(default_factory=set)  # Salesforce ids whose pointer is known to be there

    def read(self, keys: Sequence[RecordKey]) -> Answers[Item | None]:
        """Items, strongly consistent; None for those that are not there."""
        names = {key: _name(key) for key in keys}
        found = self._get(list(dict.fromkeys(names.values())))
        items = [_decode(key, found[name]) if (name := names[key]) in found else None for key in keys]
        self._remember(item.salesforce_id for item in items if item is not None and item.salesforce_id is not None)
        return items

    def find(self, salesforce_ids: Sequence[str]) -> Answers[RecordKey | None]:
        """Records by Salesforce id, former ones included."""
        found = self._get([_pointer(one) for one in dict.fromkeys(salesforce_ids)])
        return [_key(found[_pointer(one)]["record"]["S"]) if _pointer(one) in found else None for one in salesforce_ids]

    def save(self, items: Sequence[Item]) -> Answers[Item]:
        """Each item under its next revision; Stale if the stored one is another than it was read with."""
        if len(items) == 1:
            return [self._save(items[0])]
        with ThreadPoolExecutor(min(PARALLEL, max(1, len(items)))) as pool:
            return list(pool.map(self._save, items))

    def save_many(self, items: Sequence[Item]) -> Answers[Item]:
        """As `save`, for the migration's many: at most `ITEMS_PER_TRANSACTION` in one transaction, and once more without those that moved."""
        answers: dict[RecordKey, Item | OmsyncError] = {}
        left = list(items)
        for _ in range(2):
            moved = self._transact(left)
            if moved is None:
                break
            answers |= {item.key: _moved(item) for item in moved}
            left = [item for item in left if item.key not in answers]
            if not moved:
                answers |= {item.key: replace(item, revision=item.revision + 1) for item in left}
                return [answers[item.key] for item in items]
        answers |= dict(zip([item.key for item in left], self.save(left), strict=True))  # a transaction that others disturb, one by one
        return [answers[item.key] for item in items]

    def _transact(self, items: Sequence[Item]) -> list[Item] | None:
        """Write all or none. -> Those of another revision: without them it may be tried again; None: disturbed by somebody else's write."""
        if not items:
            return []
        actions: list[TransactWriteItemTypeDef] = []
        whose: list[Item] = []
        for item in items:
            put: PutTypeDef = {"TableName": self.table, "Item": _encode(item, item.revision + 1)}
            put["ConditionExpression"] = "attribute_not_exists(pk)" if item.revision == 0 else "revision = :revision"
            if item.revision:
                put["ExpressionAttributeValues"] = {":revision": {"N": str(item.revision)}}
            mine: list[TransactWriteItemTypeDef] = [{"Put": put}]
            if item.salesforce_id is not None:
                mine.append({"Put": {"TableName": self.table, "Item": _pointer_item(item, item.salesforce_id)}})
            actions += mine
            whose += [item] * len(mine)
        try:
            self.client.transact_write_items(TransactItems=actions)
        except self.client.exceptions.TransactionCanceledException as fault:
            codes = [reason.get("Code") for reason in fault.response.get("CancellationReasons", [])]
            moved = [item for item, code in zip(whose, codes, strict=False) if code == "ConditionalCheckFailed"]
            return moved or None
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return []

    def _save(self, item: Item) -> Item | OmsyncError:
        saved = replace(item, revision=item.revision + 1)
        try:
            self._point(item)
            condition = "attribute_not_exists(pk)" if item.revision == 0 else "revision = :revision"
            values: dict[str, Any] = {} if item.revision == 0 else {"ExpressionAttributeValues": {":revision": {"N": str(item.revision)}}}
            self.client.put_item(TableName=self.table, Item=_encode(item, saved.revision), ConditionExpression=condition, **values)
        except self.client.exceptions.ConditionalCheckFailedException:
            return _moved(item)
        except (ClientError, BotoCoreError) as fault:
            return aws_fault(fault)
        return saved

    def _point(self, item: Item) -> None:
        if item.salesforce_id is None or item.salesforce_id in self._pointed:
            return
        self.client.put_item(TableName=self.table, Item=_pointer_item(item, item.salesforce_id))
        self._remember([item.salesforce_id])

    def _remember(self, salesforce_ids: Sequence[str] | Iterator[str]) -> None:
        if len(self._pointed) > REMEMBERED:
            self._pointed.clear()
        self._pointed.update(salesforce_ids)

    def _get(self, names: Sequence[str]) -> dict[str, Mapping[str, AttributeValueTypeDef]]:
        found: dict[str, Mapping[str, AttributeValueTypeDef]] = {}
        for start in range(0, len(names), KEYS_PER_READ):
            wanted: list[dict[str, AttributeValueTypeDef]] = [{"pk": {"S": name}} for name in names[start : start + KEYS_PER_READ]]
            for attempt in range(ATTEMPTS):
                try:
                    answer = self.client.batch_get_item(RequestItems={self.table: {"Keys": wanted, "ConsistentRead": True}})
                except (ClientError, BotoCoreError) as fault:
                    raise aws_fault(fault) from None
                found |= {row["pk"]["S"]: row for row in answer["Responses"].get(self.table, [])}
                left = answer.get("UnprocessedKeys", {})
                wanted = [dict(key) for key in left[self.table]["Keys"]] if self.table in left else []
                if not wanted:
                    break
                self.sleep(0.05 * 2**attempt)
            else:
                raise Retryable("DynamoDB leaves reads unprocessed", code="aws.busy")
        return found


def _name(key: RecordKey) -> str:
    return f"{key.table}#{key.id}"


def _pointer(salesforce_id: str) -> str:
    return f"sf#{salesforce_id}"


def _pointer_item(item: Item, salesforce_id: str) -> dict[str, AttributeValueTypeDef]:
    return {"pk": {"S": _pointer(salesforce_id)}, "record": {"S": _name(item.key)}}


def _moved(item: Item) -> Stale:
    return Stale("the ledger's item moved", code="ledger.revision", record=str(item.key))


def _key(name: str) -> RecordKey:
    table, _, row_id = name.partition("#")
    return RecordKey(table, row_id)


# ------------------------------------------------------------------------------------------------------------------ shapes
def _encode(item: Item, revision: int) -> dict[str, AttributeValueTypeDef]:
    parts: dict[str, Any] = {
        "object": item.object,
        "salesforce_id": item.salesforce_id,
        "buried": item.buried,
        "save": item.save,
        "base": item.base,
        "held": {unit: [hold.case, hold.reason, hold.save, hold.edited_at] for unit, hold in item.held.items()},
        "intent": _intent(item.intent) if item.intent is not None else None,
        "afloat": [_intent(intent) for intent in item.afloat],
        "gone": item.gone,
        "merged_into": item.merged_into,
        "relink": item.relink,
        "lease": [item.lease.holder, item.lease.until] if item.lease is not None else None,
        "files": item.files,
        "mapping": item.mapping,
    }
    known = {name: part for name, part in parts.items() if part}
    if item.version is not None:
        known["version"] = item.version  # 0 is one, too
    document = canonical(known).decode()
    return {"pk": {"S": _name(item.key)}, "revision": {"N": str(revision)}, "document": {"S": document}}


def _decode(key: RecordKey, row: Mapping[str, AttributeValueTypeDef]) -> Item:
    parts = json.loads(row["document"]["S"])
    lease, intent = parts.get("lease"), parts.get("intent")
    return Item(
        key=key,
        revision=int(row["revision"]["N"]),
        object=parts.get("object"),
        salesforce_id=parts.get("salesforce_id"),
        buried=parts.get("buried"),
        version=parts.get("version"),
        save=parts.get("save", 0),
        base=_marks(parts.get("base", {})),
        held={unit: Hold(*hold) for unit, hold in parts.get("held", {}).items()},
        intent=_as_intent(intent) if intent else None,
        afloat=tuple(_as_intent(one) for one in parts.get("afloat", [])),
        gone=parts.get("gone", False),
        merged_into=parts.get("merged_into"),
        relink=parts.get("relink", False),
        lease=Lease(*lease) if lease else None,
        files=parts.get("files", ""),
        mapping=parts.get("mapping", ""),
    )


def _intent(intent: Intent) -> dict[str, Any]:
    parts = {
        "id": intent.id,
        "patches": intent.patches,
        "to_oms": {unit: list(mark) for unit, mark in intent.to_oms.items()},
        "to_salesforce": {unit: list(mark) for unit, mark in intent.to_salesforce.items()},
        "seen": intent.seen,
        "gone": intent.gone,
        "births": [{unit: list(mark) for unit, mark in birth.items()} for birth in intent.births],
    }
    return {name: value for name, value in parts.items() if value or (name == "gone" and value is False)}


def _as_intent(parts: Mapping[str, Any]) -> Intent:
    return Intent(
        id=parts["id"],
        patches=parts.get("patches", False),
        to_oms=_marks(parts.get("to_oms", {})),
        to_salesforce=_marks(parts.get("to_salesforce", {})),
        seen=parts.get("seen", 0),
        gone=parts.get("gone"),
        births=tuple(_marks(birth) for birth in parts.get("births", [])),
    )


def _marks(parts: Mapping[str, Sequence[Any]]) -> dict[str, Mark]:
    return {unit: Mark(*mark) for unit, mark in parts.items()}
