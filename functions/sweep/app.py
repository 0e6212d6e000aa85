"""Every five minutes: both change feeds from their cursors; what was not delivered is enqueued."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.platform import bootstrap_sync
from omsync.platform.telemetry import logger, tracer

sweep = bootstrap_sync.sweep()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """feed -> messages enqueued, where there were any."""
    bootstrap_sync.deadline.set(context.get_remaining_time_in_millis())
    counts = {feed: count for feed, count in sweep().items() if count}
    logger.info("swept", counts=counts)
    return counts
