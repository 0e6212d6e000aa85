"""Every five minutes: the OMS's outbox, so that a lost push loses no email."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.platform import bootstrap_emails
from omsync.platform.bootstrap_sync import deadline
from omsync.platform.telemetry import logger, metrics, tracer

run = bootstrap_emails.outbox_reader()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """How many events were published, silent, or known."""
    deadline.set(context.get_remaining_time_in_millis())
    counts = run()
    logger.info("outbox read", counts=counts)
    return counts
