"""The conflict log: every decided conflict with who lost and by which rule, in the failure table and as a log line. Hashes, no values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from omsync.platform.telemetry import logger, metrics
from omsync.sync.ports import Answers, Conflict
from omsync.sync.stores import aws_fault

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

#: a year: long enough for anybody to ask who lost
KEPT_SECONDS = 366 * 86_400


@dataclass(frozen=True, slots=True)
class ConflictTable:
    """`ConflictLog`: pk `conflict/<table>/<id>`, sk the conflict's id, so that logging it twice is one entry."""

    client: DynamoDBClient
    table: str
    now: Callable[[], float]

    def log(self, conflicts: Sequence[Conflict]) -> Answers[None]:
        """Write them down."""
        for conflict in conflicts:
            self._log(conflict)
        return [None] * len(conflicts)

    def _log(self, conflict: Conflict) -> None:
        try:
            self.client.put_item(
                TableName=self.table,
                Item={
                    "pk": {"S": f"conflict/{conflict.record}"},
                    "sk": {"S": conflict.id},
                    "unit": {"S": conflict.unit},
                    "reason": {"S": conflict.reason},
                    "policy": {"S": conflict.policy},
                    "winner": {"S": conflict.winner},
                    "winner_digest": {"S": conflict.winner_digest},
                    "loser_digest": {"S": conflict.loser_digest},
                    "save": {"N": str(conflict.save)},
                    "edited_at": {"S": str(conflict.edited_at)},
                    "logged_at": {"N": str(int(self.now()))},
                    "expires_at": {"N": str(int(self.now()) + KEPT_SECONDS)},
                },
            )
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        metrics.add_metric(name="Conflicts", unit=MetricUnit.Count, value=1)
        loser = "salesforce" if conflict.winner == "oms" else "oms"
        logger.info(
            "conflict",
            record=str(conflict.record), unit=conflict.unit, reason=conflict.reason, policy=conflict.policy, winner=conflict.winner, loser=loser,
        )  # fmt: skip
