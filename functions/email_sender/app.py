"""EmailQueue: lifecycle emails, each sent once or skipped with its reason."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.platform import bootstrap_emails, bootstrap_sync
from omsync.platform.telemetry import logger, metrics, tracer

consume = bootstrap_sync.handler_of(bootstrap_emails.sender_consumer())


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Names the records that SQS must deliver again."""
    return consume(event, context)
