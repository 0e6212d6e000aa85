"""Every minute: systems that are away are probed; their queues stand as their breakers say, and collect for as long as the API budget asks."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.platform import bootstrap_sync
from omsync.platform.telemetry import logger, metrics, tracer

attend = bootstrap_sync.breaker_round()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """system -> closed, open or closed again."""
    standing = {str(system): state for system, state in attend().items()}
    if any(state != "closed" for state in standing.values()):
        logger.warning("breakers", breaker=standing)
    return standing
