"""GET /health: version and reachability of what omsync depends on."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.platform import bootstrap, responses
from omsync.platform.telemetry import logger, tracer

check_health = bootstrap.health()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """200 with the report, degraded or not: the caller asked how things are and was told."""
    report = check_health()
    logger.info("health", status=report.status)
    return responses.answer(200, report.as_json())
