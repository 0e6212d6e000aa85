"""Why messages are in a DLQ: their rows in the failure table, found by record and told apart by their bodies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ops.connections import Connections, told
from ops.queues import Waiting

#: records whose failures are looked up: the rest fail alike, as a rule
TOLD = 50
#: newest failures of one record that are read
ROWS = 100


def causes(connections: Connections, messages: Sequence[Waiting]) -> dict[str, str]:
    """Message id -> code and message of its failure. What no handler put there has none: AWS did."""
    asked = dict.fromkeys(message.record for message in messages)
    found: dict[str, str] = {}
    rows = {record: list(_failures(connections, record)) for record in [*list(asked)[:TOLD], "unknown"]}
    for message in messages:
        mine = hashlib.sha256(message.body.encode()).hexdigest()[:16]  # as the failure table's rows are named
        candidates = [*rows.get(message.record, []), *rows["unknown"]]
        row = next((one for one in candidates if one["sk"]["S"].rpartition("#")[2] == mine), None)
        if row is not None:
            found[message.message_id] = f"{row['code']['S']} ({row['message']['S']})"
    return found


def _failures(connections: Connections, record: str) -> Iterator[Mapping[str, Any]]:
    with told("failures"):
        answer = connections.dynamodb.query(
            TableName=connections.output("FailureTableName"),
            IndexName="by-record",
            KeyConditionExpression="#record = :record",
            ExpressionAttributeNames={"#record": "record"},
            ExpressionAttributeValues={":record": {"S": record}},
            ScanIndexForward=False,
            Limit=ROWS,
        )
    yield from answer["Items"]
