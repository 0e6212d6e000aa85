"""What operators see of the sync: outcomes and lag as CloudWatch metrics (EMF), and the last minutes' lags for `omsync status`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from omsync.platform.telemetry import metrics
from omsync.sync.limits import Usage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

#: how long a minute's lags are kept for `omsync status`, in seconds
KEPT_SECONDS = 86_400
#: outcomes of messages that changed a record
BROUGHT = frozenset({"applied", "written"})


@dataclass(slots=True)
class EmfMetrics:
    """`Counter` and `Lag`. Lags of one invocation go to the state table together."""

    client: DynamoDBClient
    table: str
    now: Callable[[], datetime]
    lags: dict[str, list[float]] = field(default_factory=dict)
    brought: int = 0  # records changed in Salesforce or the OMS since the calls were counted

    def count(self, outcome: str, number: int) -> None:
        """So many messages ended so."""
        self.brought += number if outcome in BROUGHT else 0
        if number:
            metrics.add_metric(name=f"Outcome{outcome.title().replace('_', '')}", unit=MetricUnit.Count, value=number)

    def observe(self, origin: str, seconds: float) -> None:
        """One change's way from its commit on one side to its commit on the other."""
        metrics.add_metric(name="LagFromOms" if origin == "oms" else "LagFromSalesforce", unit=MetricUnit.Seconds, value=max(0.0, seconds))
        self.lags.setdefault(origin, []).append(max(0.0, seconds))

    def salesforce_calls(self, number: int) -> None:
        """So many calls of Salesforce were made for what was brought since the last time; reads and what came to nothing included."""
        if number:
            metrics.add_metric(name="SalesforceCalls", unit=MetricUnit.Count, value=number)
            metrics.add_metric(name="RecordsPerCall", unit=MetricUnit.Count, value=self.brought / number)
        self.brought = 0

    def breakers_open(self, number: int) -> None:
        """How many systems are away."""
        metrics.add_metric(name="BreakersOpen", unit=MetricUnit.Count, value=number)

    def budget(self, usage: Usage) -> None:
        """What is left of the day's API requests."""
        metrics.add_metric(name="ApiRequestsLeft", unit=MetricUnit.Count, value=usage.left)
        metrics.add_metric(name="ApiRequestsUsed", unit=MetricUnit.Percent, value=100 * (1 - usage.share_left))

    def flush(self) -> None:
        """Keep what was observed. A loss here loses a figure, not a change: it is not worth failing a batch."""
        moment = self.now()
        for origin, seconds in self.lags.items():
            try:
                self.client.update_item(
                    TableName=self.table,
                    Key={"pk": {"S": minute_key(origin, moment)}},
                    UpdateExpression="SET seconds = list_append(if_not_exists(seconds, :none), :new), expires_at = :expires",
                    ExpressionAttributeValues={
                        ":none": {"L": []},
                        ":new": {"L": [{"N": f"{value:.3f}"} for value in seconds]},
                        ":expires": {"N": str(int(moment.timestamp()) + KEPT_SECONDS)},
                    },
                )
            except (ClientError, BotoCoreError):
                continue
        self.lags.clear()


def minute_key(origin: str, moment: datetime) -> str:
    """`lag/oms/2026-11-22T10:05`."""
    return f"lag/{origin}/{moment:%Y-%m-%dT%H:%M}"


def recent_lags(client: DynamoDBClient, table: str, origin: str, now: datetime, minutes: int = 15) -> Iterator[float]:
    """The lags observed in the last minutes, in seconds."""
    for back in range(minutes):
        item = client.get_item(TableName=table, Key={"pk": {"S": minute_key(origin, now - timedelta(minutes=back))}}).get("Item", {})
        yield from (float(value["N"]) for value in item.get("seconds", {}).get("L", []))
